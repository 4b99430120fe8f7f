# SPDX-License-Identifier: Apache-2.0
# The README's first program is tests/examples/self_attention.c, which the tests build and run: the same text, but for
# the licence line, in at most 40 lines.
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
