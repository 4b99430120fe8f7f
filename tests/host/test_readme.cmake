# SPDX-License-Identifier: Apache-2.0
# The README's first program is tests/examples/self_attention.c, which the tests build and run: the same text, but for
# the licence line, in at most 40 lines. What the pages at the root link to is there; the picture among it is small.
#
# usage: cmake -D SOURCE=ROOT_OF_THE_TREE -P test_readme.cmake
cmake_minimum_required(VERSION 3.25)

file(READ ${SOURCE}/README.md readme)
file(READ ${SOURCE}/tests/examples/self_attention.c program)

string(FIND "${readme}" "```c\n" begin)
if(begin EQUAL -1)
    message(FATAL_ERROR "README.md has no block that begins with ```c")
endif()
math(EXPR begin "${begin} + 5")
string(SUBSTRING "${readme}" ${begin} -1 block)
string(FIND "${block}" "```" end)
string(SUBSTRING "${block}" 0 ${end} block)

set(licence "/* SPDX-License-Identifier: Apache-2.0 */\n")
if(NOT "${licence}${block}" STREQUAL "${program}")
    message(FATAL_ERROR "the first program of README.md differs from tests/examples/self_attention.c")
endif()

string(REGEX REPLACE "[^\n]" "" lines "${block}")
string(LENGTH "${lines}" count)
if(count GREATER 40)
    message(FATAL_ERROR "the first program of README.md has ${count} lines: expected at most 40")
endif()

set(links 0)
file(GLOB pages ${SOURCE}/*.md)
foreach(page IN LISTS pages)
    file(READ ${page} text)
    string(REPLACE "](" "@@" text "${text}") # a bracket would keep the list from being split
    string(REGEX MATCHALL "@@[^):#]+" found "${text}")
    foreach(link IN LISTS found)
        math(EXPR links "${links} + 1")
        string(REPLACE "@@" "" link "${link}")
        if(NOT EXISTS ${SOURCE}/${link})
            message(SEND_ERROR "${page} links to ${link}, which is not there")
        elseif(link MATCHES "png$")
            file(SIZE ${SOURCE}/${link} bytes)
            if(bytes GREATER 65536)
                message(SEND_ERROR "${link} has ${bytes} bytes: expected at most 65536 of a picture in ${page}")
            endif()
        endif()
    endforeach()
endforeach()
if(links LESS 5)
    message(FATAL_ERROR "found ${links} links in the pages at the root: expected those of the README at least")
endif()
