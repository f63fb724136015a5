# Markdown as this project writes it into a manual page: awk -f roff.awk -f markdown.awk
#   -v name=mailcask-archive -v section=5 -v summary=... -v version=...
#   -v part=1       sections of a page that has begun
#   -v keys=FILE    roff to take in where a line says @KEYS@
#
# Headings, paragraphs, lists of one level, tables, indented and fenced code, `code`, **bold**,
# *italic*, links (their text).

# Tables: the text of a column with longer cells is filled; where some are longer than that, the
# column shares the width that is left.
BEGIN {
    CELL_MAX = 16
    FILLED_MAX = 40
}

function inline(s,    out, word)
{
    out = ""
    while (match(s, /`[^`]+`|\*\*[^*]+\*\*|\*[^* ][^*]*\*|\[[^\]]+\]\([^)]+\)/)) {
        word = substr(s, RSTART, RLENGTH)
        out = out plain(substr(s, 1, RSTART - 1))
        s = substr(s, RSTART + RLENGTH)
        if (word ~ /^`/)
            out = out bold(typed(substr(word, 2, length(word) - 2)))
        else if (word ~ /^\*\*/)
            out = out bold(plain(substr(word, 3, length(word) - 4)))
        else if (word ~ /^\*/)
            out = out italic(plain(substr(word, 2, length(word) - 2)))
        else
            out = out inline(substr(word, 2, index(word, "](") - 2))
    }
    return out plain(s)
}

# A block ends: a paragraph or an item, a table, code.
function flush_block()
{
    if (block != "")
        print text(inline(block))
    block = ""
    if (row_count > 0)
        table()
    row_count = 0
    if (in_code)
        print ".EE\n.RE"
    in_code = 0
}

function begin_page()
{
    if (begun)
        return
    begun = 1
    if (!part)
        heading("SH", "DESCRIPTION")
}

function code(s)
{
    if (!in_code) {
        flush_block()
        print (in_item ? "" : ".PP\n") ".RS 4\n.EX"
    }
    in_code = wants_break = 1
    print text(typed(s))
}

function begin_item(mark, s)
{
    flush_block()
    print ".IP " mark
    block = s
    in_item = 1
}

# The next block stands at the left again.
function leave_items()
{
    if (in_item || wants_break)
        print ".PP"
    in_item = wants_break = 0
}

# "| a | b |" into row_count, cells[row, column], column_count.
function row(s,    parts, count, i)
{
    sub(/^ *\| */, "", s)
    sub(/ *\| *$/, "", s)
    count = split(s, parts, / *\| */)
    if (row_count == 0) {
        flush_block()
        leave_items()
        column_count = count
        for (i = 1; i <= count; i++) {
            width[i] = word[i] = right[i] = 0
        }
    }
    row_count++
    for (i = 1; i <= column_count; i++) {
        cells[row_count, i] = i <= count ? parts[i] : ""
        if (row_count == 2) {
            right[i] = parts[i] ~ /^-+:$/
        } else {
            width[i] = max(width[i], length(cells[row_count, i]))
            word[i] = max(word[i], longest_word(cells[row_count, i]))
        }
    }
}

function max(a, b) { return a > b ? a : b }

function longest_word(s,    words, count, longest)
{
    longest = 0
    for (count = split(s, words, " "); count > 0; count--)
        longest = max(longest, length(words[count]))
    return longest
}

# The form of a column, as tbl has it.
function column(i,    form)
{
    form = right[i] ? "r" : "l"
    if (width[i] > FILLED_MAX)
        return form "x"
    return width[i] > CELL_MAX ? form "w(" max(CELL_MAX, word[i]) "n)" : form
}

function table(    r, i, line, cell)
{
    print ".PP\n.TS\nallbox nospaces;"
    # The heads in bold, then all the others.
    for (r = 1; r <= 2; r++) {
        line = ""
        for (i = 1; i <= column_count; i++)
            line = line (i > 1 ? " " : "") column(i) (r == 1 ? "b" : "")
        print line (r == 2 ? "." : "")
    }
    for (r = 1; r <= row_count; r++) {
        if (r == 2)
            continue
        line = ""
        for (i = 1; i <= column_count; i++) {
            cell = text(inline(cells[r, i]))
            if (width[i] > CELL_MAX && cell != "")
                cell = "T{\n" cell "\nT}"
            line = line (i > 1 ? "\t" : "") cell
        }
        print line
    }
    print ".TE\n.sp"
    wants_break = 1
}

BEGIN {
    if (!part)
        page_begins(name, section, version, summary)
}

/^```/ { in_fence = !in_fence; if (!in_fence) flush_block(); next }
in_fence { code($0); next }
/^# / { next }
/^##+ / {
    flush_block()
    begun = 1
    in_item = wants_break = 0
    level = /^## /
    sub(/^#+ */, "")
    heading(level ? "SH" : "SS", level ? toupper($0) : $0)
    next
}
/^$/ { if (!in_code) flush_block(); else blank_code = 1; if (block == "" && begun) wants_break = 1; next }
{ begin_page() }
/^@KEYS@$/ {
    flush_block()
    while ((getline line < keys) > 0)
        print line
    wants_break = 1
    next
}
/^    / && block == "" {
    if (blank_code && in_code)
        print ""
    blank_code = 0
    code(substr($0, 5))
    next
}
in_code { flush_block() }
{ blank_code = 0 }
/^\|/ { row($0); next }
/^- / { begin_item("\\(bu 2", substr($0, 3)); next }
/^[0-9]+\. / {
    mark = substr($0, 1, index($0, " ") - 1)
    begin_item(mark " 4", substr($0, length(mark) + 2))
    next
}
block == "" { leave_items() }
{
    sub(/^ +/, "")
    block = block == "" ? $0 : block "\n" $0
}

END { flush_block() }
