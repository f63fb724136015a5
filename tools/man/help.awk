# The output of --help into a manual page: awk -f roff.awk -f help.awk
#   -v name=mailcask-list -v section=1 -v summary=... -v version=...
#   -v part=1       only what is below the heads, these as .SS; further lines stay lines
#
# It reads what help.c and command_line.c write: "usage:", paragraphs, "head:" in lower case on a
# line of its own, items "  TERM  text" with further lines more deeply indented; below "example:"
# lines as they are.

# Options in bold, and what stands in `...`.
function marked(s,    out, word)
{
    out = ""
    while (match(s, /`[^`]+`|--[a-z][a-z-]*/)) {
        word = substr(s, RSTART, RLENGTH)
        out = out plain(substr(s, 1, RSTART - 1))
        gsub(/`/, "", word)
        out = out bold(typed(word))
        s = substr(s, RSTART + RLENGTH)
    }
    return out plain(s)
}

# The same, and the names of values in italics.
function form(s,    out, word)
{
    out = ""
    while (match(s, /--[a-z][a-z-]*|[A-Z][A-Z_-]+/)) {
        word = substr(s, RSTART, RLENGTH)
        out = out plain(substr(s, 1, RSTART - 1))
        out = out (word ~ /^-/ ? bold(typed(word)) : italic(typed(word)))
        s = substr(s, RSTART + RLENGTH)
    }
    return out plain(s)
}

function close_example()
{
    if (in_example)
        print ".EE\n.RE"
    in_example = 0
}

function head(s)
{
    close_example()
    sub(/:$/, "", s)
    heading(part ? "SS" : "SH", part ? s : toupper(s))
    wants_break = 0
    in_items = 0
    in_example = s ~ /^example/
    if (in_example)
        print ".RS 4\n.EX"
}

function synopsis(s)
{
    sub(/^(usage:)? */, "", s)
    match(s, /^mailcaskd?( [a-z]+)?/)
    print ".HP 4\n" bold(typed(substr(s, 1, RLENGTH))) form(substr(s, RLENGTH + 1))
}

function item(s,    gap, rest)
{
    sub(/^  /, "", s)
    gap = match(s, /   */)
    rest = gap ? substr(s, gap + RLENGTH) : ""
    print ".TP\n" bold(form(gap ? substr(s, 1, gap - 1) : s))
    if (rest != "")
        print text(marked(rest))
    in_items = 1
}

function paragraph(s)
{
    if (wants_break || in_items)
        print ".PP"
    wants_break = in_items = 0
    print text(marked(s))
}

BEGIN {
    if (!part)
        page_begins(name, section, version, summary)
}

FNR == 1 && /^usage: / {
    heading("SH", "SYNOPSIS")
    print ".nh"
    in_usage = 1
}
in_usage && /^$/ {
    in_usage = 0
    heading("SH", "DESCRIPTION")
    next
}
in_usage { synopsis($0); next }
/^[a-z].*:$/ && !in_text { head($0); next }
/^$/ { in_text = 0; wants_break = 1; next }
{ in_text = 1 }
in_example && /^  / { print text(typed(substr($0, 3))); next }
in_example { close_example(); wants_break = 1 }
/^  [^ ]/ { item($0); next }
/^   / {
    sub(/^ +/, "")
    if (part)
        print ".br"
    print text(marked($0))
    next
}
{ paragraph($0) }

END { close_example() }
