"""POP3 servers other than Dovecot, as Debian builds them: tests/servers/fetch unpacks one under
$BUILD/servers, and here it runs in a copy of that root, with users and mail of its own, behind a TLS
front. Nothing is installed, and nothing outside of that copy is written.

A server that cannot be had, or not be run, raises Unavailable with the reason. Running takes root,
as the servers change their user."""

import asyncio
import threading

from harness import *

FETCH_SECONDS = 300
OUT_OF_REACH = 75  # an exit status of tests/servers/fetch
SERVERS = BUILD / "servers"
COPY_CHUNK = 65536
# Nobody's own mail: some servers refuse users that are root.
MAIL_UID = MAIL_GID = 65534


class Unavailable(Exception):
    pass


class _Archive:
    out_of_reach = None


def fetch(name):
    """The unpacked root of a server. Where Debian's archive does not answer it is asked once only."""
    if _Archive.out_of_reach and not (SERVERS / name).is_dir():
        raise Unavailable(_Archive.out_of_reach)
    result = run([ROOT / "tests/servers/fetch", name], FETCH_SECONDS, env={"BUILD": str(BUILD)})
    why = result.err.decode(errors="replace").strip()
    if result.status == OUT_OF_REACH:
        _Archive.out_of_reach = why
    if result.status != 0:
        raise Unavailable(why or f"tests/servers/fetch ended with {result.status}")
    return pathlib.Path(result.out.decode().strip())


class Front:
    """TLS on .port of 127.0.0.1. connect() gives a plain connection to the server for each client.
    before(data): called with what a client sends, before the server gets it."""

    def __init__(self, certificate, connect, before=None):
        self.connect, self.before = connect, before
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.cert, certificate.key)
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._run, args=(ready,), daemon=True).start()
        ready.wait()

    def _run(self, ready):
        async def listen():
            server = await asyncio.start_server(self._client, "127.0.0.1", 0, ssl=self.context)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await server.serve_forever()
        self.loop.run_until_complete(listen())

    async def _client(self, reader, writer):
        plain_reader, plain_writer = await asyncio.open_connection(sock=self.connect())
        await asyncio.gather(self._copy(reader, plain_writer, self.before),
                             self._copy(plain_reader, writer))

    @staticmethod
    async def _copy(reader, writer, before=None):
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := await reader.read(COPY_CHUNK):
                if before:
                    before(data)
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, ssl.SSLError):
            writer.close()


class Real:
    """One server with users of PASSWORD, TLS on .port. fill(user, messages) gives them mail, count(user)
    says how many messages their folder has. A subclass names what to fetch, prepares its root, and
    says how a connection is served (command(), as from inetd, in the root)."""

    name = None

    def __init__(self, users, certificates):
        if run(["chroot", "/", "true"]).status != 0:
            raise Unavailable("it takes root to run it in a root of its own, with its users")
        unpacked = fetch(self.name)
        self.root = pathlib.Path(tempfile.mkdtemp(prefix=f"run-{self.name}-", dir=SERVERS))
        atexit.register(shutil.rmtree, self.root, ignore_errors=True)
        if run(["cp", "-al", f"{unpacked}/.", self.root]).status != 0:
            raise Unavailable("its root cannot be copied")
        self.ca, self.users = certificates.ca, users
        self.enter = ["chroot", self.root]
        self.log_file = self.root / "log"
        self._common()
        self.prepare()
        self.certificates = certificates
        self.port = Front(certificates.good, self.connect).port

    def _common(self):
        self.root.chmod(0o755)
        for folder in ("dev", "run", "tmp", "home", "var/mail", "var/log", "var/empty"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "tmp").chmod(0o1777)
        (self.root / "var/mail").chmod(0o1777)
        self.write("dev/null", "")
        (self.root / "dev/null").chmod(0o666)
        self.write("etc/passwd", "root:x:0:0::/:/bin/sh\n" + "".join(
            f"{name}:x:{MAIL_UID}:{MAIL_GID}::/home/{name}:/bin/sh\n" for name in self.users))
        self.write("etc/group", f"root:x:0:\nmail:x:8:\nnogroup:x:{MAIL_GID}:\n")
        secret = run(["openssl", "passwd", "-6", PASSWORD]).out.decode().strip()
        self.write("etc/shadow", "".join(f"{n}:{secret}:19000:0:99999:7:::\n" for n in self.users))
        for name in self.users:
            self.give(self.root / "home" / name, folder=True)

    def write(self, path, text):
        """A file in the root; never in place, as it may be a link to the unpacked one."""
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)

    def append(self, path, text):
        path = self.root / path
        self.write(path, path.read_text() + text)

    @staticmethod
    def give(path, folder=False):
        if folder:
            path.mkdir(exist_ok=True)
        os.chown(path, MAIL_UID, MAIL_GID)

    def pam(self, service):
        self.write(f"etc/pam.d/{service}", "auth required pam_unix.so\naccount required pam_unix.so\n")

    def prepare(self):
        """Whatever the server needs in its root, and processes that it talks to."""

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {"PATH": "/usr/sbin:/usr/bin", "HOME": "/"}

    def connect(self):
        # A real TCP connection: servers ask for the peer's address.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs = listener.accept()[0]
        # Some write a reply in pieces, and do not know of this.
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with theirs, open(self.log_file, "ab") as log:
            subprocess.Popen([str(a) for a in (*self.enter, *self.command())], stdin=theirs,
                             stdout=theirs, stderr=log, env=self.environment(), cwd=self.root,
                             preexec_fn=end_with_parent)
        return ours

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


class Maildir:
    """Mail in home/USER/Maildir."""

    def box(self, user):
        return self.root / "home" / user / "Maildir"

    def fill(self, user, messages):
        box = self.box(user)
        for path in (box, box / "cur", box / "new", box / "tmp"):
            self.give(path, folder=True)
        for i, data in enumerate(messages, self.count(user) + 1):
            path = box / "cur" / f"{1500000000 + i}.M{i}P1.test:2,"
            path.write_bytes(data)
            self.give(path)

    def count(self, user):
        return sum(len(os.listdir(self.box(user) / d)) for d in ("cur", "new"))


class Mbox:
    """Mail in var/mail/USER."""

    def box(self, user):
        return self.root / "var/mail" / user

    def fill(self, user, messages):
        with open(self.box(user), "ab") as box:
            for data in messages:
                data = re.sub(rb"^(>*From )", rb">\1", data, flags=re.M)
                data += b"" if data.endswith(b"\n") else b"\n"
                box.write(b"From a@cask.example Mon Jan  5 10:00:00 2026\n" + data + b"\n")
        self.box(user).chmod(0o600)
        self.give(self.box(user))

    def count(self, user):
        return len(re.findall(rb"(?:\A|\n\n)From ", self.box(user).read_bytes()))


class Popa3d(Mbox, Real):
    name = "popa3d"

    def prepare(self):
        self.append("etc/passwd", "popa3d:x:65533:65533::/var/empty:/bin/false\n")
        self.append("etc/group", "popa3d:x:65533:\n")
        (self.root / "var/lib/popa3d").mkdir(parents=True, exist_ok=True)
        self.pam("popa3d")

    def command(self):
        return ["/usr/sbin/popa3d"]


class Solid(Maildir, Real):
    name = "solid"

    def prepare(self):
        self.append("etc/passwd", "solid-pop3d:x:65533:65533::/var/empty:/bin/false\n"
                                  "spop3d:x:65533:65533::/var/empty:/bin/false\n")
        self.append("etc/group", "solid-pop3d:x:65533:\nspop3d:x:65533:\n")
        self.write("etc/spop3d.conf", '<Global>\nMailDropName "Maildir"\nMailDropType maildir\n'
                                      "AddBulletins no\n</Global>\n")
        self.pam("solid-pop3d")

    def command(self):
        return ["/usr/sbin/solid-pop3d", "-d"]


class Mailutils(Mbox, Real):
    name = "mailutils"
    mailbox = "mail-spool /var/mail;"

    def prepare(self):
        self.pam("gnu-pop3d")
        locks = self.root / "var/lock/subsys/mail"
        locks.mkdir(parents=True)
        self.give(locks)
        self.write("etc/pop3d.conf", "mode inetd;\nlogging { syslog no; };\n"
                   "auth { authentication generic:system:pam; authorization system; };\n"
                   f"mailbox {{ {self.mailbox} }};\ntcp-wrappers {{ enable no; }};\n")

    def command(self):
        return ["/usr/sbin/pop3d", "--no-config", "--config-file=/etc/pop3d.conf", "--inetd"]


class MailutilsMaildir(Maildir, Mailutils):
    mailbox = 'mailbox-pattern "maildir:/home/${user}/Maildir";'


class Courier(Maildir, Real):
    name = "courier"

    def prepare(self):
        (self.root / "run/courier/authdaemon").mkdir(parents=True)
        self.append("etc/passwd", "courier:x:65533:65533::/:/bin/false\n")
        self.append("etc/group", "courier:x:65533:\n")
        secret = run(["openssl", "passwd", "-6", PASSWORD]).out.decode().strip()
        self._userdb("etc/courier/userdb", {name: f"uid={MAIL_UID}|gid={MAIL_GID}|home=/home/{name}|_="
                                            for name in self.users})
        self._userdb("etc/courier/userdbshadow", {name: f"systempw={secret}" for name in self.users})
        self.write("etc/courier/authdaemonrc", 'authmodulelist="authuserdb"\n'
                   'authmodulelistorig="authuserdb"\ndaemons=2\nauthdaemonvar=/run/courier/authdaemon\n'
                   'DEBUG_LOGIN=0\nDEFAULTOPTIONS=""\nLOGGEROPTS=""\n')
        self.daemon = Server([*self.enter, "/usr/lib/courier/courier-authlib/authdaemond"], self.root)
        self.daemon.wait_ready((self.root / "run/courier/authdaemon/socket").exists, "authdaemond")

    def _userdb(self, path, users):
        """What makeuserdb does."""
        text = "".join(f"{name}\t{fields}\n" for name, fields in users.items()) + ".\n"
        result = run([*self.enter, "/usr/lib/courier/courier-authlib/makedatprog", "-", f"/{path}.tmp",
                      f"/{path}.dat"], stdin=text.encode())
        if result.status != 0:
            raise Unavailable(f"makedatprog: {result.err.decode()}")

    def environment(self):
        return {**super().environment(), "TCPREMOTEIP": "127.0.0.1", "TCPREMOTEPORT": "1",
                "TCPLOCALPORT": "110", "POP3AUTH": "PLAIN", "POP3_PROXY": "0", "POP3_TLS_REQUIRED": "0",
                "MIME_UNICODE_MESSAGE_TYPE": "message/global"}

    def command(self):
        return ["/usr/lib/courier/courier/courierpop3login", "/usr/lib/courier/courier/courierpop3d",
                "Maildir"]


class Cyrus(Real):
    """Its master listens by itself. Mail is put into its spool, and its index made anew."""

    name = "cyrus"
    uid = 65533
    programs = "/usr/lib/cyrus/bin"
    host = "cask.example"
    config = """configdirectory: /var/lib/cyrus
partition-default: /var/spool/cyrus
defaultpartition: default
servername: {host}
admins: cyrus
autocreate_quota: 0
expunge_mode: immediate
allowplaintext: yes
sasl_mech_list: PLAIN
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: /etc/sasldb2
"""
    services = """START {{
  recover cmd="{programs}/ctl_cyrusdb -r"
}}
SERVICES {{
  pop3 cmd="pop3d" listen="127.0.0.1:{port}" proto="tcp4" prefork=1
}}
EVENTS {{
}}
"""

    def prepare(self):
        self.append("etc/passwd", f"cyrus:x:{self.uid}:{self.uid}::/var/spool/cyrus:/bin/sh\n")
        self.append("etc/group", f"cyrus:x:{self.uid}:\n")
        self.write("etc/hosts", "127.0.0.1 localhost\n")
        # It does not start without time zones.
        self.write("usr/share/zoneinfo/zone.tab", "GB\t+513030-0000731\tEurope/London\n")
        self.plain_port = free_port()
        self.write("etc/imapd.conf", self.config.format(host=self.host))
        self.write("etc/cyrus.conf", self.services.format(programs=self.programs, port=self.plain_port))
        for folder in ("lib/cyrus", "lib/cyrus/db", "lib/cyrus/socket", "spool/cyrus"):
            path = self.root / "var" / folder
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, self.uid, self.uid)
        for user in self.users:
            self._tool("/usr/sbin/saslpasswd2", "-c", "-p", "-f", "/etc/sasldb2", "-u", self.host, user,
                       stdin=PASSWORD.encode(), root=True)
        os.chown(self.root / "etc/sasldb2", self.uid, self.uid)
        # At its end it kills its process group, and with it what is of its user there: the Cyrus of a
        # test beside this one.
        self.daemon = Server([*self.enter, f"{self.programs}/master"], self.root, own_group=True)
        self.daemon.wait_ready(self._answers, "Cyrus")

    def _tool(self, *arguments, stdin=None, root=False):
        who = [] if root else [f"--userspec={self.uid}:{self.uid}"]
        result = run(["chroot", *who, self.root, *arguments], stdin=stdin)
        if result.status != 0:
            raise RuntimeError(f"{arguments[0]}: {result.err.decode()}")
        return result.out.decode().strip()

    def _answers(self):
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", self.plain_port), 1) as probe:
                return probe.recv(100).startswith(b"+OK")
        return False

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.plain_port))

    def box(self, user):
        path = self._tool(f"{self.programs}/mbpath", f"user/{user}")
        return self.root / path.lstrip("/")

    def fill(self, user, messages):
        with Pop3Client(self.plain_port, tls="none") as client:
            client.login(user)  # which makes the mailbox
            client.quit()
        box = self.box(user)
        for uid, data in enumerate(messages, self.count(user) + 1):
            path = box / f"{uid}."
            path.write_bytes(re.sub(rb"(?<!\r)\n", b"\r\n", data))
            os.chown(path, self.uid, self.uid)
        self._tool(f"{self.programs}/reconstruct", f"user/{user}")

    def count(self, user):
        return len(list(self.box(user).glob("[0-9]*.")))


# ---- what the tests of these servers share ------------------------------------------------------

ATTACHMENT = base64.encodebytes(bytes(range(256)) * 8 * 1024)


def letter(number, headers, body):
    date = b"Mon, 5 Jan 2026 10:%02d:%02d +0000" % divmod(number, 60)
    return (b"Received: from a.example by b.example; %s\nDate: %s\nMessage-ID: <%d@cask.example>\n"
            b"From: a@cask.example\n%s\n\n%s" % (date, date, number, headers, body))


# Every server has these and gives them back unchanged.
PLAIN = {
    "dots": letter(1, b"Subject: dots", b".one\n..two\n.\n...\nend\n"),
    "empty": letter(2, b"Subject: no body", b""),
    "latin": letter(3, b"Subject: body only", b"caf\xe9\n"),
    "long": letter(4, b"Subject: one long line", b"x" * 200_000 + b"\n"),
    "large": letter(5, b"Subject: two MiB\nMIME-Version: 1.0\nContent-Type: application/octet-stream\n"
                       b"Content-Transfer-Encoding: base64", ATTACHMENT),
    "nul": letter(6, b"Subject: NUL and bare CR", b"\0\0\rx\r\n\ny\n"),
    "from": letter(7, b"Subject: From", b"From here\n>From there\n"),
    **{f"more {i}": letter(i, b"Subject: more", b"%d\n" % i) for i in range(20, 180)},
}
# These show what a server does with them.
ODD = {
    "utf8": letter(8, "Subject: é".encode(), b"x\n"),
    "8bit": letter(9, b"Subject: \xe9\xff", b"x\n"),
    "no end": letter(10, b"Subject: no end", b"the last line"),
    "dot": b".dot at the start\n\nx\n",
    "dotdot": b"..dots at the start\n\nx\n",
    "crlf": letter(11, b"Subject: stored with CRLF", b"x\n").replace(b"\n", b"\r\n"),
}

certificates = Certificates()


def started(kind, name, users=("alice", "bob")):
    """The server, or None after a skip()."""
    try:
        return kind(users, certificates)
    except Unavailable as why:
        # In CI, too: it takes Debian's archive.
        skip(name, str(why), in_ci=True)
        return None


def reference(server, user, utf8=False):
    """What an independent client gets: listed sizes, IDs, messages."""
    with Pop3Client(server.port, server.ca) as client:
        if utf8:
            client.command("UTF8")
        client.login(user)
        sizes = {n: int(size) for n, size in client.listing("LIST").items()}
        ids = client.listing("UIDL")
        messages = [client.retr(n) for n in sizes]
        client.quit()
    return list(sizes.values()), list(ids.values()), messages


def mailcask(server, *users, port=None, archive=None, **settings):
    cask = Mailcask(**(archive or {}))
    cask.add_server("s", port or server.port, server.ca, **settings)
    for user in users:
        cask.add_account(user, "s")
    cask.init()
    return cask


def session(cask, user):
    """The account's last."""
    return cask.json("ledger", "--account", user)[-1]


def archived(cask, user):
    to = cask.folder / "restored"
    shutil.rmtree(to, ignore_errors=True)
    cask.restore(f"eml:{to}", "--account", user)
    return hashes(read_eml(to))
