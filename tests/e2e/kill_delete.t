#!/usr/bin/env python3
"""kill -9 at random moments of passes and services that archive and delete, against a server that
remembers what it served and deleted, while new mail comes. After each round: what a DELE came for is
restorable to the bit and was intended in the journal before, nothing is stored twice, the archive is
sound. Then passes to the end: nothing is left that should go, and every deletion is confirmed.
ROUNDS (40) and SEED set how many and which."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

ROUNDS = int(os.environ.get("ROUNDS", "40"))
SEED = int(os.environ.get("SEED", "20260417"))
RESTORED_ANEW_EVERY = 20  # rounds; otherwise only what was restored is missing
ATTEMPTS_MAX = 3          # to delete one message: archive/deletion.h
FINAL_PASSES_MAX = 12
# What its UIDLs are like, and what else is wrong with the server.
NAMES, HIDING, LOSING, SLOW, NUMBERS, PLACES = "names", "hiding", "losing", "slow", "numbers", "places"
USERS = (NAMES, HIDING, LOSING, SLOW, NUMBERS, PLACES)
OVERWRITTEN_MAX = 2  # behind three messages of one UIDL mailcask waits a day before it compares again
ONE_SIZE = 1500  # of all messages whose UIDLs are numbers or are used again

chance = random.Random(SEED)
OF_PLACES = f'on LOGIN user {PLACES} uidl "%n"\n'
SCRIPT = OF_PLACES + f"""
on DELE user {HIDING} name *h pretend
on QUIT user {SLOW} delay 60
on DELE user {SLOW} delay 3
""" + "".join(f"on QUIT user {LOSING} session {i} {chance.choice(('close', 'close anyway', 'reset'))}\n"
              for i in range(1, 6 * ROUNDS) if chance.random() < 0.3)


class Mail:
    """What was ever delivered to one account. A name may be used again, for another content."""

    def __init__(self, folder, user):
        self.user, self.folder = user, folder / user
        self.folder.mkdir()
        self.next = 1
        self.now = {}                           # name: SHA-256, of what was delivered last
        self.delivered = collections.Counter()  # SHA-256s
        self.replaced = set()                   # ones that were overwritten on the server
        self.overwritten = collections.Counter()
        self.pairs = set()                      # ones that were delivered twice at once
        self.deles = collections.Counter()      # (UIDL, SHA-256) of each DELE that came
        self.gone = set()                       # names that may be used again

    def write(self, name, data):
        part = self.folder / f".{name}"
        part.write_bytes(data)
        part.rename(self.folder / name)
        self.now[name] = sha256(data)
        self.delivered[sha256(data)] += 1
        self.gone.discard(name)

    def new_name(self):
        self.next += 1
        return str(self.next) if self.user == NUMBERS else f"{self.next:06}{chance.choice('mmh')}"

    def deliver(self, between_rounds):
        data = body(ONE_SIZE if self.user in (NUMBERS, PLACES) else 0)
        if between_rounds and self.gone and self.user in (NAMES, NUMBERS) and chance.random() < 0.4:
            self.write(chance.choice(sorted(self.gone)), body(ONE_SIZE))
        elif between_rounds and self.user == NUMBERS and chance.random() < 0.3:
            self.overwrite()
        elif between_rounds and self.user == NAMES and chance.random() < 0.2:
            self.pairs.add(sha256(data))
            self.write(self.new_name(), data)
            self.write(self.new_name(), data)
        else:
            self.write(self.new_name(), data)

    def overwrite(self):
        """The server was rebuilt: a number stands for another message of the same size (Q8)."""
        names = [n for n in self.left() if self.overwritten[n] < OVERWRITTEN_MAX]
        if names:
            name = chance.choice(names)
            self.overwritten[name] += 1
            self.replaced.add(self.now[name])
            self.write(name, body(ONE_SIZE))

    def left(self):
        return sorted(f.name for f in self.folder.iterdir() if not f.name.startswith("."))

    def note(self, event, name, number):
        what = self.now[name]
        if event == "dele":
            self.deles[(str(number) if self.user == PLACES else name, what)] += 1
        elif event == "deleted":
            self.gone.add(name)


def body(size):
    """A message that is like no other; of this size, or 0: of any."""
    head = b"Subject: %x\r\n\r\n" % chance.getrandbits(64)
    size = (size or chance.choice((800, ONE_SIZE, 3_000, 20_000, 60_000))) * 3 // 4
    if chance.random() < 0.004:
        size = 1_300_000
    return head.ljust(32) + b"\r\n" + base64.encodebytes(chance.randbytes(size)).replace(b"\n", b"\r\n")


class Log:
    """The server's, as it grows."""

    def __init__(self, server, mail):
        self.server, self.mail, self.at = server, mail, 0
        self.open, self.counts = set(), collections.Counter()

    def read(self):
        with open(self.server.log_file) as file:
            file.seek(self.at)
            text = file.read()
        text = text[:text.rfind("\n") + 1]
        self.at += len(text)
        for line in text.splitlines():
            event, user, name = (line.split(" ", 3) + ["", ""])[:3]
            self.counts[event] += 1
            if event in ("connect", "session"):
                number = re.search(r" id=(\d+)", line)[1]
                self.open.symmetric_difference_update({number})
            elif event in ("dele", "deleted") and user in self.mail:
                self.mail[user].note(event, name, re.search(r" number=(\d+)", line)[1])

    def idle(self):
        self.read()
        return not self.open


def run_and_kill(arguments, log, mail):
    """Kill a pass or a service at a random time, or shortly behind a random event; mail comes meanwhile."""
    output = tempfile.TemporaryFile()
    child = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=output,
                             stderr=output, preexec_fn=end_with_parent)
    arrivals = sorted(chance.uniform(0, 0.4) for _ in range(chance.randrange(4)))
    event = chance.choice(("dele", "dele", "deleted", "retr", "session", "login"))
    count, behind = chance.randrange(1, 8), chance.choice((0, chance.uniform(0, 0.05)))
    deadline = chance.uniform(0.02, 0.8) if chance.random() < 0.5 else 1.5
    before, seen_at, start = log.counts[event], None, time.monotonic()
    while child.poll() is None:
        now = time.monotonic() - start
        if arrivals and now >= arrivals[0]:
            arrivals.pop(0)
            mail[chance.choice(USERS)].deliver(False)
        log.read()
        if seen_at is None and deadline == 1.5 and log.counts[event] >= before + count:
            seen_at = now
        if now >= deadline or seen_at is not None and now >= seen_at + behind:
            break
        time.sleep(0.001)
    killed = child.poll() is None
    child.kill()
    child.wait()
    wait_for(log.idle, what="idle server")
    return killed


class Archive:
    """What the archive says, and what must hold of it."""

    def __init__(self, cask, mail):
        self.cask, self.mail = cask, mail
        self.folder = cask.folder / "restored"
        self.hashes = {}

    def restored(self, anew):
        """Of each account: {N: SHA-256}."""
        if anew:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.hashes.clear()
        result = self.cask.restore(f"eml:{self.folder}")
        messages = {}
        for user in USERS:
            files = sorted((self.folder / user).glob("*.eml")) if result.status == 0 else []
            for file in files:
                if file not in self.hashes:
                    self.hashes[file] = sha256(file.read_bytes())
            messages[user] = {int(f.stem): self.hashes[f] for f in files}
        return messages, [] if result.status == 0 else [f"restore: {result}"]

    def journal(self, user):
        """The intents, in the order of the journal, and the last state of each N."""
        lines = self.cask.tool("ledger", "--account", user, "--json").out.splitlines()
        intents, states = [], {}
        for entry in (json.loads(l) for l in lines if b'"intent"' in l or b'"deletion"' in l):
            if entry["type"] == "intent":
                intents += entry["messages"]
                states.update({m["n"]: "intended" for m in entry["messages"]})
            elif entry["type"] == "deletion":
                states.update({n: entry["state"] for first, last in entry["messages"]
                               for n in range(first, last + 1)})
        return intents, states

    def wrong(self, anew=False):
        """What does not hold."""
        messages, wrong = self.restored(anew)
        for mail in self.mail.values():
            wrong += [f"{mail.user}: {w}" for w in self.wrong_of(mail, messages[mail.user])]
        verify = self.cask.tool("verify", *(() if anew else ("--quick",)))
        if verify.status != 0:
            wrong.append(f"verify: {verify.status} {verify.out.decode()}{verify.err.decode()}")
        return wrong

    def wrong_of(self, mail, messages):
        kept = collections.Counter(messages.values())
        intents, _ = self.journal(mail.user)
        intended = collections.Counter((m["uidl"], m["sha256"]) for m in intents)
        lost = {what for _, what in mail.deles if what not in kept}
        if lost:
            yield f"{len(lost)} messages were deleted and cannot be restored"
        if mail.deles - intended:
            yield f"DELE without an intent: {mail.deles - intended}"
        strange = [m for m in intents if messages.get(m["n"]) != m["sha256"]]
        if strange:
            yield f"intents of what is not archived: {strange}"
        if not all(m["read_back"] for m in intents):
            yield "an intent without proof"
        if mail.user in (NUMBERS, PLACES) and not all(m["fetched_again"] for m in intents):
            yield "a number was not fetched again"
        if set(kept) - set(mail.delivered):
            yield "something is archived that was never delivered"
        if kept - mail.delivered and mail.user != PLACES:
            yield f"stored twice: {kept - mail.delivered}"


mail_dir = temp_folder()
mail = {user: Mail(mail_dir, user) for user in USERS}
listen = ("--listen", f"127.0.0.1:{free_port()}")
server = Pop3d(mail_dir, *listen, script=SCRIPT)
cask = Mailcask(deletes="on")
cask.add_server("s", server.port, server.ca, max_connections=4, poll="1s")
for user in USERS:
    cask.add_account(user, "s", delete="archived")
cask.init()
archive, log = Archive(cask, mail), Log(server, mail)
diag(f"SEED={SEED}")

bad, kills, services = [], 0, 0
for round_ in range(1, ROUNDS + 1):
    for user in chance.choices(USERS, k=chance.randrange(1, 16)):
        mail[user].deliver(True)
    service = chance.random() < 0.4
    once = [BUILD / "mailcaskd", "--config", cask.write_config()] + ([] if service else ["--once"])
    killed = run_and_kill(once, log, mail)
    kills, services = kills + killed, services + service
    wrong = archive.wrong(anew=round_ % RESTORED_ANEW_EVERY == 0)
    if wrong:
        bad.append(f"round {round_}: {wrong}")
        if len(bad) > 5:
            break
is_(bad, [], f"{ROUNDS} rounds of kill -9: what was deleted is restorable and was intended before, none is "
    "stored twice, the archive is sound")
diag(f"{kills} killed, {services} of the rounds with a service: {log.counts['retr']} RETR, "
     f"{log.counts['dele']} DELE, {log.counts['deleted']} deleted")

# To the end, on a server that loses no QUIT any more.
server.stop()
server = Pop3d(mail_dir, *listen, script="\n".join(
    l for l in SCRIPT.splitlines() if LOSING not in l))
cask.add_server("s", server.port, server.ca, max_connections=4)
log = Log(server, mail)


def settled():
    """Nothing is left but what stayed in spite of three tries."""
    for user in USERS:
        tries = collections.Counter(m["sha256"] for m in archive.journal(user)[0])
        two = mail[user].pairs
        for what in (mail[user].now[name] for name in mail[user].left()):
            if tries[what] < ATTEMPTS_MAX * (2 if what in two else 1):
                return False
    return True


passes, statuses = 0, set()
while passes < FINAL_PASSES_MAX and (passes == 0 or not settled()):
    statuses.add(cask.once().status)
    passes += 1
is_(statuses, {0}, f"passes to the end: {passes}")
ok(settled(), "nothing is left on the server that should go") or diag({u: mail[u].left() for u in USERS if mail[u].left()})
diag(f"left after {ATTEMPTS_MAX} tries: { {u: len(mail[u].left()) for u in USERS if mail[u].left()} }")
is_([cask.once().status, cask.once().status], [0, 0], "two passes more")
wait_for(log.idle, what="idle server")
is_(archive.wrong(anew=True), [], "all of it holds in the end, too")

open_ = {}
for user in USERS:
    # What was overwritten there went without our doing.
    kept = {mail[user].now[name] for name in mail[user].left()} | mail[user].replaced
    intents, states = archive.journal(user)
    what = {m["n"]: m["sha256"] for m in intents}
    open_.update({(user, n): s for n, s in states.items() if s != "confirmed" and what[n] not in kept})
is_(open_, {}, "and every deletion is confirmed")
messages, _ = archive.restored(False)
missing = {u: len(set(mail[u].delivered) - mail[u].replaced - set(messages[u].values())) for u in USERS}
is_(missing, dict.fromkeys(USERS, 0), "every message that was delivered is archived")
pairs = collections.Counter(messages[NAMES].values())
is_({pairs[w] for w in mail[NAMES].pairs} - {2}, set(), "two equal ones are two")
twice = collections.Counter(messages[PLACES].values()) - mail[PLACES].delivered
diag(f"{sum(map(len, messages.values()))} messages archived of {sum(sum(m.delivered.values()) for m in mail.values())}; "
     f"{sum(twice.values())} stored twice where places are the UIDLs")
done()
