# bash completion for mailcask and mailcaskd. What it offers it asks the program itself for (--help),
# so that it knows what the installed version knows.

# The options of a help text: "--account NAME" a line, the value's name left out for a flag.
_mailcask_options() {
    sed -n 's/^  \(--[a-z-]*\)\( [A-Z][A-Z-]*\)\{0,1\}  .*/\1\2/p' <<<"$1"
}

# The names of the accounts in the archive that the command line means.
_mailcask_accounts() {
    local i
    local -a which=()
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        case ${words[i]} in
        --archive | --config) which+=("${words[i]}" "${words[i + 1]/#\~/$HOME}") ;;
        --archive=* | --config=*) which+=("${words[i]}") ;;
        esac
    done
    "${program%d}" accounts --json "${which[@]}" 2>/dev/null |
        sed -n 's/^{"account":"\([^"\\]*\)".*/\1/p'
}

# The lines of standard input that begin so. (compgen -W would expand what is in an account's name.)
_mailcask_beginning() {
    local line
    while read -r line; do
        [[ $line == "$1"* ]] && printf '%q\n' "$line"
    done
}

# The candidates for the value of one option.
_mailcask_value() {
    case $1 in
    --archive) compgen -d -- "$2" ;;
    --config) compgen -f -- "$2" ;;
    --account) _mailcask_accounts | _mailcask_beginning "$2" ;;
    --id | --message) _mailcask_accounts | sed 's,$,/,' | _mailcask_beginning "$2" ;;
    --to)
        case $2 in
        maildir:* | eml:*) compgen -d -P "${2%%:*}:" -- "${2#*:}" ;;
        mbox:*) compgen -f -P mbox: -- "${2#*:}" ;;
        *)
            [[ $command == restore ]] && compgen -W 'maildir: mbox: eml:' -- "$2"
            [[ $command == backup ]] && compgen -d -- "$2"
            ;;
        esac
        ;;
    esac
}

_mailcask() {
    local line=${COMP_LINE:0:COMP_POINT} program command='' word options option='' cur help
    local -a words
    read -ra words <<<"$line"
    [[ $line == *[[:blank:]] ]] && words+=('')
    program=${words[0]} cur=${words[-1]}
    COMPREPLY=()

    help=$("$program" --help 2>/dev/null) || return
    options=$(_mailcask_options "$help")
    if [[ $program != *mailcaskd ]]; then
        local commands takes=0
        commands=$(sed -n '/^commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' <<<"$help")
        for word in "${words[@]:1:${#words[@]}-2}"; do
            if ((takes)); then
                takes=0
            elif [[ $word == --* ]]; then
                [[ $'\n'$options == *$'\n'"$word "* ]] && takes=1
            elif [[ -z $command ]]; then
                command=$word
                options=$(_mailcask_options "$("$program" "$command" --help 2>/dev/null)")
            fi
        done
    fi

    if [[ $cur == --*=* ]]; then
        option=${cur%%=*} cur=${cur#*=}
    elif [[ $'\n'$options == *$'\n'"${words[-2]} "* ]]; then
        option=${words[-2]}
    fi
    if [[ -n $option ]]; then
        mapfile -t COMPREPLY < <(_mailcask_value "$option" "$cur")
        [[ $option == --archive || $option == --config || $option == --to ]] && compopt -o filenames 2>/dev/null
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(sed 's/ .*//' <<<"$options")" -- "$cur")
    elif [[ $program != *mailcaskd && -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
    elif [[ $command == show ]]; then
        mapfile -t COMPREPLY < <(_mailcask_value --id "$cur")
    elif [[ $command == init ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$(sed 's/ .*//' <<<"$options")" -- "$cur")
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:/] ]] && compopt -o nospace 2>/dev/null

    # bash itself breaks words here, and expects only what is behind.
    local before=${cur%"${cur##*[:@=]}"}
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
}

complete -F _mailcask mailcask mailcaskd
