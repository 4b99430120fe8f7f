# SPDX-License-Identifier: Apache-2.0
# Each header compiles alone and without a warning: the public ones as C99 and as C++11, whatever OpenCL version the
# program targets, and the internal ones as C11.
cmake_minimum_required(VERSION 3.25)

# In a file of its own: compilers treat a header that they are given directly in another way.
function(compiles_alone compiler standard header)
    set(file ${WORK}/alone.c)
    set(language c)
    if(standard MATCHES "\\+\\+")
        set(language c++)
    endif()
    file(WRITE ${file} "#include <${header}>\nint main(void);\n")
    execute_process(
        COMMAND ${compiler} -x ${language} -std=${standard} -Wall -Wextra -Wpedantic -Werror ${ARGN} -I${SOURCE}/include
                -I${OPENCL_INCLUDE} -fsyntax-only ${file}
        RESULT_VARIABLE result
        ERROR_VARIABLE output)
    if(NOT result EQUAL 0)
        message(SEND_ERROR "${header} does not compile alone with ${compiler} -std=${standard} ${ARGN}:\n${output}")
    endif()
endfunction()

file(GLOB public RELATIVE ${SOURCE}/include ${SOURCE}/include/clattn/*.h)
file(GLOB_RECURSE internal RELATIVE ${SOURCE}/src ${SOURCE}/src/*.h)
foreach(version IN ITEMS 120 200 300)
    foreach(header IN LISTS public)
        compiles_alone(${CC} c99 ${header} -D CL_TARGET_OPENCL_VERSION=${version})
        if(CXX)
            compiles_alone(${CXX} c++11 ${header} -D CL_TARGET_OPENCL_VERSION=${version})
        endif()
    endforeach()
endforeach()
foreach(header IN LISTS internal)
    compiles_alone(${CC} c11 ${header} -D CL_TARGET_OPENCL_VERSION=120 -D _POSIX_C_SOURCE=200809L -I${SOURCE}/src)
endforeach()

if(NOT CXX)
    message("SKIPPED: no C++ compiler; the headers compile as C")
endif()
