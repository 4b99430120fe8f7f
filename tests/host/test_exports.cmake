# SPDX-License-Identifier: Apache-2.0
# The names that the library takes: a shared one exports the functions that the public headers declare, all of them and
# nothing else; whatever has external linkage inside begins with clattn_ or cla_, so a static one disturbs nobody.
cmake_minimum_required(VERSION 3.25)

# Sets `out` to the defined names that nm prints for `file`.
function(defined_names out file)
    execute_process(COMMAND ${NM} --defined-only ${ARGN} ${file} OUTPUT_VARIABLE lines COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCHALL " [A-Za-z] [^ \n]+" names "${lines}")
    list(TRANSFORM names REPLACE "^ . ([^@]+).*" "\\1")
    set(${out} ${names} PARENT_SCOPE)
endfunction()

defined_names(internal ${INTERNAL_LIBRARY} -g)
list(LENGTH internal count)
if(count EQUAL 0)
    message(FATAL_ERROR "${NM} finds no name in ${INTERNAL_LIBRARY}")
endif()
list(FILTER internal EXCLUDE REGEX "^(\\.refptr\\.)?(clattn_|cla_|__)") # __: sanitizers; .refptr.: for Windows
if(internal)
    message(SEND_ERROR "names of external linkage that begin neither with clattn_ nor with cla_: ${internal}")
endif()

if(NOT SHARED)
    return()
endif()
set(declared)
file(GLOB headers ${SOURCE}/include/clattn/*.h)
foreach(header IN LISTS headers)
    file(READ ${header} text)
    string(REGEX MATCHALL "CLATTN_API [a-z][^(;]*\\(" functions "${text}")
    list(TRANSFORM functions REPLACE ".*[ *](clattn_[a-z0-9_]+)\\($" "\\1")
    list(APPEND declared ${functions})
endforeach()
if(LIBRARY MATCHES "\\.dll$")
    execute_process(COMMAND ${OBJDUMP} -p ${LIBRARY} OUTPUT_VARIABLE lines COMMAND_ERROR_IS_FATAL ANY)
    string(REPLACE "]" " " lines "${lines}") # which would hold the items of a list together
    string(REGEX REPLACE ".*.Ordinal/Name Pointer  Table" "" lines "${lines}")
    string(REGEX MATCHALL "[0-9]  [a-z][^ \n]+" exported "${lines}")
    list(TRANSFORM exported REPLACE ".* " "")
else()
    defined_names(exported ${LIBRARY} -D)
endif()

set(missing ${declared})
list(REMOVE_ITEM missing ${exported})
if(missing)
    message(SEND_ERROR "declared but not exported: ${missing}")
endif()
list(REMOVE_ITEM exported ${declared})
if(exported)
    message(SEND_ERROR "exported but not declared: ${exported}")
endif()
