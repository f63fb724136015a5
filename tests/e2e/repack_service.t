#!/usr/bin/env python3
"""mailcask repack asks the running service, which fetches meanwhile: nothing is lost or doubled, not by
kill -9 either; readers and verify beside it do not notice; it stops when it is told to. ROUNDS."""

import random
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

ROUNDS = int(os.environ.get("ROUNDS", "8"))
USERS = 5
chance = random.Random(17)


class World:
    """An archive of several segments, a service that polls it each second, and mail to come."""

    def __init__(self, messages, segments=4, seed="3", options=("--no-lock",)):
        self.later = temp_folder()
        self.mail = temp_folder()
        run([BUILD / "tests/mailgen", self.later, "--accounts", str(USERS), "--messages", str(messages),
             "--seed", seed])
        self.users = sorted(p.name for p in self.later.iterdir() if p.is_dir())
        self.server = Pop3d(self.mail, *options)
        self.cask = Mailcask()
        self.cask.add_server("s", self.server.port, self.server.ca, poll="1s")
        for user in self.users:
            (self.mail / user).mkdir()
            self.cask.add_account(user, "s")
        self.cask.init()
        for i in range(segments):
            self.deliver(1 / (2 * segments))
            self.cask.once()

    def waiting(self):
        return [f for user in self.users for f in sorted((self.later / user).iterdir())]

    def deliver(self, share):
        """Of each user the next messages, in their order."""
        for user in self.users:
            there = len(list((self.mail / user).iterdir()))
            files = sorted((self.later / user).iterdir())
            for f in files[:max(1, round(share * (there + len(files))))]:
                f.rename(self.mail / user / f.name)

    def want(self):
        return {u: [wire_bytes(f.read_bytes()) for f in sorted((self.mail / u).iterdir())] for u in self.users}

    def is_complete(self):
        try:
            have = {a["account"]: a["messages"] for a in self.cask.json("accounts")}
        except RuntimeError:
            return False
        return all(have.get(u, 0) >= len(list((self.mail / u).iterdir())) for u in self.users)

    def wrong(self):
        out = self.cask.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        self.cask.restore(f"eml:{out}")
        want = self.want()
        return [u for u in self.users if read_eml(out / u) != want[u]]

    def segments(self):
        return len(list((self.cask.archive / "segments").iterdir()))

    def delivering(self):
        """Mail keeps coming, in a thread, until there is none."""
        def deliver():
            while self.waiting():
                self.deliver(0.02)
                time.sleep(0.05)
        thread = threading.Thread(target=deliver)
        thread.start()
        return thread


def status(cask):
    return json.loads(cask.tool("status", "--json").out)["repack"]


def beside_fetching():
    world = World(240)
    cask = world.cask
    service = cask.start()
    wait_for(lambda: cask.tool("status").status == 0, what="the service")
    before = world.segments()
    thread = world.delivering()
    checks = []
    checking = threading.Thread(target=lambda: checks.extend(cask.tool("verify") for _ in range(4)))
    checking.start()
    result = cask.tool("repack")
    checking.join()
    is_([c for c in checks if c.status != 0], [], "verify beside it finds all sound, again and again")
    is_(result.status, 0, "the service repacks when it is asked to") or diag(str(result))
    like(result.out, r"^repacked [0-9]+ segments: .* became .*; [0-9]+ that were replaced stay (for a day|while "
         r".* runs): run it again then.*\n$", "and the result is told as ever")
    state = status(cask)
    ok(state["state"] == "done" and state["segments_read"] >= before, "status knows") or diag(str(state))
    result = cask.tool("repack", "--remove-now")
    like(result.out, r"; removed [0-9]+ that were replaced\n$", "again, and what was replaced is removed")
    is_(cask.tool("verify").status, 0, "verify finds all sound")
    thread.join()
    wait_for(world.is_complete, RUN_SECONDS, "the rest of the mail")
    is_(service.stop(), 0, "SIGTERM: exit 0")
    like(service.output(), r'"repacking begins" segments=[0-9]+ .*"as asked for"\n(.*\n)*.*repacked [0-9]+ segments',
         "the log has a line at the beginning and at the end")
    is_(world.wrong(), [], "all that was fetched is restored, exact and once")
    is_(cask.tool("verify").status, 0, "the archive is sound")
    is_(cask.tool("reindex").status, 0, "a rebuilt index")
    is_((world.wrong(), cask.tool("verify").status), ([], 0), "says the same")


def killed():
    world = World(300, seed="8")
    cask, bad = world.cask, []
    thread = world.delivering()
    for round_ in range(ROUNDS):
        service = cask.start()
        wait_for(lambda: cask.tool("status").status == 0, what="the service")
        repack = subprocess.Popen([BUILD / "mailcask", "--archive", cask.archive, "repack", "--remove-now"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.02, 1.2))
        service.stop(signal.SIGKILL)
        repack.wait()
        if chance.random() < 0.5 and cask.tool("reindex" if chance.random() < 0.5 else "verify").status != 0:
            bad.append(f"round {round_}: damage behind a kill")
    thread.join()
    service = cask.start()
    wait_for(lambda: cask.tool("status").status == 0, what="the service")
    wait_for(world.is_complete, RUN_SECONDS, "all of the mail")
    is_(cask.tool("repack", "--remove-now").status, 0, "repacking after the kills")
    is_(service.stop(), 0, "SIGTERM: exit 0")
    bad += world.wrong()
    verify = cask.tool("verify")
    ok(not bad and verify.status == 0, f"{ROUNDS} times kill -9 while fetching and repacking: nothing lost or doubled")
    if bad or verify.status != 0:
        diag(f"{bad} {verify}")


def stopped():
    world = World(400, seed="21")
    cask = world.cask
    service = cask.start()
    wait_for(lambda: cask.tool("status").status == 0, what="the service")
    repack = subprocess.Popen([BUILD / "mailcask", "--archive", cask.archive, "repack"], stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL)
    wait_for(lambda: status(cask)["run"] > 0, what="the run")
    repack.send_signal(signal.SIGINT)
    err = repack.communicate()[1].decode()
    ok((repack.returncode == 1 and "run it again" in err) or repack.returncode == 0, "Ctrl-C stops it") or diag(err)
    wait_for(lambda: status(cask)["state"] in ("stopped", "done"), what="its end")
    repack = subprocess.Popen([BUILD / "mailcask", "--archive", cask.archive, "repack"], stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL)
    wait_for(lambda: status(cask)["run"] > 1, what="the second run")
    begin = time.monotonic()
    is_(service.stop(), 0, "SIGTERM in the middle: exit 0")
    seconds = time.monotonic() - begin
    ok(seconds < 10 * TIME_SCALE, f"soon ({seconds:.1f} s)")  # promised within 5, on a machine that has no other work
    repack.wait()
    is_(cask.tool("repack").status, 0, "without a service the command does it itself")
    is_((world.wrong(), cask.tool("verify").status), ([], 0), "and nothing is lost")


def beside_readers():
    world = World(240, seed="33")
    cask = world.cask
    service = cask.start()
    wait_for(lambda: cask.tool("status").status == 0, what="the service")
    out = cask.folder / "out"
    restore = subprocess.Popen([BUILD / "mailcask", "--archive", cask.archive, "restore", "--all", "--to",
                                f"eml:{out}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(lambda: any(out.rglob("*.eml")), what="the restore's first file")
    restore.send_signal(signal.SIGSTOP)
    result = cask.tool("repack", "--remove-now")
    ok(result.status == 0 and b"removed" in result.out, "a restore that began before is not in the way")
    restore.send_signal(signal.SIGCONT)
    err = restore.communicate()[1]
    is_(restore.returncode, 0, "and finishes") or diag(err.decode())
    want = world.want()
    is_([u for u in world.users if read_eml(out / u) != want[u]], [], "with every message right")
    is_(service.stop(), 0, "SIGTERM: exit 0")


beside_fetching()
killed()
stopped()
beside_readers()
done()
