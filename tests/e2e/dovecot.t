#!/usr/bin/env python3
"""A real Dovecot, over POP3S and STLS, on both loops: everything comes back as RETR delivers it, and a
second pass fetches nothing. Where the project's mail corpus is beside it, its sets go through as well
(CORPUS names them; default: tricky)."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

CORPUS = ROOT.parent / "shared" / "corpus"
MESSAGES = [
    b"From: a@cask.example\r\nSubject: dots\r\n\r\n.one\r\n..two\r\n.\r\n...\r\nend\r\n",
    b"Subject: bare LF\n\nline\n.\nno end",
    b"Subject: NUL \0 and bare \r CR\n\n\0\0\r\r\n\r",
    b"From here on\nFrom: x\n\n>From me\nFrom you\n\nFrom us",
    b"Subject: one long line\n\n" + b"x" * 1_500_000,
    b"Subject: three MiB\n\n" + b"0123456789abcdef0123456789abcdef\n" * 100_000,
    b"\n", b"Subject: twice\n\nequal\n", b"Subject: twice\n\nequal\n",
    b"no header at all", b"..dot at the start\n", b"Subject: \xff\xfe 8bit\n\n\x80\n",
]


def restored(cask, account, form):
    to = cask.folder / f"out-{form}-{account}"
    result = cask.restore(f"{form}:{to}", "--account", account)
    if result.status != 0:
        diag(str(result))
        return None
    return {"maildir": read_maildir, "mbox": read_mbox, "eml": read_eml}[form](to)


def check(name, server, cask, users, expected, **run_options):
    """One pass archives everything, a second one nothing; three formats give the expected bytes."""
    result = cask.once(timeout=900, **run_options)
    is_(result.status, 0, f"{name}: the pass ends with success") or diag(str(result))
    for user in users:
        for form in ("maildir", "mbox", "eml"):
            got = restored(cask, user, form)
            ok(got is not None and hashes(got) == hashes(expected[user]),
               f"{name}: {user}: {len(expected[user])} messages are restored exact to {form}")
    before = {a["account"]: a["messages"] for a in cask.json("accounts")}
    result = cask.once(timeout=900, **run_options)
    is_(result.status, 0, f"{name}: a second pass ends with success")
    after = {a["account"]: a["messages"] for a in cask.json("accounts")}
    is_(after, before, f"{name}: and archives nothing")
    is_(fetched_last(cask, users), 0, f"{name}: because it fetches nothing")
    is_(cask.tool("verify").status, 0, f"{name}: the archive is sound")


def fetched_last(cask, users):
    """Messages that each account's last session fetched or recognised by content."""
    total = 0
    for user in users:
        sessions = cask.json("ledger", "--account", user)
        total += sessions[-1]["fetched"] + sessions[-1]["deduplicated"]
    return total


def small(dovecot):
    files = temp_folder()
    write_files(files / "alice", MESSAGES)
    write_files(files / "bob", [b"Subject: %d\n\nbody %d\n" % (i, i) for i in range(150)])
    (files / "empty").mkdir()
    expected = {}
    for user in ("alice", "bob", "empty"):
        dovecot.fill(user, files / user)
        expected[user] = fetch_all(dovecot.port, user, ca=dovecot.ca)
    for loop in ("uring", "epoll"):
        for tls, port in (("implicit", dovecot.port), ("starttls", dovecot.plain_port)):
            cask = Mailcask()
            cask.add_server("dovecot", port, dovecot.ca, tls=tls)
            for user in expected:
                cask.add_account(user, "dovecot", password=dovecot.password)
            cask.init()
            environment = {**os.environ, "MAILCASK_LOOP": loop}
            check(f"{loop}, {tls}", dovecot, cask, list(expected), expected, env=environment)



# Dovecot does not stuff a dot that starts the first line: a message whose first line is "." ends the
# reply early, and the session breaks (Q21). It cannot be had from this server by anyone.
def unfetchable(data):
    return wire_bytes(data).startswith(b".\r\n")


def corpus(dovecot, name):
    folder = temp_folder()
    if run([CORPUS / "unpack", folder, name], timeout=300).status != 0:
        skip(f"corpus {name}", "cannot be unpacked")
        return
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    boxes = {}
    for f in files:
        parts = f.relative_to(folder).parts
        user = f"{name}-{parts[1]}" if name == "company" else name
        boxes.setdefault(user, []).append(f)
    cask = Mailcask()
    cask.add_server("dovecot", dovecot.port, dovecot.ca)
    expected, broken = {}, 0
    for user, paths in boxes.items():
        source = temp_folder() / user
        source.mkdir()
        for i, path in enumerate(paths):
            shutil.copy(path, source / f"{i:06}")
        dovecot.fill(user, source)
        broken += sum(unfetchable(p.read_bytes()) for p in paths)
        expected[user] = reference(dovecot, user, paths)
        cask.add_account(user, "dovecot", password=dovecot.password)
    cask.init()
    total = sum(map(len, expected.values()))
    if broken == 0:
        check(f"corpus {name}, {total} messages", dovecot, cask, list(boxes), expected)
        return
    result = cask.once(timeout=900)
    is_(result.status, 1, f"corpus {name}: {broken} message(s) break their session and are put aside: exit 1")
    is_(len(re.findall("is quarantined", result.err.decode())), broken, f"corpus {name}: each is named once") or \
        diag(result.err.decode())
    for user in boxes:
        for form in ("maildir", "mbox", "eml"):
            got = restored(cask, user, form)
            ok(got is not None and hashes(got) == hashes(expected[user]),
               f"corpus {name}: all {len(expected[user])} messages that can be had come back to {form}")
    is_(cask.tool("verify").status, 0, f"corpus {name}: the archive is sound")
    result = cask.once(timeout=900)
    is_(result.status, 0, f"corpus {name}: a second pass has nothing to complain of")
    is_(fetched_last(cask, boxes), 0, f"corpus {name}: and fetches nothing")


def reference(dovecot, user, paths):
    """What an independent client gets, past messages that break its session."""
    got = []
    client = None
    for number, path in enumerate(paths, 1):
        if unfetchable(path.read_bytes()):
            continue
        if client is None:
            client = Pop3Client(dovecot.port, dovecot.ca, timeout=120)
            client.login(user, dovecot.password)
        got.append(client.retr(number))
    if client is not None:
        client.quit()
    return got


dovecot = dovecot_or_skip("Dovecot")
if dovecot is not None:
    small(dovecot)
    if CORPUS.is_dir():
        for name in os.environ.get("CORPUS", "tricky").split():
            corpus(dovecot, name)
    else:
        diag("no mail corpus beside the project: its sets are not tried")
done()
