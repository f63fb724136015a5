#!/usr/bin/env python3
"""kill -9 at random moments of a pass over many accounts, then a pass to the end: every message of the
server is there, none twice, and the archive is sound. ROUNDS sets how many (50)."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

ROUNDS = int(os.environ.get("ROUNDS", "50"))
ACCOUNTS = 12
PER_ACCOUNT = 14

chance = random.Random(20260302)
mail = temp_folder()
expected = {}
for a in range(ACCOUNTS):
    messages = [b"Subject: %d of %d\r\n\r\n" % (i, a) + base64.encodebytes(chance.randbytes(chance.choice(
        (200, 5_000, 60_000, 400_000)))).replace(b"\n", b"\r\n") for i in range(PER_ACCOUNT)]
    if a == 0:
        messages.append(b"Subject: large\r\n\r\n" + base64.encodebytes(chance.randbytes(2_500_000)).replace(b"\n", b"\r\n"))
    messages.append(messages[0])  # the same message twice
    write_files(mail / f"user{a}", messages)
    expected[f"user{a}"] = hashes(messages)
server = Pop3d(mail, "--no-lock")


def a_pass():
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca, max_connections=6)
    for user in expected:
        cask.add_account(user, "s")
    cask.init()
    return cask


def differences(cask):
    wrong = []
    out = cask.folder / "out"
    cask.restore(f"eml:{out}")
    for user, want in expected.items():
        got = hashes(read_eml(out / user))
        if got != want:
            wrong.append(f"{user}: {sum((want - got).values())} missing, {sum((got - want).values())} too many")
    return wrong


cask = a_pass()
start = time.monotonic()
is_(cask.once().status, 0, "a pass without kills")
whole = time.monotonic() - start
is_(differences(cask), [], "archives every message once")

bad = []
kept = 0
for round_ in range(ROUNDS):
    cask = a_pass()
    kills = chance.choice((1, 1, 2, 3))
    for _ in range(kills):
        kill_after(cask.once_arguments(), chance.uniform(0.01, whole * 1.05))
    result = cask.once()
    kept += sum(a["messages"] for a in cask.json("accounts"))
    verify = cask.tool("verify")
    wrong = differences(cask)
    if result.status != 0 or verify.status != 0 or wrong:
        bad.append(f"round {round_}: {kills} kills: pass {result.status}, verify {verify.status}, {wrong}\n"
                   f"{result.err.decode()}{verify.out.decode()}")
    shutil.rmtree(cask.folder, ignore_errors=True)
is_(bad, [], f"{ROUNDS} rounds of kill -9 and a pass to the end: all there, none twice, sound")
is_(kept, ROUNDS * sum(sum(c.values()) for c in expected.values()), "the counts agree")
done()
