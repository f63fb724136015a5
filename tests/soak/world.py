"""The mail of a soak: accounts on servers that die, hang and come back, messages that never stop coming, and
what was delivered to whom."""

from harness import *

STAGING = "arriving"
ATTACHMENT_POOL = 24  # that are sent again and again


class Letters:
    """Messages, each unlike any other, from a random.Random; attachments are new ones or known ones."""

    SIZES = ((70, (500, 20_000), None), (20, (300, 3_000), "known"), (9, (300, 3_000), (20_000, 200_000)),
             (1, (300, 3_000), (900_000, 2_200_000)))

    def __init__(self, chance):
        self.chance, self.count = chance, 0
        self.known = [chance.randbytes(chance.randint(20_000, 250_000)) for _ in range(ATTACHMENT_POOL)]

    def _text(self, size):
        words = base64.b32encode(self.chance.randbytes(size // 8)).decode() * 5
        return "".join(words[i:i + 72] + "\r\n" for i in range(0, size, 72))

    def next(self, account):
        """(its number, its bytes as RETR delivers them)."""
        self.count += 1
        share = self.chance.choices(self.SIZES, [s[0] for s in self.SIZES])[0]
        body = self._text(self.chance.randint(*share[1]))
        if share[2] is not None:
            data = self.chance.choice(self.known) if share[2] == "known" else \
                self.chance.randbytes(self.chance.randint(*share[2]))
            body += "\r\n" + base64.encodebytes(data).decode().replace("\n", "\r\n")
        header = (f"From: soak@example.com\r\nTo: {account}\r\nSubject: letter {self.count}\r\n"
                  f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}\r\n"
                  f"Message-ID: <{self.count}.{self.chance.getrandbits(64):x}@soak.example>\r\n\r\n")
        return self.count, (header + body).encode()


def trouble(chance, rules=120):
    """A script by which sessions are cut in the middle, now and then."""
    ends = ["close-after %d", "shutdown-after %d", "reset-after %d"] * 4 + ["hang-after %d", "drip 5 200"]
    lines = []
    for i in range(rules):
        end = chance.choice(ends)
        how = end % chance.choice((0, 10, 3_000, 60_000)) if "%" in end else end
        lines.append(f"on RETR skip {i * 15 + chance.randrange(15)} times 1 {how}")
        lines.append(f"on QUIT skip {i * 90 + chance.randrange(90)} times 1 close{chance.choice(('', ' anyway'))}")
        lines.append(f"on UIDL skip {i * 60 + chance.randrange(60)} times 1 close-after {chance.randrange(60)}")
        lines.append(f"on PASS skip {i * 150 + chance.randrange(150)} times 1 reply \"-ERR [IN-USE] locked\"")
    return "\n".join(lines) + "\n"


class Scripted:
    """pop3d on one port, life after life. troubled: with a new trouble() for each."""

    def __init__(self, name, mail, certificates, chance, options=(), troubled=False):
        self.name, self.mail, self.certificates, self.chance = name, mail, certificates, chance
        self.options, self.troubled = options, troubled
        self.port, self.ca, self.served, self.cut, self.deleted, self.sessions = free_port(), certificates.ca, 0, 0, 0, 0
        self.server = None
        self.start()

    def start(self, calm=False):
        script = trouble(self.chance) if self.troubled and not calm else None
        self.server = Pop3d(self.mail, *self.options, "--listen", f"127.0.0.1:{self.port}", script=script,
                            certificate=self.certificates.good, ca=self.ca)

    def stop(self, how=signal.SIGKILL):
        self.server.stop(how)
        with open(self.server.log_file, "rb") as log:
            events = collections.Counter(line.split(b" ", 1)[0] for line in log)
        self.served += events[b"retr"]
        self.cut += events[b"retr-cut"]
        self.deleted += events[b"deleted"]
        self.sessions += events[b"session"]
        shutil.rmtree(self.server.folder, ignore_errors=True)
        self.server = None

    def hold(self, held):
        self.server.child.send_signal(signal.SIGSTOP if held else signal.SIGCONT)

    def text(self):
        return f"{self.sessions} sessions, {self.served} handed over, {self.cut} cut, {self.deleted} deleted"

    def deliver(self, user, number, data):
        staged = self.mail / STAGING
        staged.write_bytes(data)
        staged.rename(self.mail / user / f"{number:08}x{self.chance.getrandbits(48):012x}")


class RealDovecot:
    """The installed Dovecot, in the same manner; its processes end together, so it is only asked to."""

    def __init__(self, name, certificates):
        self.name, self.ca = name, certificates.ca
        self.server = Dovecot(certificate=certificates.good, ca=certificates.ca)
        self.port, self.arguments, self.idle = self.server.port, self.server.child.args, None

    def start(self, calm=False):
        del calm
        self.server = self.idle
        Server.__init__(self.server, self.arguments, self.server.folder)
        self.server.wait_ready(self.server._answers, "dovecot")

    def stop(self, how=signal.SIGTERM):
        del how
        self.server.stop(signal.SIGTERM)
        self.server, self.idle = None, self.server

    def hold(self, held):
        self.server.child.send_signal(signal.SIGSTOP if held else signal.SIGCONT)

    def text(self):
        ends = re.findall(r"Disconnected: .*top=\d+/\d+, retr=(\d+)/\d+, del=(\d+)/", self.idle.log())
        return f"{len(ends)} sessions, {sum(int(e[0]) for e in ends)} handed over, {sum(int(e[1]) for e in ends)} deleted"

    def open_box(self, user):
        box = self.server.mail / user
        for path in (box, box / "cur", box / "new", box / "tmp"):
            path.mkdir(exist_ok=True)
            self.server._give(path)

    def deliver(self, user, number, data):
        server = self.server or self.idle
        box, name = server.mail / user, f"{1500000000 + number}.M{number}P1.test"
        (box / "tmp" / name).write_bytes(data)
        server._give(box / "tmp" / name)
        (box / "tmp" / name).rename(box / "new" / name)


class World:
    """Servers, their accounts, and .delivered: of each account the SHA-256 of each message."""

    def __init__(self, chance):
        self.chance, self.letters = chance, Letters(chance)
        certificates = Certificates()
        self.mail = temp_folder("mailcask-soak-mail-")
        self.servers, self.home, self.delivered = {}, {}, {}
        for name, options, troubled, count in (("steady", (), False, 10), ("troubled", ("--no-lock",), True, 10),
                                               ("slow", ("--throttle", "300000", "--rtt-ms", "20"), False, 6)):
            server = Scripted(name, self.mail, certificates, chance, options, troubled)
            self._settle(server, count)
            for i in range(count):
                (self.mail / f"{name}{i}").mkdir()
        if dovecot_version() is not None:
            server = RealDovecot("dovecot", certificates)
            self._settle(server, 6)
            for i in range(6):
                server.open_box(f"dovecot{i}")

    def _settle(self, server, count):
        self.servers[server.name] = server
        for i in range(count):
            self.home[f"{server.name}{i}"] = server
            self.delivered[f"{server.name}{i}"] = set()

    def deliver(self):
        account = self.chance.choice(list(self.home))
        number, data = self.letters.next(account)
        self.home[account].deliver(account, number, data)
        self.delivered[account].add(sha256(data))

    def wrong(self, account, got, whole):
        """What is wrong with these messages of the account, in words; whole: they are to be all. None if nothing."""
        counts = hashes(got)
        twice = sum(n - 1 for n in counts.values())
        foreign = len(counts.keys() - self.delivered[account])
        missing = len(self.delivered[account] - counts.keys()) if whole else 0
        if twice or foreign or missing:
            return f"{account}: {missing} missing, {twice} too often, {foreign} that nobody sent"
        return None
