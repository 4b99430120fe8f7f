# SPDX-License-Identifier: Apache-2.0
# What is built and tested is listed by name; no source, kernel or test of the tree is missing from the lists.
cmake_minimum_required(VERSION 3.25)

# Sets `out` to the words of a CMake file, comments aside.
function(words_of out file)
    file(READ ${file} text)
    string(REGEX REPLACE "#[^\n]*" "" text "${text}")
    string(REGEX REPLACE "[ \t\n()]+" ";" text "${text}")
    set(${out} ${text} PARENT_SCOPE)
endfunction()

words_of(words ${SOURCE}/CMakeLists.txt)
words_of(test_words ${SOURCE}/tests/CMakeLists.txt)
list(APPEND words ${test_words})

file(GLOB_RECURSE files RELATIVE ${SOURCE} ${SOURCE}/src/*.c ${SOURCE}/tools/*.c ${SOURCE}/tools/*.cl ${SOURCE}/cl/*.cl
     ${SOURCE}/tests/*.c ${SOURCE}/tests/test_*.cmake ${SOURCE}/tests/test_*.sh)
list(FILTER files EXCLUDE REGEX "^tests/consumer/") # a project of its own
list(LENGTH files count)
if(count LESS 50)
    message(FATAL_ERROR "found ${count} files in ${SOURCE}: expected those of the whole tree")
endif()
foreach(file IN LISTS files)
    string(REGEX REPLACE "^(cl|tests)/" "" short ${file}) # as it is listed beside its like
    if(NOT file IN_LIST words AND NOT short IN_LIST words)
        message(SEND_ERROR "${file} is in no list of CMakeLists.txt or tests/CMakeLists.txt")
    endif()
endforeach()
