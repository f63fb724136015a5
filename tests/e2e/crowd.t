#!/usr/bin/env python3
"""Ten thousand accounts on a server that refuses half of the logins: the log stays readable, status tells the truth,
and there is no storm of logins. The service has all of them to look after; what the server sees is what their
schedule and this machine allow within little more than a minute."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

ACCOUNTS = 10000 // TIME_SCALE
CONNECTIONS = 150  # of the server at once, so 150 logins a second at most
WATCHED_SECONDS = 70
BACKOFF_MIN_SECONDS = 54  # 60, give or take a tenth
LINES_MAX = 60
# Who is refused, how many, and in what words.
REFUSED = {"unknown": (ACCOUNTS // 5, "user or password is wrong"), "nameless": (ACCOUNTS // 5, "without saying why"),
           "locked": (ACCOUNTS // 10, "in use by another program")}
SCRIPT = """user nameless* on PASS reply "-ERR no"
user locked* on PASS reply "-ERR [IN-USE] locked"
"""

mail = temp_folder(in_memory=True)
(mail / "any").mkdir()
(mail / "any" / "1").write_bytes(b"Subject: one\r\n\r\nbody\r\n")
users = [f"{kind}{i:04}" for kind, (count, _) in REFUSED.items() for i in range(count)]
users += [f"fine{i:04}" for i in range(ACCOUNTS - len(users))]
for user in users:
    if not user.startswith("unknown"):
        (mail / user).symlink_to("any")
server = Pop3d(mail, "--no-lock", "--no-capa", "SASL", script=SCRIPT)


class Watch:
    """The server's log as it grows: when it was connected to, and who was let in and who refused when."""

    def __init__(self):
        self.began = time.monotonic()
        self.file = open(server.log_file)
        self.rest, self.connections = "", []
        self.fine, self.refused = set(), collections.defaultdict(list)

    def look(self):
        now = time.monotonic() - self.began
        lines = (self.rest + self.file.read()).split("\n")
        self.rest = lines.pop()
        for line in lines:
            event, name, *_ = line.split()
            if event == "connect":
                self.connections.append(now)
            elif event == "login":
                self.fine.add(name)
            elif event == "session" and " PASS=" in line and name not in self.fine:
                self.refused[name].append(now)

    def most_in(self, seconds):
        """How many connections there were in any such while."""
        most, first = 0, 0
        for last, at in enumerate(self.connections):
            while self.connections[first] < at - seconds:
                first += 1
            most = max(most, last - first + 1)
        return most


def kind(user):
    return user.rstrip("0123456789")


def status_is_true(cask, watch):
    """Whoever is said to fail was refused before, and all who were refused a moment ago are said to fail."""
    def failing_now():
        return {a["account"].removesuffix("@x"): a for a in cask.json("status")[0]["accounts"] if a["error"] is not None}

    watch.look()
    before = set(watch.refused)
    failing = wait_for(lambda: before <= set(found := failing_now()) and found, what=f"{len(before)} that fail")
    wait_for(lambda: watch.look() or set(failing) <= set(watch.refused), what="their refusals in the server's log")
    is_(len(cask.json("status")[0]["accounts"]), ACCOUNTS, "status knows them all")
    ok(True, f"and which of them fail: {len(failing)}, when {len(before)} to {len(watch.refused)} were refused")
    wrong = [a for u, a in failing.items() if REFUSED[kind(u)][1] not in a["error"] or a["failures"] < 1 or
             (a["state"] == "suspended") != (kind(u) == "unknown" and a["state"] != "running")]
    is_(wrong[:3], [], "why, and what comes of it")


def log_is_readable(service, refused):
    lines = service.output().splitlines()
    events = log_events(service.output())
    ok(len(lines) <= LINES_MAX, f"{len(lines)} lines in the log") or diag(shorten(service.output(), 5000))
    named, told = collections.Counter(), 0
    for e in events:
        names = [e["account"]] if "account" in e else e.get("names", "").split(", ")
        named.update((e["msg"], n) for n in names if n)
        if e["msg"] in ("the account failed", "accounts failed"):
            told += int(e.get("accounts", 1))
    is_([n for n, count in named.items() if count > 1], [], "no account is told of twice")
    ok(refused[0] <= told <= refused[1], f"{told} accounts are told of, {refused[1]} were refused")
    causes = {words for _, words in REFUSED.values() for e in events if words in e.get("error", "")}
    is_(len(causes), len(REFUSED), "each cause is told")


def no_storm(watch):
    tries = collections.Counter(kind(u) for u in watch.refused)
    diag(f"{len(watch.connections)} logins; refused: {dict(tries)}")
    ok(all(tries[k] > 0 for k in REFUSED), "the server refused of every kind")
    again = [b - a for times in watch.refused.values() for a, b in zip(times, times[1:])]
    ok(min(again, default=BACKOFF_MIN_SECONDS) >= BACKOFF_MIN_SECONDS - 1,
       f"whoever was refused waits: {len(again)} came again, the first after {min(again, default=0):.0f} s")
    is_([u for u, times in watch.refused.items() if kind(u) == "unknown" and len(times) > 1], [],
        "a wrong password is not tried again")
    is_(watch.most_in(10) <= CONNECTIONS * 11, True, f"{watch.most_in(10)} logins in the worst ten seconds")


cask = Mailcask()
cask.add_server("large", server.port, server.ca, max_connections=CONNECTIONS, accounts_file="accounts.csv", poll="5m")
(cask.folder / "accounts.csv").write_text("account,user,password\n" +
                                          "".join(f"{u}@x,{u},{PASSWORD}\n" for u in users))
(cask.folder / "accounts.csv").chmod(0o600)
cask.init()
service = cask.start()
watch = Watch()
while time.monotonic() - watch.began < WATCHED_SECONDS:
    watch.look()
    time.sleep(0.25)
status_is_true(cask, watch)
before_stop = len(watch.refused)
is_(service.stop(), 0, "the service stops in order")
watch.look()
log_is_readable(service, (before_stop - CONNECTIONS, len(watch.refused)))
no_storm(watch)
done()
