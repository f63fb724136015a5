#!/usr/bin/env python3
"""The ledger as evidence: quiet polls are a run, written at the service's stop and on change; what else a
session may have to tell."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

MESSAGES = {f"m{i}": b"Subject: %d\r\n\r\nbody %d\r\n" % (i, i) for i in range(1, 6)}
certificates = Certificates()
mail = temp_folder()
write_files(mail / "quiet", MESSAGES)
server = Pop3d(mail, certificate=certificates.good, ca=certificates.ca)


def entries(cask):
    return cask.json("ledger", "--account", "quiet")


def polls():
    return len([l for l in server.log("session") if " quiet " in l])


def quiet_polls():
    cask = Mailcask()
    cask.add_server("s", server.port, certificates.ca)
    cask.add_account("quiet", "s", poll="1s")
    cask.init()
    cask.once()
    daemon = cask.start()
    wait_for(lambda: polls() >= 5, what="five polls")
    is_([e["type"] for e in entries(cask)], ["session", "session"], "one poll on record, the others wait")
    cask.stop_settled(daemon)
    count = polls()
    found = entries(cask)
    is_([e["type"] for e in found], ["session", "session", "run", "unlisted"],
        "at the stop the run is written: what listed and what did not")
    is_(sum(e.get("polls", 1) for e in found), count, "every poll is accounted for")
    run = found[2]
    is_((run["listed"], run["digest"], run["login"]), (5, found[1]["digest"], "quiet"), "with what each of them saw")
    ok(found[1]["ended"] <= run["first"] <= run["last"], "and when")
    like(cask.tool("ledger", "--account", "quiet").out.decode(), r"\d+ polls since .* found nothing new, 5 listed",
         "the same in words")

    daemon = cask.start()
    before = polls()
    wait_for(lambda: polls() >= before + 3, what="three polls")
    write_files(mail / "quiet", {"m6": b"Subject: 6\r\n\r\nnew\r\n"})
    found = wait_for(lambda: len(entries(cask)) >= 8 and entries(cask)[4:], what="the new message's session")
    daemon.stop()
    is_([e["type"] for e in found][:4], ["session", "run", "unlisted", "session"], "a change ends a run")
    is_(found[3]["fetched"], 1, "and is on record itself")
    is_(cask.tool("verify").status, 0, "verify is content with all of it")
    is_(cask.tool("repack", "--remove-now").status, 0, "repacking")
    whole = entries(cask)
    is_([e["type"] for e in whole].count("run") >= 2, True, "keeps the runs")
    cask.tool("reindex")
    is_(entries(cask), whole, "and so does reindexing")


quiet_polls()
done()
