# SPDX-License-Identifier: Apache-2.0
# Completion of `clattn` for fish. Commands and options are read from the program's own help.

function __clattn_commands
    clattn --help 2>/dev/null | sed -n '/^Usage:/,/^$/s/^  \([a-z][a-z]*\)  *\(.*\)/\1\t\2/p'
    printf 'help\tthe help of a command\n'
end

function __clattn_command
    set -l words (commandline -opc)
    test (count $words) -ge 2; and echo $words[2]
end

function __clattn_options
    clattn (__clattn_command) --help 2>/dev/null | sed -n 's/^ *\(-[A-Za-z], \)\{0,1\}\(--[a-z][a-z-]*\)[^ ]*  *\(.*\)/\2\t\3/p'
end

function __clattn_arguments
    switch (__clattn_command)
        case help
            __clattn_commands
        case bench
            clattn bench --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  *\(b[0-9].*\)/\1\t\2/p'
        case demo
            clattn demo 2>/dev/null | sed 's/  */\t/'
    end
end

complete -c clattn -n 'test -z (__clattn_command)' -f -a '(__clattn_commands)'
complete -c clattn -n 'test -n (__clattn_command)' -a '(__clattn_arguments)'
complete -c clattn -n 'test -n (__clattn_command); and string match -q -- "-*" (commandline -ct)' -a '(__clattn_options)'
complete -c clattn -n 'contains -- (__clattn_command) help devices' -f
