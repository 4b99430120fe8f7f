# SPDX-License-Identifier: Apache-2.0
# Nothing of where it was built is in the program: it finds the library beside itself, and its bytes are the same from every
# folder. (Debugging symbols say where sources are, so a build without them is what can be compared.) What is installed with
# it is where others look.
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE ${WORK})
if(NOT READELF)
    message("SKIPPED: no readelf")
    return()
endif()
execute_process(COMMAND ${READELF} -d ${TOOL} OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
string(FIND "${dynamic}" "${BUILD}" at)
if(NOT at EQUAL -1)
    message(FATAL_ERROR "${TOOL} names the folder that it was built in:\n${dynamic}")
endif()
if(SHARED AND NOT dynamic MATCHES "R(UN)?PATH\\)[^\n]*\\[\\$ORIGIN")
    message(FATAL_ERROR "${TOOL} does not look for the library beside itself:\n${dynamic}")
endif()
if(CONFIG STREQUAL Release)
    file(STRINGS ${TOOL} found REGEX "${BUILD}")
    if(found)
        message(FATAL_ERROR "${TOOL} names the folder that it was built in: ${found}")
    endif()
endif()

execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix --config ${CONFIG} OUTPUT_QUIET
                COMMAND_ERROR_IS_FATAL ANY)
foreach(file IN ITEMS bin/clattn share/man/man1/clattn.1 share/bash-completion/completions/clattn
                      share/zsh/site-functions/_clattn share/fish/vendor_completions.d/clattn.fish)
    if(NOT EXISTS ${WORK}/prefix/${file})
        message(SEND_ERROR "${file} is not installed")
    endif()
endforeach()
execute_process(COMMAND ${WORK}/prefix/bin/clattn --version OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
