#!/usr/bin/env python3
"""Long work shows itself: how far it is, how fast, how long still, on a terminal and nowhere else. Ctrl-C ends it
in order, says how to go on, and so it does."""

import pty
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

MESSAGES = 60
mail, target = temp_folder(), temp_folder()
run([BUILD / "tests/mailgen", mail, "--accounts", "1", "--messages", MESSAGES, "--seed", "4"])
user = next(p.name for p in mail.iterdir())
server = Pop3d(mail)
cask = Mailcask()
cask.add_server("s", server.port, server.ca)
cask.add_account(user, "s")
cask.init()
fetch = cask.once_arguments()


def tool(*arguments):
    return [BUILD / "mailcask", "--archive", cask.archive, *arguments]


def on_terminal(arguments):
    """Run with standard error on a terminal: its status and what was drawn."""
    leader, follower = pty.openpty()
    child = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=follower)
    os.close(follower)
    drawn = b""
    with contextlib.suppress(OSError):  # the terminal is gone with its last user
        while piece := os.read(leader, 65536):
            drawn += piece
    os.close(leader)
    return child.wait(RUN_SECONDS), drawn.decode()


def interrupted(arguments):
    """Ctrl-C before its first step: the signal waits, blocked, when the program begins."""
    def signal_waits():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        os.kill(os.getpid(), signal.SIGINT)
    child = subprocess.run([str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, timeout=RUN_SECONDS, preexec_fn=signal_waits)
    return child.returncode, child.stderr.decode()


def fetching_shows_itself():
    status, drawn = on_terminal(fetch)
    is_(status, 0, "--once on a terminal: done")
    like(drawn, r"0 of 1 accounts, [\d,]+ messages?, ", "it tells how far it is")


LONG = {"verify": ["verify"], "reindex": ["reindex"], "backup": ["backup", "--to", target / "backup"],
        "restore": ["restore", "--all", "--to", f"maildir:{target}/maildir"], "repack": ["repack"]}
VERBS = {"verify": "verifying", "reindex": "reindexing", "backup": "backing up", "restore": "restoring",
         "repack": "repacking"}


def commands_show_themselves():
    for name, words in LONG.items():
        status, drawn = on_terminal(tool(*words))
        is_(status, 0, f"{name} on a terminal: done")
        shares = [int(n) for n in re.findall(rf"{VERBS[name]}: [^\r]*?(\d+) %", drawn)]
        ok(shares and all(0 <= n <= 100 for n in shares), f"{name}: a share of the whole: {shares[:3]}")
        ok(drawn.rsplit("\r", 1)[-1].startswith("\033[K"), f"{name}: the line is taken away at the end")


def nothing_on_a_pipe():
    for name, words in LONG.items():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        result = run(tool(*words))
        is_(result.status, 0, f"{name} on a pipe: done")
        ok(b"\r" not in result.err and b"%" not in result.err, f"{name}: nothing drawn there")


def ctrl_c_ends_in_order():
    before = cask.json("stats")[0]["messages"]
    is_(before, MESSAGES, "all is archived")
    for name in ("verify", "reindex"):
        status, said = interrupted(tool(*LONG[name]))
        is_(status, 1, f"{name} interrupted: its status")
        like(said, r"(?s)interrupted.*run it again", f"{name}: how to go on is said")
    like(run(tool("list", "--account", user)).err.decode(), "reindex", "half an index is none: list says so")
    is_(run(tool("reindex")).status, 0, "reindex again: done")
    is_(cask.json("stats")[0]["messages"], before, "all is there")
    is_(run(tool("verify")).status, 0, "and verified")


def a_fetch_mends_what_was_interrupted():
    interrupted(tool("reindex"))
    is_(run(fetch).status, 0, "fetching after an interrupted reindex")
    is_(cask.json("stats")[0]["messages"], MESSAGES, "nothing is lost, nothing doubled")


fetching_shows_itself()
commands_show_themselves()
nothing_on_a_pipe()
ctrl_c_ends_in_order()
a_fetch_mends_what_was_interrupted()
done()
