# SPDX-License-Identifier: Apache-2.0
# Completion of `clattn` for bash. Commands, options and what an option takes are read from the program's own help.

# The commands, one a line. usage: _clattn_commands PROGRAM
_clattn_commands() {
    "$1" --help 2>/dev/null | sed -n '/^Usage:/,/^$/s/^  \([a-z][a-z]*\) .*/\1/p'
    echo help
}

# The options, one a line, such as --query=FILE or --json. usage: _clattn_options PROGRAM COMMAND
_clattn_options() {
    "$1" "$2" --help 2>/dev/null | sed -n 's/^ *\(-[A-Za-z], \)\{0,1\}\(--[a-z][^ ]*\).*/\2/p'
}

# What stands behind the = of an option in the help. usage: _clattn_takes PROGRAM COMMAND OPTION
_clattn_takes() {
    case $3 in
        --*) _clattn_options "$1" "$2" | sed -n "s/^$3=//p" ;;
        -?) "$1" "$2" --help 2>/dev/null | sed -n "s/^ *$3, --[a-z-]*=\([^ ]*\).*/\1/p" ;;
    esac
}

# The values that it can have. usage: _clattn_values PROGRAM COMMAND WHAT
_clattn_values() {
    case $3 in
        ALIGN) echo top-left bottom-right ;;
        NAME) echo auto && "$1" run --random b1h1q1k1d1:f32 --kernel '' 2>&1 | sed 's/.*: //; s/,//g' ;;
        NAME,...) echo auto all && "$1" bench --kernel '' 2>&1 | sed 's/.*: //; s/,//g' ;;
        BACKWARD)
            echo auto
            "$1" run --random b1h1q1k1d1:f32:backward --backward-kernel '' 2>&1 | sed 's/.*: //; s/,//g' ;;
        ORDER) echo bhsd bshd ;;
        SPEC) echo any gpu cpu accelerator name= ;;
        STAGE) echo raw softcap masked weights ;;
        TYPE) echo f32 f16 bf16 ;;
        FILE | L,R | N | PERCENT | PROBLEM | S | X) ;; # files are bash's; the others are numbers and problems
    esac
}

# What may stand where no option is. usage: _clattn_arguments PROGRAM COMMAND
_clattn_arguments() {
    case $2 in
        help) _clattn_commands "$1" ;;
        bench) "$1" bench --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  *b[0-9].*/\1/p' ;;
        demo) "$1" demo 2>/dev/null | sed 's/ .*//' ;;
    esac
}

_clattn() {
    local program=$1 command=${COMP_WORDS[1]} takes='' words
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    if [ "$word" = = ]; then # as in --layout=, which bash takes for two words
        word=
    elif [ "$before" = = ]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="$(_clattn_commands "$program") --help --version"
    else
        case $before in -*) takes=$(_clattn_takes "$program" "$command" "$before") ;; esac
        if [ -n "$takes" ]; then
            words=$(_clattn_values "$program" "$command" "$takes")
        elif [ "${word#-}" != "$word" ]; then
            words=$(_clattn_options "$program" "$command" | sed 's/=.*//')
        else
            words=$(_clattn_arguments "$program" "$command")
        fi
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    if [ "$takes" = FILE ]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}

complete -F _clattn clattn
