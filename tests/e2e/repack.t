#!/usr/bin/env python3
"""mailcask repack: many polls of one message each become as small as one session; kill -9 at random
moments loses and doubles nothing; a restore that runs meanwhile finishes correctly. POLLS, ROUNDS."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

POLLS = int(os.environ.get("POLLS", "120"))
ROUNDS = int(os.environ.get("ROUNDS", "25"))
chance = random.Random(11)


def segments_size(cask):
    return sum(f.stat().st_size for f in (cask.archive / "segments").iterdir())


def archive_of(server, users):
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca)
    for user in users:
        cask.add_account(user, "s")
    cask.init()
    return cask


def single_polls():
    source, mail = temp_folder(), temp_folder()
    corpus = ROOT.parent / "shared" / "corpus"
    if corpus.is_dir() and run([corpus / "unpack", source, "spamassassin"]).status == 0:
        files = sorted(f for f in source.rglob("*") if f.is_file())[:POLLS]
    else:
        run([BUILD / "tests/mailgen", source, "--accounts", "1", "--messages", str(POLLS), "--seed", "9"])
        files = sorted(f for f in source.rglob("*") if f.is_file())
    (mail / "u").mkdir()
    server = Pop3d(mail, "--no-lock")
    polled, whole = archive_of(server, ["u"]), archive_of(server, ["u"])
    for i, f in enumerate(files):
        shutil.copy(f, mail / "u" / f"{i:05}")
        polled.once()
    whole.once()
    before = segments_size(polled)
    for cask in (polled, whole):
        is_(cask.tool("repack", "--remove-now").status, 0, "repack")
        is_(cask.tool("verify").status, 0, "the archive is sound")
    ratio = segments_size(polled) / segments_size(whole)
    ok(ratio <= 1.10, f"{len(files)} polls of one message each repack to within 10 % of one session "
       f"({before} bytes, then {segments_size(polled)}, against {segments_size(whole)}: {ratio:.3f})")


def killed():
    mail = temp_folder()
    run([BUILD / "tests/mailgen", mail, "--accounts", "6", "--messages", "120", "--seed", "4"])
    users = sorted(p.name for p in mail.iterdir() if p.is_dir())
    server = Pop3d(mail, "--no-lock")
    cask = archive_of(server, users)
    for user in users:  # a segment each
        cask.once("--account", user)
    want = {u: [wire_bytes(f.read_bytes()) for f in sorted((mail / u).iterdir())] for u in users}
    listed = {u: cask.tool("list", "--account", u, "--json").out for u in users}
    pristine = cask.folder / "pristine"
    shutil.copytree(cask.archive, pristine)
    start = time.monotonic()
    is_(cask.tool("repack", "--remove-now").status, 0, "a repack without kills")
    seconds = time.monotonic() - start
    bad = []
    for round_ in range(ROUNDS):
        shutil.rmtree(cask.archive)
        shutil.copytree(pristine, cask.archive)
        cask.tool("reindex")
        for _ in range(chance.choice((1, 2, 3))):
            kill_after([BUILD / "mailcask", "--archive", cask.archive, "repack", "--remove-now"],
                       chance.uniform(0.002, seconds * 1.1))
            if cask.tool("reindex" if chance.random() < 0.3 else "verify").status not in (0, 4):
                bad.append(f"round {round_}: damage behind a kill")
        last = cask.tool("repack", "--remove-now")
        out = cask.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        cask.restore(f"eml:{out}")
        wrong = [u for u in users if read_eml(out / u) != want[u]]
        lists = [u for u in users if cask.tool("list", "--account", u, "--json").out != listed[u]]
        verify = cask.tool("verify")
        if last.status != 0 or wrong or lists or verify.status != 0:
            bad.append(f"round {round_}: {last} {wrong} {lists} {verify}")
    is_(bad, [], f"{ROUNDS} rounds of kill -9 in repack: nothing lost, nothing doubled, sound")


def beside_a_restore():
    mail = temp_folder()
    run([BUILD / "tests/mailgen", mail, "--accounts", "4", "--messages", "300", "--seed", "6"])
    users = sorted(p.name for p in mail.iterdir() if p.is_dir())
    server = Pop3d(mail, "--no-lock")
    cask = archive_of(server, users)
    cask.once()
    out = cask.folder / "out"
    restore = subprocess.Popen([BUILD / "mailcask", "--archive", cask.archive, "restore", "--all", "--to",
                                f"eml:{out}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(lambda: any(out.rglob("*.eml")), what="the restore's first file")
    restore.send_signal(signal.SIGSTOP)
    is_(cask.tool("repack", "--remove-now").status, 0, "repack in the middle of a restore")
    restore.send_signal(signal.SIGCONT)
    err = restore.communicate()[1]
    is_(restore.returncode, 0, "the restore finishes") or diag(err.decode())
    wrong = [u for u in users if read_eml(out / u) != [wire_bytes(f.read_bytes()) for f in sorted((mail / u).iterdir())]]
    is_(wrong, [], "and every message is right")


single_polls()
killed()
beside_a_restore()
done()
