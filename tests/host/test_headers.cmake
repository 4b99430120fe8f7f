# SPDX-License-Identifier: Apache-2.0
# Each header compiles alone and without a warning: the public ones as C99 and as C++11, whatever OpenCL version the
# program targets, with the warnings that programs use, by the compilers of the build and by Clang where it is there; the
# internal ones as C11.
cmake_minimum_required(VERSION 3.25)

set(warnings -Wall -Wextra -Wpedantic -Werror)
set(more_warnings -Wconversion -Wsign-conversion -Wshadow -Wundef -Wcast-align -Wcast-qual -Wwrite-strings -Wredundant-decls
    -Wformat=2 -Wdouble-promotion -Wswitch-enum)
set(c_warnings -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition)
set(cxx_warnings -Wzero-as-null-pointer-constant -Wold-style-cast -Woverloaded-virtual -Wnon-virtual-dtor
    -Wmissing-declarations)

# In a file of its own: compilers treat a header that they are given directly in another way.
function(compiles_alone compiler standard header)
    set(file ${WORK}/alone.c)
    set(language c)
    if(standard MATCHES "\\+\\+")
        set(language c++)
    endif()
    file(WRITE ${file} "#include <${header}>\nint main(void);\n")
    execute_process(
        COMMAND ${compiler} -x ${language} -std=${standard} ${warnings} ${ARGN} -I${SOURCE}/include
                -idirafter ${OPENCL_INCLUDE} -fsyntax-only ${file}
        RESULT_VARIABLE result
        ERROR_VARIABLE output)
    if(NOT result EQUAL 0)
        message(SEND_ERROR "${header} does not compile alone with ${compiler} -std=${standard} ${ARGN}:\n${output}")
    endif()
endfunction()

file(GLOB public RELATIVE ${SOURCE}/include ${SOURCE}/include/clattn/*.h)
file(GLOB_RECURSE internal RELATIVE ${SOURCE}/src ${SOURCE}/src/*.h)
set(c_compilers ${CC})
set(cxx_compilers ${CXX})
find_program(clang clang)
find_program(clangxx clang++)
if(clang)
    list(APPEND c_compilers ${clang})
endif()
if(clangxx)
    list(APPEND cxx_compilers ${clangxx})
endif()
foreach(version IN ITEMS 120 200 300)
    foreach(header IN LISTS public)
        foreach(compiler IN LISTS c_compilers)
            compiles_alone(${compiler} c99 ${header} -D CL_TARGET_OPENCL_VERSION=${version} ${more_warnings} ${c_warnings})
        endforeach()
        foreach(compiler IN LISTS cxx_compilers)
            compiles_alone(${compiler} c++11 ${header} -D CL_TARGET_OPENCL_VERSION=${version} ${more_warnings}
                           ${cxx_warnings})
        endforeach()
    endforeach()
endforeach()
foreach(header IN LISTS internal)
    compiles_alone(${CC} c11 ${header} -D CL_TARGET_OPENCL_VERSION=120 -D _POSIX_C_SOURCE=200809L -I${SOURCE}/src)
endforeach()

if(NOT CXX)
    message("SKIPPED: no C++ compiler; the headers compile as C")
endif()
