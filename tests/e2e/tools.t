#!/usr/bin/env python3
"""The tools on an archive that mailcaskd made: the index deleted and rebuilt says the same; damage is
named, never given out as right, and heals; a removed segment is missed."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

chance = random.Random(7)
mail = temp_folder()
run([BUILD / "tests/mailgen", mail, "--accounts", "4", "--messages", "60", "--seed", "3"])
users = sorted(p.name for p in mail.iterdir() if p.is_dir())
wire = {u: [wire_bytes(f.read_bytes()) for f in sorted((mail / u).iterdir())] for u in users}
server = Pop3d(mail, "--no-lock", script='user %s on PASS skip 1 times 1 reply "-ERR [AUTH] no\\r\\n"\n' % users[0])
cask = Mailcask()
cask.add_server("s", server.port, server.ca)
for user in users:
    cask.add_account(user, "s")
cask.init()


def segments():
    return sorted((cask.archive / "segments").iterdir())


def everything():
    """What accounts, list and ledger print as JSON, as bytes."""
    out = cask.tool("accounts", "--json").out
    for user in users:
        out += cask.tool("list", "--account", user, "--json").out
        out += cask.tool("ledger", "--account", user, "--json").out
    return out


def reindex():
    for _ in range(3):  # the second pass fails for one account: the ledger has something to say
        cask.once()
    before = everything()
    ok(before.count(b"\n") > 240, "there is something to compare")
    shutil.rmtree(cask.archive / "index")
    result = cask.tool("list", "--account", users[0])
    is_(result.status, 4, "without an index: exit 4")
    like(result.err.decode(), "mailcask reindex", "and what to do")
    is_(cask.tool("reindex").status, 0, "reindex")
    ok(everything() == before, "accounts, list and ledger are the same, byte for byte")
    is_(cask.tool("verify").status, 0, "and the archive is sound")
    is_(cask.once().status, 0, "a pass with the new index")
    is_(sum(s["fetched"] + s["deduplicated"] for u in users for s in cask.json("ledger", "--account", u)[-1:]), 0,
        "fetches nothing")


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0] ^ 1 << chance.randrange(8)
        f.seek(at)
        f.write(bytes([byte]))


def damage():
    found = named = wrong = 0
    rounds = 60
    for i in range(rounds):
        path = chance.choice([cask.archive / "CASK", *segments()])
        at = chance.randrange(path.stat().st_size)
        original = path.read_bytes()
        flip(path, at)
        result = cask.tool("verify")
        found += result.status == 3
        named += len((result.out + result.err).splitlines()) > 0
        if i % 6 == 0:
            out = cask.folder / f"damaged{i}"
            result = cask.restore(f"eml:{out}")
            for user in users:
                if not (out / user).is_dir():
                    continue
                got = hashes(read_eml(out / user))
                wrong += bool(got - hashes(wire[user]))
                wrong += got != hashes(wire[user]) and result.status == 0
        path.write_bytes(original)
    is_(found, rounds, f"{rounds} flipped bits are found by verify, exit 3")
    is_(named, rounds, "each with a line that says where")
    is_(wrong, 0, "restore never writes wrong bytes, and never misses some with success")
    is_(cask.tool("verify").status, 0, "undone, all is well")


def heal():
    largest = max(segments(), key=lambda p: p.stat().st_size)
    size = largest.stat().st_size
    for part in (3, 5, 7):
        flip(largest, size * part // 10)
    result = cask.tool("verify")
    is_(result.status, 3, "three flipped bits")
    ok(any(f"{u}/" in result.out.decode() for u in users), "the messages hurt are named by ID")
    result = cask.once()
    is_(result.status, 0, "the next pass fetches them anew")
    is_(cask.tool("verify").status, 0, "and they have healed")
    out = cask.folder / "healed"
    is_(cask.restore(f"eml:{out}").status, 0, "restore gives")
    for user in users:
        ok(read_eml(out / user) == wire[user], f"{user}: every message, under its old number")
    is_(cask.once().status, 0, "one more pass")
    is_(sum(s["fetched"] + s["deduplicated"] + s["healed"] for u in users for s in cask.json("ledger", "--account", u)[-1:]), 0,
        "fetches nothing")


def missing_segment():
    path = max(segments(), key=lambda p: p.stat().st_size)
    path.rename(cask.folder / "aside")
    result = cask.tool("verify")
    is_(result.status, 3, "a removed segment: exit 3")
    like(result.out.decode(), "missing", "and said to be missing")
    is_(cask.tool("reindex").status, 3, "reindex says so, too")
    is_(cask.tool("verify").status, 3, "and verify behind it")
    result = cask.tool("repack")
    like(result.err.decode(), "missing", "repack says so")
    is_(result.status, 3, "and ends with 3, though it had nothing to do with it")
    (cask.folder / "aside").rename(path)
    is_(cask.tool("reindex").status, 0, "put back")
    is_(cask.tool("verify").status, 0, "all is well")


def restore():
    to = cask.folder / "twice"
    is_(cask.restore(f"maildir:{to}", "--account", users[0]).status, 0, "restore")
    before = {f.name: f.stat().st_ino for f in (to / "cur").iterdir()}
    victim = sorted((to / "cur").iterdir())[5]
    victim.unlink()
    is_(cask.restore(f"maildir:{to}", "--account", users[0]).status, 0, "restore again")
    after = {f.name: f.stat().st_ino for f in (to / "cur").iterdir()}
    is_(sorted(after), sorted(before), "puts back what is missing")
    ok(sum(before[k] == after[k] for k in after) >= len(after) - 1, "and leaves the rest alone")
    victim.write_bytes(b"my own\n")
    result = cask.restore(f"maildir:{to}", "--account", users[0])
    is_(result.status, 1, "a file that differs: exit 1")
    is_(victim.read_bytes(), b"my own\n", "and it is not overwritten")
    lines = cask.json("list", "--account", users[0])
    result = cask.tool("show", lines[9]["id"])
    is_(result.out, wire[users[0]][9], "show gives a message")
    ok(all(oct(f.stat().st_mode & 0o777) == "0o600" for f in (to / "cur").iterdir()), "files are 0600")
    is_(cask.tool("show", f"{users[0]}/9999").status, 1, "no such message: exit 1")
    (cask.folder / "link").symlink_to(cask.archive)
    for to in (f"eml:{cask.archive}", f"eml:{cask.archive}/segments", f"mbox:{cask.archive}/state/new/box",
               f"maildir:{cask.archive}/state/../../archive/x/", f"maildir:{cask.folder}/link/x"):
        result = cask.restore(to, "--account", users[0])
        is_((result.status, b"in the archive itself" in result.err), (2, True), f"{to}: refused, exit 2")
    result = run([BUILD / "mailcask", "--archive", ".", "restore", "--account", users[0], "--to", "eml:new"], cwd=cask.archive)
    is_(result.status, 2, "eml:new in the archive's folder: the same")
    is_(cask.restore(f"eml:{cask.archive}-2/x", "--account", users[0]).status, 0, "a folder beside it will do")


def without_gmime():
    """What only decoding needs, only decoding waits for."""
    hidden = cask.folder / "libraries"
    hidden.mkdir()
    (hidden / "libgmime-3.0.so.0").write_bytes(b"nothing of the kind\n")
    env = {"LD_LIBRARY_PATH": str(hidden)}
    result = cask.tool("list", "--account", users[0], env=env)
    is_(result.status, 4, "a library that cannot be loaded: exit 4")
    like(result.err.decode(), "libgmime", "and it is named")
    result = cask.tool("show", f"{users[1]}/1", env=env)
    is_(result.out, wire[users[1]][0], "show does without")


def closed_descriptors():
    """A file of the archive that takes the number of a closed standard output is not written to."""
    def index_size():
        return sum(f.stat().st_size for f in (cask.archive / "index").iterdir())

    before = index_size()
    for closed in ("<&- >&-", "<&- >&- 2>&-", ">&-"):
        result = run(["sh", "-c", f'exec "$@" {closed}', "sh", BUILD / "mailcask", "--archive", cask.archive, "list",
                      "--account", users[0], "--json"])
        is_(result.status, 4, f"started with {closed}: the output went nowhere, exit 4")
    is_(index_size(), before, "and not into the archive's index")


def version():
    told = run([BUILD / "mailcask", "--version"])
    for line in (["list", "--version"], ["--version", "list"]):
        is_(run([BUILD / "mailcask", *line])[:2], told[:2], f"{' '.join(line)}: the version")


def files_that_may_not_grow():
    """ulimit -f, in blocks of 512 bytes: the write fails, and nobody is killed."""
    def limited(*command):
        return run(["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *command])

    to = cask.folder / "limited"
    result = limited(BUILD / "mailcask", "--archive", cask.archive, "restore", "--account", users[0], "--to", f"mbox:{to}")
    is_(result.status, 4, "restore into a file that may not grow: exit 4")
    like(result.err, "File too large", "and why")
    result = limited(*cask.once_arguments())
    ok(result.status in (1, 4), f"a pass ends in order, too ({result.status})")
    is_(cask.tool("verify").status, 0, "and the archive is sound")


reindex()
damage()
heal()
missing_segment()
restore()
without_gmime()
closed_descriptors()
files_that_may_not_grow()
version()
done()
