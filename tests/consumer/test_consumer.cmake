# SPDX-License-Identifier: Apache-2.0
# Uses the library as others do.
#
#   KIND shared, static   builds and installs it, then links a program by find_package and by pkg-config; from the build
#                         folder too
#   KIND subdirectory     builds it as a part of another project, which is one that asks for a unity build
#   KIND semicolon        that a path which CMake would take for two is refused
#
# Everything happens in WORK, which is emptied first.
cmake_minimum_required(VERSION 3.25)
set(here ${CMAKE_CURRENT_LIST_DIR})

function(run)
    execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
        list(JOIN ARGN " " command)
        message(FATAL_ERROR "${command}\nends with ${result}:\n${output}")
    endif()
    message("${output}")
endfunction()

function(configure_and_build source build)
    run(${CMAKE_COMMAND} -S ${source} -B ${build} -G ${GENERATOR} -D CMAKE_C_COMPILER=${CC} -D CMAKE_BUILD_TYPE=Debug
        ${ARGN})
    run(${CMAKE_COMMAND} --build ${build})
endfunction()

# Sets `out` to what pkg-config answers, as a list.
function(ask_pkg_config out)
    execute_process(COMMAND pkg-config ${ARGN} clattn OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE
                            COMMAND_ERROR_IS_FATAL ANY)
    separate_arguments(flags UNIX_COMMAND "${flags}")
    set(${out} ${flags} PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK})

if(KIND STREQUAL subdirectory)
    configure_and_build(${here} ${WORK}/consumer -D CLATTN_SOURCE=${SOURCE} -D CMAKE_UNITY_BUILD=ON)
    run(${WORK}/consumer/consumer)
    return()
endif()

if(KIND STREQUAL semicolon)
    file(COPY ${SOURCE}/CMakeLists.txt DESTINATION "${WORK}/a;b")
    file(COPY ${SOURCE}/include DESTINATION "${WORK}/a;b")
    execute_process(COMMAND ${CMAKE_COMMAND} -S "${WORK}/a;b" -B ${WORK}/build -G ${GENERATOR} -D CMAKE_C_COMPILER=${CC}
                    OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE result)
    if(result EQUAL 0 OR NOT output MATCHES "There is a ; in the path")
        message(FATAL_ERROR "a ; in the path ends with ${result}:\n${output}")
    endif()
    return()
endif()

set(shared OFF)
set(library libclattn.a)
if(KIND STREQUAL shared)
    set(shared ON)
    set(library libclattn.so.0.1)
endif()

# Installed under another prefix than the one it was configured for: what is installed may be moved.
set(prefix ${WORK}/moved)
configure_and_build(${SOURCE} ${WORK}/library -D BUILD_SHARED_LIBS=${shared} -D CLATTN_TESTS=OFF -D CLATTN_TOOL=OFF
                    -D CMAKE_INSTALL_PREFIX=${WORK}/configured -D CMAKE_INSTALL_LIBDIR=lib)
run(${CMAKE_COMMAND} --install ${WORK}/library --prefix ${prefix})
if(NOT EXISTS ${prefix}/lib/${library})
    message(FATAL_ERROR "${prefix}/lib/${library} is not installed")
endif()

configure_and_build(${here} ${WORK}/by_build_folder -D CMAKE_PREFIX_PATH=${WORK}/library)
run(${WORK}/by_build_folder/consumer)
set(ENV{PKG_CONFIG_PATH} ${WORK}/library)
set(library_path "$ENV{LD_LIBRARY_PATH}")
set(ENV{LD_LIBRARY_PATH} ${WORK}/library:${library_path})
ask_pkg_config(cflags --cflags)
ask_pkg_config(libs --libs)
run(${CC} -std=c99 ${cflags} ${here}/main.c -o ${WORK}/by_build_folder_pkg_config ${libs})
run(${WORK}/by_build_folder_pkg_config)
set(ENV{LD_LIBRARY_PATH} "${library_path}")

configure_and_build(${here} ${WORK}/consumer -D CMAKE_PREFIX_PATH=${prefix})
run(${WORK}/consumer/consumer)

set(ENV{PKG_CONFIG_PATH} ${prefix}/lib/pkgconfig)
set(ENV{LD_LIBRARY_PATH} ${prefix}/lib:$ENV{LD_LIBRARY_PATH})
ask_pkg_config(cflags --cflags)
ask_pkg_config(libs --libs)
ask_pkg_config(static_libs --libs --static)
run(${CC} -std=c99 ${cflags} ${here}/main.c -o ${WORK}/by_pkg_config ${libs})
run(${WORK}/by_pkg_config)
run(${CC} -std=c99 ${cflags} ${here}/main.c -o ${WORK}/by_pkg_config_static ${static_libs})
run(${WORK}/by_pkg_config_static)
if(CXX)
    run(${CXX} -x c++ -std=c++11 ${cflags} ${here}/main.c -o ${WORK}/by_pkg_config_cxx ${libs})
    run(${WORK}/by_pkg_config_cxx)
endif()
if(KIND STREQUAL static)
    execute_process(COMMAND ${NM} ${WORK}/by_pkg_config OUTPUT_VARIABLE names COMMAND_ERROR_IS_FATAL ANY)
    if(NOT names MATCHES " [Tt] clattn_version_string")
        message(FATAL_ERROR "the program is not linked statically")
    endif()
endif()
