#!/usr/bin/env python3
"""mailcask backup: beside a service that archives, behind a repacking, killed at random moments, on a disk
that fills up. A backup verifies read-only and without an index, restores exactly once reindexed, and
takes the archive's place. So does a plain copy of CASK and segments. ROUNDS."""

import random
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

ROUNDS = int(os.environ.get("ROUNDS", "12"))
chance = random.Random(5)
source, mail = temp_folder(), temp_folder()
run([BUILD / "tests/mailgen", source, "--accounts", "3", "--messages", "150", "--seed", "8"])
users = sorted(p.name for p in source.iterdir() if p.is_dir())
waiting = sorted(f for f in source.rglob("*") if f.is_file())
chance.shuffle(waiting)
unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
for user in users:
    (mail / user).mkdir()
server = Pop3d(mail, "--no-lock")
cask = Mailcask()
cask.add_server("s", server.port, server.ca, poll="1s")
for user in users:
    cask.add_account(user, "s")
cask.init()
delivered = 0


def deliver(count):
    global delivered
    for f in waiting[delivered:delivered + count]:
        user = f.parent.name
        temporary = mail / user / ".new"
        shutil.copy(f, temporary)
        temporary.rename(mail / user / f"{delivered:05}")
        delivered += 1


def wire(user):
    return [wire_bytes(f.read_bytes()) for f in sorted((mail / user).iterdir())]


def archived():
    return sum(a["messages"] for a in cask.json("accounts"))


def backup(to, *options):
    return cask.tool("backup", "--to", to, *options)


def tool(archive, *arguments):
    return run([BUILD / "mailcask", "--archive", archive, *arguments])


def sound(to, name):
    result = tool(to, "verify")
    is_(result.status, 0, f"{name}: verifies, without an index") or diag(str(result))


def restores(to, name):
    """A copy of it, so that the backup itself stays what it is."""
    folder = temp_folder()
    shutil.copytree(to, folder / "archive")
    result = tool(folder / "archive", "list", "--account", users[0])
    is_(result.status, 4, f"{name}: list has no index: exit 4")
    like(result.err, "mailcask reindex", "and says what to do")
    result = tool(folder / "archive", "reindex")
    is_(result.status, 0, f"{name}: reindexed") or diag(str(result))
    result = tool(folder / "archive", "restore", "--all", "--to", f"eml:{folder}/out")
    is_(result.status, 0, f"{name}: restored") or diag(str(result))
    wrong = [u for u in users if read_eml(folder / "out" / u) != wire(u)]
    is_(wrong, [], f"{name}: every message, exact")
    return folder / "archive"


def modes(to):
    bad = [p for p in [to, *to.rglob("*")] if p.stat().st_mode & 0o7777 != (0o700 if p.is_dir() else 0o600)]
    is_(bad, [], "the owner's only")


def beside_a_service():
    to, results, stop = cask.folder / "backup", [], threading.Event()

    def backups():
        while not stop.is_set():
            results.append((backup(to), tool(to, "verify")))

    deliver(30)
    service = cask.start()
    wait_for(lambda: archived() > 0, what="the first message")
    thread = threading.Thread(target=backups)
    thread.start()
    for _ in range(6):
        deliver(40)
        time.sleep(0.5)
    wait_for(lambda: archived() == delivered, RUN_SECONDS, what="all that was delivered")
    stop.set()
    thread.join()
    bad = [r for r in results if r[0].status != 0 or r[1].status != 0]
    is_(bad, [], f"{len(results)} backups beside a service that archives: each is sound")
    result = backup(to, "--json")
    is_(result.status, 0, "one more")
    said = json.loads(result.out)
    modes(to)
    sound(to, "beside a service")
    restores(to, "beside a service")
    is_(cask.json("accounts") and tool(to, "reindex").status, 0, "reindexed in place")
    is_(tool(to, "stats", "--json").status, 0, "it can be looked at")
    deliver(5)
    wait_for(lambda: archived() == delivered, RUN_SECONDS, what="five more")
    is_(backup(to).status, 0, "and takes the next backup all the same")
    is_(service.stop(), 0, "the service stops")
    result = backup(to)
    like(result.out, r"nothing to copy|copied 1 segment ", "what was sealed at the stop, at most")
    head = cask.json("stats")[0]
    is_(json.loads(backup(to, "--json").out)["head"], head["head"], "the head is the archive's")
    ok(said["head_segment"] <= head["head_segment"] and said["copied"] + said["segments"] > 0, "and went on")
    return to


def behind_a_repacking(to):
    before = sorted(os.listdir(to / "segments"))
    is_(cask.tool("repack", "--remove-now").status, 0, "repack")
    deliver(20)
    cask.once()
    result = backup(to, "--json")
    ok(result.status == 0 and json.loads(result.out)["removed"] == len(before), "what it replaced is gone, once its "
       "successor is there") or diag(str(result))
    is_(sorted(os.listdir(to / "segments")), sorted(os.listdir(cask.archive / "segments")), "the same segments")
    sound(to, "behind a repacking")
    restores(to, "behind a repacking")


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 99
"$2/mailcask" --archive "$1" verify; echo "status $?"
"$2/mailcask" --archive "$1" verify --quick; echo "status $?"
"$2/mailcask" --archive "$1" list --account x; echo "status $?"
mkdir -m 700 "$3" && cp -as "$1/CASK" "$1/segments" "$3/"
"$2/mailcask" --archive "$3" reindex; echo "status $?"
"$2/mailcask" --archive "$3" restore --all --to "eml:$3.out"; echo "status $?"
"""


def read_only(to):
    look = cask.folder / "look"
    result = run([*unshare, "sh", "-c", READ_ONLY, "sh", to, BUILD, look])
    if result.status == 99:
        skip("a read-only backup", "no mount namespace of our own")
        return
    is_(re.findall(rb"^status (\d+)$", result.out, re.M), [b"0", b"0", b"4", b"0", b"0"],
        "mounted read-only it verifies; list needs an index, which may be elsewhere") or diag(str(result))
    is_([u for u in users if read_eml(cask.folder / "look.out" / u) != wire(u)], [], "with links to it everything is restored")


def killed():
    bad, rounds = [], 0
    whole = cask.folder / "whole"
    start = time.monotonic()
    backup(whole)
    seconds = time.monotonic() - start
    for round_ in range(ROUNDS):
        to = cask.folder / "killed"
        shutil.rmtree(to, ignore_errors=True)
        if round_ % 2:
            is_(backup(to).status, 0, "a backup to go on from")
            deliver(2)
            cask.once()
        for _ in range(chance.choice((1, 2, 3))):
            rounds += kill_after([BUILD / "mailcask", "--archive", cask.archive, "backup", "--to", to],
                                 chance.uniform(0.001, seconds))
        if (to / "CASK").exists() and tool(to, "verify").status != 0:
            bad.append(f"round {round_}: damage behind a kill")
        last, verify = backup(to), tool(to, "verify")
        names = sorted(os.listdir(to / "segments"))
        if last.status != 0 or verify.status != 0 or names != sorted(os.listdir(cask.archive / "segments")):
            bad.append(f"round {round_}: {last} {verify} {names}")
    is_(bad, [], f"{rounds} kills: run again, each backup is whole")
    restores(cask.folder / "killed", "killed")


def takes_its_place():
    to = cask.folder / "killed"
    other = Mailcask()
    other.servers, other.accounts = cask.servers, cask.accounts
    shutil.copytree(to, other.archive)
    result = other.once()
    is_(result.status, 0, "the service goes on with a backup in the archive's place") or diag(str(result))
    fetched = sum(s["fetched"] for u in users for s in other.json("ledger", "--account", u)[-1:])
    is_(fetched, 0, "and fetches nothing again")
    result = cask.tool("backup", "--to", other.archive)
    is_(result.status, 2, "which is then no backup any more: exit 2") or diag(str(result))
    like(result.err, "is left as it is", "and it is not touched")


def plain_copy():
    service = cask.start()
    deliver(40)
    wait_for(lambda: archived() == delivered, RUN_SECONDS, what="all that was delivered")
    to = cask.folder / "plain"
    to.mkdir(mode=0o700)
    for name in ("CASK", "segments"):
        is_(run(["cp", "-a", cask.archive / name, to]).status, 0, f"cp -a {name}")
    sound(to, "a plain copy beside the service")
    restores(to, "a plain copy beside the service")
    is_(backup(to).status, 0, "a backup may go on from it")
    sound(to, "a plain copy with a backup over it")
    service.stop()
    restores(to, "a plain copy with a backup over it")


FULL = """
set -e
mount -t tmpfs -o size=$4k,mode=700 none "$1"
set +e
"$2/mailcask" --archive "$3" backup --to "$1/backup"; echo "status $?"
find "$1" -name '*.partial' | sed 's/^/left /'
"$2/mailcask" --archive "$1/backup" verify; echo "status $?"
mount -o remount,size=64m "$1"
"$2/mailcask" --archive "$3" backup --to "$1/backup"; echo "status $?"
"$2/mailcask" --archive "$1/backup" verify; echo "status $?"
"""


def full_disk():
    if run([*unshare, "true"]).status != 0:
        skip("a disk that fills up", "no mount namespace of our own")
        return
    disk = cask.folder / "disk"
    disk.mkdir()
    size = sum(f.stat().st_size for f in (cask.archive / "segments").iterdir())
    result = run([*unshare, "sh", "-c", FULL, "sh", disk, BUILD, cask.archive, size // 1024 * 2 // 3])
    is_(re.findall(rb"^status (\d+)$", result.out, re.M), [b"4", b"2", b"0", b"0"],
        "a full disk: exit 4, and what is there is no archive; with room it goes on") or diag(str(result))
    like(result.err, "no space left", "one line says so")
    ok(b"left " not in result.out, "nothing half-done stays")


def refused():
    is_(cask.tool("backup").status, 2, "without --to: exit 2")
    for where, why in ((cask.archive / "state" / "b", "in the archive itself"), (mail, "neither empty nor a backup"),
                       (cask.folder / "none" / "b", "mounted")):
        result = backup(where)
        is_(result.status, 4 if why == "mounted" else 2, f"refused: {why}")
        like(result.err, why, "and said why")
    other = Mailcask()
    other.init()
    like(backup(other.archive).err, "another archive", "not into another archive")


to = beside_a_service()
behind_a_repacking(to)
read_only(to)
killed()
takes_its_place()
plain_copy()
full_disk()
refused()
done()
