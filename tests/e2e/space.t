#!/usr/bin/env python3
"""A disk that is nearly full (P6): fetching stops while there is still room to bring what was fetched to
disk, sessions leave without QUIT (Q35), --once says so with exit 4, and the service goes on by itself when
there is room again. The disks are small file systems in a mount namespace of our own."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *
import random

COUNT = 12
noise = random.Random(1)
mail = temp_folder()
write_files(mail / "large", [b"Subject: %d\r\n\r\n" % i + base64.encodebytes(noise.randbytes(700_000))
                             for i in range(COUNT)])
unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]

# $1: where to mount; $2: programs; $3: configuration. The ballast leaves half a MiB.
BALLAST = """
set -e
mount -t tmpfs -o size=64m,mode=700 none "$1"
"$2/mailcask" init "$1/archive" >/dev/null
head -c $(( $(df --output=avail -k "$1" | tail -1) * 1024 - 524288 )) /dev/zero >"$1/ballast"
set +e
"""
PASS = BALLAST + """
"$2/mailcaskd" --config "$3" --once; echo "status $?"
rm "$1/ballast"
"$2/mailcaskd" --config "$3" --once; echo "status $?"
"""
CROSSED = """
set -e
mount -t tmpfs -o size=6m,mode=700 none "$1"
"$2/mailcask" init "$1/archive" >/dev/null
set +e
"$2/mailcaskd" --config "$3" --once; echo "status $?"
"$2/mailcask" --archive "$1/archive" verify >&2; echo "status $?"
"$2/mailcask" --archive "$1/archive" accounts --json
"""
SERVICE = BALLAST + """
"$2/mailcaskd" --config "$3" 2>"$1/../said" &
pid=$!
until grep -q "fetching stops" "$1/../said"; do sleep 0.1; done
sleep 2
rm "$1/ballast"
until [ "$("$2/mailcask" --archive "$1/archive" list --account large 2>/dev/null | wc -l)" -eq $4 ]; do sleep 0.1; done
kill $pid
wait $pid; echo "status $?"
cat "$1/../said"
"""
CROSSED_SERVICE = """
set -e
mount -t tmpfs -o size=6m,mode=700 none "$1"
"$2/mailcask" init "$1/archive" >/dev/null
set +e
"$2/mailcaskd" --config "$3" 2>"$1/../said" &
pid=$!
until grep -q "fetching stops" "$1/../said"; do sleep 0.1; done
"$2/mailcask" --archive "$1/archive" accounts --json
until "$2/mailcask" --archive "$1/archive" status --json | grep -q disk-full; do sleep 0.1; done
"$2/mailcask" --archive "$1/archive" show large/1 2>&1 >/dev/null
mount -o remount,size=64m "$1"
until [ "$("$2/mailcask" --archive "$1/archive" list --account large 2>/dev/null | wc -l)" -eq $4 ]; do sleep 0.1; done
kill $pid
wait $pid; echo "status $?"
"$2/mailcask" --archive "$1/archive" verify >&2; echo "status $?"
cat "$1/../said"
"""


def disk(script, *options):
    """Run it: the server, and what the script says."""
    server = Pop3d(mail, "--no-lock", *options)
    cask = Mailcask()
    mount = cask.folder / "disk"
    mount.mkdir()
    cask.settings["path"] = mount / "archive"
    cask.add_server("s", server.port, server.ca, poll="1s")
    cask.add_account("large", "s")
    return server, run([*unshare, "sh", "-c", script, "sh", mount, BUILD, cask.write_config(), COUNT])


def statuses(result):
    return re.findall(r"^status (\d+)$", result.out.decode(), re.M)


def a_pass():
    server, result = disk(PASS)
    is_(statuses(result), ["4", "0"], "little room: exit 4, and with room again exit 0") or diag(str(result))
    lines = [l for l in result.err.decode().splitlines() if "space" in l]
    ok(len(lines) == 1 and "less than 1.0 MB" in lines[0] and "needs 2.1 MB" in lines[0],
       "one line says so, and how much it needs") or diag(str(result))
    is_(len(server.log("login")), 1, "no session was begun without room")


def crossed():
    server, result = disk(CROSSED, "--throttle", "1500000")
    is_(statuses(result), ["4", "0"], "the disk fills up: exit 4, and the archive is sound") or diag(str(result))
    like(result.err, r"less than 1.0 MB of space", "it was stopped before it was full")
    kept = json.loads(result.out.splitlines()[-1])["messages"]
    ok(0 < kept < COUNT, f"what came before is kept ({kept} messages)")
    server.wait_log(r"^session ")
    ok(all("end=client" in l and "QUIT" not in l for l in server.log("session")), "the session left without QUIT")


def the_service():
    server, result = disk(SERVICE)
    is_(statuses(result), ["0"], "a service that had no room archives everything later") or diag(str(result))
    text = result.out.decode()
    is_(len(re.findall("space is free", text)), 1, "one line when it stops") or diag(text)
    is_(len(re.findall("going on", text)), 1, "one line when it goes on") or diag(text)
    ok(0 < text.find("going on") < text.find("mail archived"), "and nothing was fetched before") or diag(text)


def crossed_in_service():
    server, result = disk(CROSSED_SERVICE, "--throttle", "1500000")
    text = result.out.decode()
    is_(statuses(result), ["0", "0"], "a service whose disk fills up archives everything later") or diag(str(result))
    kept = json.loads(text.splitlines()[0])["messages"]
    ok(kept < COUNT, f"it stopped in between ({kept} messages)")
    like(text, r"ledger cannot be written: archive .*; free some, it needs 2.1 MB; this is in the system's log only",
         "an access meanwhile: why the ledger does not tell of it, and what to do")
    first = server.wait_log(r"^session ", 2)[0]
    ok("end=client" in first and "QUIT" not in first, "that session left without QUIT") or diag(first)
    served = server.served("large")
    ok(len(server.log("retr")) <= COUNT + 2, "what was archived is not fetched again") or diag(served)
    is_((len(re.findall("stops.*space is free", text)), len(re.findall("going on", text))), (1, 1),
        "one line when it stops, one when it goes on") or diag(text)


if run([*unshare, "true"]).status != 0:
    skip("a disk that is nearly full", "no mount namespace of our own")
else:
    a_pass()
    crossed()
    the_service()
    crossed_in_service()
done()
