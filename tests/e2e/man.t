#!/usr/bin/env python3
"""The manual's pages say what the programs and the project's documents say, all of it and no more;
man formats them without a warning. Completion offers what --help names."""

import collections
import re
import select
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

PAGES = BUILD / "man"
WIDTHS = (80, 132)
FIXED_PAGES = {"mailcask.1", "mailcaskd.8", "mailcask.conf.5", "mailcask-archive.5", "mailcask-pop3.7"}


def output(*command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True, **more).stdout


def help_of(program, *words):
    return output(BUILD / program, *words)


def rendered(page, width=80, *options):
    environment = dict(os.environ, MANWIDTH=str(width), LC_ALL="C.UTF-8", MAN_KEEP_FORMATTING="")
    return subprocess.run(["man", "--warnings=w", "-E", "UTF-8", *options, "-l", str(PAGES / page)],
                          capture_output=True, text=True, env=environment)


def page_sections(page):
    """{head: lines} of a page as a reader sees it, wide and without hyphenation."""
    sections = collections.defaultdict(list)
    head = ""
    for line in rendered(page, 1000, "--nh", "--nj").stdout.splitlines()[1:-1]:
        if line[:1].strip():
            head = line.strip()
        else:
            sections[head].append(line)
    return dict(sections)


def words(text):
    return " ".join(text.split())


def help_sections(text):
    """{head: lines} of a help text; its usage and its paragraphs are below ""."""
    sections = collections.defaultdict(list)
    head = ""
    for before, line in zip([""] + text.splitlines(), text.splitlines()):
        if before == "" and re.fullmatch(r"[a-z].*:", line):
            head = line[:-1]
        elif line[:1].strip() and before == "" and head not in ("", "example"):
            sections[""].append(line)
        else:
            sections[head].append(line)
    return dict(sections)


def items(lines, indent, known=()):
    """[(term, text)] of a list: "  term  text" in a help text, or as man shows it. A term that just fills
    man's indentation has one blank behind it: only a known one is told by that."""
    found = []
    for line in lines:
        if re.match(" {%d}[^ ]" % indent, line):
            parts = re.split(" {2,}", line.strip(), maxsplit=1)
            if line[indent:indent + 6] in known and line[indent + 6:indent + 7] == " ":
                parts = [line[indent:indent + 6], line[indent + 7:]]
            found.append([parts[0], parts[1] if len(parts) > 1 else ""])
        elif line.strip() and found and line.startswith(" " * (indent + 1)):
            found[-1][1] = words(found[-1][1] + " " + line)
    return [(term, words(text)) for term, text in found]


def page_items(lines, wanted):
    """The items of a page's section, without the paragraphs behind them."""
    known = {term for term, _ in wanted}
    return [(term, text) for term, text in items(lines, 7, known) if text or term in known]


def same_as_help(page, text):
    """Whether the page has each list of the help text, term by term and no more, and all of its words."""
    sections = page_sections(page)
    wanted = help_sections(text)
    for head, lines in wanted.items():
        if head in ("", "example"):
            continue
        want = items(lines, 2)
        got = page_items(sections.get(head.upper(), []), want)
        if got != [(term, text.replace("`", "")) for term, text in want]:
            diag(f"{page}, {head}: {want}\nis: {got}")
            return False
    said = collections.Counter(words(" ".join(" ".join(lines) for lines in sections.values())).split())
    text = re.sub(r"(?m)^usage: |^[a-z].*:$", "", text)
    missing = collections.Counter(text.replace("`", "").split()) - said
    if missing:
        diag(f"{page} lacks {sorted(missing)}")
    return not missing


def commands():
    return dict(items(help_sections(help_of("mailcask", "--help"))["commands"], 2))


def pages():
    names = {p.name for p in PAGES.iterdir()}
    is_(names, FIXED_PAGES | {f"mailcask-{c}.1" for c in commands()}, "a page for every command, and none besides")
    for page in sorted(names):
        complaints = "".join(rendered(page, width).stderr for width in WIDTHS)
        is_(complaints, "", f"{page} is formatted without a warning")
    tops = {p: rendered(p).stdout.split("\n", 1)[0].split()[0].lower() for p in names}
    ok(all(top == "{}({})".format(*page.rsplit(".", 1)) for page, top in tops.items()), "each is titled as its file is named")
    references = {m for p in names for m in re.findall(r"(mailcask[a-z.-]*[a-z]\([1-8]\))", rendered(p, 1000, "--nh").stdout)}
    is_(sorted(references - {"{}({})".format(*page.rsplit(".", 1)) for page in names}), [], "pages that are referred to exist")


def as_help_says():
    ok(same_as_help("mailcask.1", help_of("mailcask", "--help")), "mailcask(1) says what --help says")
    ok(same_as_help("mailcaskd.8", help_of("mailcaskd", "--help")), "mailcaskd(8) too")
    for command, summary in commands().items():
        text = help_of("mailcask", command, "--help")
        page = f"mailcask-{command}.1"
        ok(same_as_help(page, text) and words(" ".join(page_sections(page)["NAME"])) == f"mailcask-{command} - {summary}",
           f"mailcask-{command}(1) says what --help says")


def keys_of_source():
    """(name, default) of every key in the table of the source: the programs have no part in this."""
    source = (ROOT / "daemon/config_keys.c").read_text()
    table = source[source.index("config_keys[KEY_COUNT]"):]
    table = table[:table.index("\n};")]
    found = re.findall(r'\[KEY_\w+\] =\s*\{"([^"]+)",\s*[A-Z_ |]+,\s*TYPE_\w+,\s*"([^"]*)",', table)
    ok(len(found) == table.count("[KEY_") - 1 and len(found) > 20, "every key of the table is read")
    return found


def configuration():
    sections = page_sections("mailcask.conf.5")
    keys = keys_of_source()
    found = page_items(sections["KEYS"], keys)
    is_(sorted(name for name, _ in found), sorted(name for name, _ in keys), "every key, once")
    for name, default in keys:
        text = dict(found).get(name, "")
        said = re.search(r"Default: (.*?)\.(?: Not in:.*)?$", text)
        is_(said.group(1) if said else "", default, f"{name} with its default")
    wanted = help_of("mailcaskd", "--help-config")
    ok(words(re.sub(r"(?m)^([^ ].*):$", r"\1", wanted)) == words("\n".join(sections["KEYS"])), "and nothing but what --help-config says")


def documents():
    for page, source in (("mailcask-archive.5", "archive/FORMAT.md"), ("mailcask-pop3.7", "workers/POP3.md")):
        text = (ROOT / source).read_text().split("\n", 1)[1]
        text = re.sub(r"(?m)^\|[-|: ]*\|$", "", text)
        text = re.sub(r"(?m)^## (.*)$", lambda m: m.group(1).upper(), text)
        text = re.sub(r"(?m)^(- |#+ )", "", text)
        shown = re.sub("[│┌┐└┘├┤┬┴┼─•]", " ", rendered(page, 400, "--nh", "--nj").stdout)

        def plain(s):
            return collections.Counter(re.sub(r"[*`]", "", s.replace("|", " ")).split())

        missing = plain(text) - plain(shown)
        ok(not missing, f"{page} has every word of {source}")
        if missing:
            diag(sorted(missing))
        surplus = plain(shown.split("SEE ALSO")[0]) - plain(text)
        ok(sum(surplus.values()) < 30, "and hardly one besides")
        if sum(surplus.values()) >= 30:
            diag(surplus)


def bash_complete(line):
    script = f"source {ROOT}/tools/completion/mailcask.bash; compopt() {{ :; }}; COMP_LINE=$1 COMP_POINT=${{#1}}; " \
             '_mailcask; ((${#COMPREPLY[@]})) && printf "%s\\n" "${COMPREPLY[@]}"; :'
    return sorted(output("bash", "--norc", "-c", script, "bash", line).split())


ZSH = """
zmodload zsh/zpty
zpty z 'PS1= PROMPT= zsh -f -i'
zpty -w z 'fpath=(%s $fpath); autoload -Uz compinit; compinit -D -u; LISTMAX=100000; unsetopt beep'
zpty -w z 'compdef _mailcask mailcask mailcaskd; PATH=%s:$PATH'
zpty -w z 'shown() { compadd() { builtin compadd "$@" }; }'
zpty -w z "zstyle ':completion:*' list-colors; bindkey '^I' list-choices; print re''ady"
zpty -r z out '*ready*'
zpty -w -n z "$1"$'\\t'
while zpty -t z; do
    if zpty -r -t z out; then print -rn -- "$out"; else sleep 0.1; fi
done
"""


def zsh_lacks(line, wanted):
    """Which of these words zsh does not show for a line and TAB."""
    script = ZSH % (ROOT / "tools/completion", BUILD)
    shown = b""

    def missing():
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", shown.decode(errors="replace")).replace("\\", "")
        return [w for w in wanted if not re.search(rf"(?<![\w-]){re.escape(w)}(?!\w)", text)]

    with subprocess.Popen(["zsh", "-f", "-c", script, "zsh", line], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as zsh:
        end = time.monotonic() + START_SECONDS * PATIENCE
        while missing() and select.select([zsh.stdout], [], [], max(0, end - time.monotonic()))[0]:
            shown += os.read(zsh.stdout.fileno(), 65536)
        zsh.kill()
    return missing()


def option_names(*command):
    return sorted(re.findall(r"(?m)^  (--[a-z-]+)", help_of(*command, "--help")))


def completion():
    cask = Mailcask()
    cask.init()
    tool, daemon = BUILD / "mailcask", BUILD / "mailcaskd"
    is_(bash_complete(f"{tool} "), sorted(commands()), "bash: commands")
    is_(bash_complete(f"{tool} --config /x re"), sorted(c for c in commands() if c.startswith("re")), "behind a global option, too")
    ok(all(bash_complete(f"{tool} {c} --") == option_names("mailcask", c) for c in commands()), "bash: each command's options")
    is_(bash_complete(f"{daemon} --"), option_names("mailcaskd"), "bash: mailcaskd's options")
    is_(bash_complete(f"{tool} restore --to "), ["eml:", "maildir:", "mbox:"], "bash: the targets of restore")
    is_(bash_complete(f"{tool} restore --to mbox:{cask.archive}/CA"), [f"{cask.archive}/CASK"], "and their files")
    is_(bash_complete(f"{tool} --archive {cask.archive}/seg"), [f"{cask.archive}/segments"], "bash: folders")
    is_(bash_complete(f"{tool} restore --frob x --"), option_names("mailcask", "restore"), "an unknown option does no harm")
    is_(subprocess.run(["zsh", "-n", ROOT / "tools/completion/_mailcask"]).returncode, 0, "zsh reads its completion")
    is_(zsh_lacks("mailcask ", commands()), [], "zsh: commands")
    is_(zsh_lacks("mailcask restore --", option_names("mailcask", "restore")), [], "zsh: options of a command")
    is_(zsh_lacks("mailcaskd --", option_names("mailcaskd")), [], "zsh: mailcaskd's options")


def completes_accounts():
    mail = temp_folder()
    run([BUILD / "tests/mailgen", mail, "--accounts", "2", "--messages", "1", "--seed", "5"])
    hostile = "z$(>ran)@cask.example"
    (mail / "user2@cask.example").rename(mail / hostile)
    users = sorted(p.name for p in mail.iterdir() if p.is_dir())
    server = Pop3d(mail)
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca)
    for user in users:
        cask.add_account(user, "s")
    cask.init()
    is_(cask.once().status, 0, "two accounts are archived")
    tool = BUILD / "mailcask"
    for line in (f"{tool} list --archive {cask.archive} --account ", f"{tool} list --config {cask.config} --account "):
        is_(bash_complete(line), [users[0], "z\\$\\(\\>ran\\)@cask.example"], "bash: the accounts of the archive that is meant")
    user = users[0]
    behind = re.split("[@:=]", user)[-1]
    is_(bash_complete(f"{tool} --archive {cask.archive} list --account={user[:-1]}"),
        sorted(re.split("[@:=]", u)[-1] if "@" in user else u for u in users if u.startswith(user[:-1])),
        "behind a character at which bash breaks words only the rest")
    is_(bash_complete(f"{tool} --archive {cask.archive} show {user}"), [behind + "/"], "bash: IDs begin with an account")
    is_(zsh_lacks(f"mailcask list --archive {cask.archive} --account ", users), [], "zsh: the accounts")
    ok(not pathlib.Path("ran").exists(), "and nothing in their names is run")


pages()
as_help_says()
configuration()
documents()
completion()
completes_accounts()
done()
