#!/usr/bin/env python3
"""`mailcask stats` by account and by month: what came in, what is stored and saved, and that it adds up to
the archive, beside the service, behind repacking, and with damage."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

SUMS = ("messages", "message_bytes", "stored_bytes", "saved_bytes")
picture = base64.encodebytes(random.Random(1).randbytes(300_000)).replace(b"\n", b"\r\n")
mail = temp_folder()
for user, count in (("a", 40), ("b", 10), ("c", 0)):
    write_files(mail / user, [b"Subject: %d\r\n\r\n%s\r\n" % (i, picture if i % 10 == 9 else b"text " * 400) for i in range(count)])
(mail / "c").mkdir(exist_ok=True)
server = Pop3d(mail)
cask = Mailcask()
cask.add_server("s", server.port, server.ca, poll="1s")
for user in "abc":
    cask.add_account(user, "s")
cask.init()


def adds_up(what):
    """By account, by month and by both: the same, and with nobody's the archive."""
    whole = cask.json("stats", "--by-month")[0]
    accounts = cask.json("stats", "--all", "--by-month")[0]["by_account"]
    single = [cask.json("stats", "--account", user, "--by-month")[0] for user in "abc"]
    is_(single, accounts, f"{what}: an account by itself and among all")
    is_({k: sum(a[k] for a in accounts) for k in SUMS}, {k: sum(m[k] for m in whole["by_month"]) for k in SUMS},
        "accounts add up to what months add up to")
    ok(all(a[k] == sum(m[k] for m in a["by_month"]) for a in accounts for k in SUMS), "an account's months to the account")
    is_(sum(a["stored_bytes"] for a in accounts) + whole["nobody_bytes"], whole["stored_bytes"], "with nobody's to what is stored")
    is_([sum(a[k] for a in accounts) for k in SUMS[:2]], [whole[k] for k in SUMS[:2]], "and to what came in")
    is_(sum(a["saved_bytes"] for a in accounts) - whole["nobody_bytes"], whole["saved_bytes"], "and to what is saved")
    ok(all(a["saved_bytes"] == a["message_bytes"] - a["stored_bytes"] for a in accounts), "saved is the difference")
    is_({a["account"]: a["messages"] for a in accounts}, {a["account"]: a["messages"] for a in cask.json("accounts")},
        "as many messages as `accounts` says")
    return {a["account"]: a for a in accounts}


def figures():
    empty = cask.json("stats", "--all", "--by-month")[0]
    is_((empty["by_account"], empty["nobody_bytes"] == empty["stored_bytes"]), ([], True), "an empty archive is nobody's")
    is_(cask.once().status, 0, "a pass")
    accounts = adds_up("archived")
    is_([m["month"] for m in accounts["a"]["by_month"]], [time.strftime("%Y-%m", time.gmtime())], "in the month of fetching, of UTC")
    first, second = sorted("ab", key=lambda user: -accounts[user]["stored_bytes"])
    ok(accounts[first]["stored_bytes"] > 300_000 > 20_000 > accounts[second]["stored_bytes"],
       "an attachment counts to one of the two accounts that have it")
    is_([accounts["c"][k] for k in SUMS[:2]], [0, 0], "an empty mailbox has none")
    plain = cask.json("stats")[0]
    is_(set(cask.json("stats", "--by-month")[0]) - set(plain), {"nobody_bytes", "by_month"}, "without options there is no more than ever")
    is_(set(cask.json("stats", "--account", "a")[0]), {"account", *SUMS}, "nor with an account alone")


def in_words():
    text = cask.tool("stats", "--all").out.decode()
    like(text, r"^ messages +bytes in +stored +saved +account$", "a table")
    like(text, r"^ +40 +\S+ MB .* \d+ %  a$", "a line for an account")
    like(text, r"^ +0 +0 B +\S+ kB +-\S+ kB +\(nobody\)$", "one for what is nobody's")
    like(text, r"^ +50 .*  \(all\)$", "and one for all")
    month = time.strftime("%Y-%m", time.gmtime())
    like(cask.tool("stats", "--all", "--by-month").out, rf"^{month} +40 .*  a$", "with months")
    like(cask.tool("stats", "--by-month").out, rf"^head(.*\n)+\nmonth .*\n{month} +50 .*\nnobody +0 .*\nall +50 ", "the archive's")
    like(cask.tool("stats", "--account", "a", "--by-month").out, rf"^account +a\nmessages +40\n(.*\n)+{month} +40 .*\nall +40 ", "an account's")
    is_(cask.tool("stats", "--account", "nobody").status, 1, "no such account: exit 1")
    is_(cask.tool("stats", "--account", "a", "--all").status, 2, "one account and all: exit 2")


def beside_the_service():
    service = cask.start()
    write_files(mail / "c", [b"Subject: %d\r\n\r\nlate\r\n" % i for i in range(20)])
    wait_for(lambda: cask.json("stats", "--account", "c")[0]["messages"] == 20, what="new mail")
    whole = cask.json("stats", "--all")[0]
    is_(sum(a["stored_bytes"] for a in whole["by_account"]) + whole["nobody_bytes"], whole["stored_bytes"], "beside the service, too")
    service.stop()


def behind_repacking():
    before = adds_up("many segments")
    is_(cask.tool("repack").status, 0, "repack")
    adds_up("replaced segments wait")
    is_(cask.tool("repack", "--remove-now").status, 0, "and are removed")
    after = adds_up("repacked")
    ok(all([before[u][k] for k in SUMS[:2]] == [after[u][k] for k in SUMS[:2]] for u in "abc"), "the same mail in")


def damage():
    largest = max((cask.archive / "segments").iterdir(), key=lambda p: p.stat().st_size)
    largest.rename(cask.folder / "aside")
    result = cask.tool("stats", "--all")
    is_(result.status, 3, "a segment is missing: exit 3")
    like(result.err, r"\d+ messages are left out because their records cannot be read", "and how many messages that are")
    is_(cask.tool("stats").status, 0, "the whole comes from the index")
    (cask.folder / "aside").rename(largest)
    adds_up("put back")


figures()
in_words()
beside_the_service()
behind_repacking()
damage()
done()
