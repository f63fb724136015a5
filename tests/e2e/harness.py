"""What the end-to-end tests share: TAP output, certificates, servers (our own pop3d and the
installed Dovecot), mailcask itself, an independent POP3 client, and readers of what is restored.

A test is an executable tests/e2e/NAME.t that starts with

    import sys
    sys.dont_write_bytecode = True
    sys.path.insert(0, __file__.rsplit("/", 1)[0])
    from harness import *

and ends with done(). Python 3.11, standard library only. Everything a test starts is ended, and
every folder it makes is removed, when it ends (KEEP=1 keeps the folders).
"""

import atexit
import base64
import collections
import contextlib
import ctypes
import getpass
import hashlib
import json
import os
import pathlib
import pwd
import grp
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = (ROOT / os.environ.get("BUILD", "build")).resolve()
IN_CI = os.environ.get("CI") == "true"
# Time limits are for the plain build; sanitizers make everything slower.
SANITIZED = re.search("asan|tsan", os.environ.get("BUILD", "")) is not None
TIME_SCALE = 10 if SANITIZED else 1
# For waits whose end is told by a failure only: CI's machine may be a slow one.
PATIENCE = TIME_SCALE * (4 if IN_CI else 1)
START_SECONDS = 20
STOP_SECONDS = 10
RUN_SECONDS = 120
PASSWORD = "secret"

# atexit functions run when the test is told to stop, too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


# ---- TAP ---------------------------------------------------------------------------------------

class _Tap:
    count = 0
    planned = None
    failed = 0
    failing = False  # the last test


def plan(count):
    """Say how many tests there are; without it done() says so."""
    _Tap.planned = count
    print(f"1..{count}", flush=True)


def diag(text, aloud=False):
    """Behind a test that failed, and aloud, on stderr: a runner that hides what passes shows it."""
    out = sys.stderr if aloud or _Tap.failing else sys.stdout
    for line in str(text).splitlines() or [""]:
        print(f"# {line}", file=out, flush=True)


def ok(condition, name):
    """One test. Returns whether it passed."""
    _Tap.count += 1
    _Tap.failing = not condition
    _Tap.failed += _Tap.failing
    print(f"{'ok' if condition else 'not ok'} {_Tap.count} - {name}", flush=True)
    if not condition:
        diag(f"{sys.argv[0].rsplit('/', 1)[-1]}, test {_Tap.count} failed: {name}")
    return bool(condition)


def is_(got, want, name):
    passed = ok(got == want, name)
    if not passed:
        diag(f"got:  {shorten(repr(got))}")
        diag(f"want: {shorten(repr(want))}")
    return passed


def like(got, pattern, name):
    text = got.decode("utf-8", "replace") if isinstance(got, bytes) else got
    passed = ok(re.search(pattern, text, re.M), name)
    if not passed:
        diag(f"got:  {shorten(repr(text))}")
        diag(f"want: /{pattern}/")
    return passed


def shorten(text, size=600):
    return text if len(text) <= size else f"{text[:size]}... ({len(text)} characters)"


def skip(name, reason, in_ci=False):
    """A test that cannot run here. In CI that is a failure, as there everything is installed, unless
    in_ci: it needs what no package of this machine brings."""
    if IN_CI and not in_ci:
        ok(False, f"{name} (would be skipped: {reason})")
        return
    _Tap.count += 1
    print(f"ok {_Tap.count} - {name} # SKIP {' '.join(reason.split())}", flush=True)


def done():
    """The end of a test file."""
    if _Tap.planned is None:
        print(f"1..{_Tap.count}", flush=True)
    wrong_count = _Tap.planned is not None and _Tap.planned != _Tap.count
    if wrong_count:
        diag(f"planned {_Tap.planned} tests but ran {_Tap.count}", aloud=True)
    sys.exit(1 if _Tap.failed or wrong_count else 0)


# ---- folders, files, processes -----------------------------------------------------------------

def temp_folder(prefix="mailcask-test-", in_memory=False):
    """A new folder, removed at the end. in_memory: where that can be had, for very many files."""
    memory = "/dev/shm" if in_memory and has_room("/dev/shm", 256 << 20) else None
    folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=memory))
    if os.environ.get("KEEP"):
        diag(f"keeping {folder}")
    else:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def has_room(folder, size):
    if not os.access(folder, os.W_OK):
        return False
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize >= size


_held_ports = []


def free_port(host="127.0.0.1"):
    """A port that is the test's until its end: connections to it are refused until one of its servers
    listens there, which must set SO_REUSEADDR, and nobody else is given it meanwhile."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((host, 0))
    _held_ports.append(holder)
    return holder.getsockname()[1]


def write_files(folder, messages):
    """messages: a list of bytes, named 0001 and so on, or a dict of name to bytes. A server that looks
    meanwhile sees each of them whole or not at all."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(messages, dict):
        messages = {f"{i:04}": data for i, data in enumerate(messages, 1)}
    for name, data in messages.items():
        (folder / ".part").write_bytes(data)
        (folder / ".part").rename(folder / name)
    return folder


def wait_for(condition, seconds=START_SECONDS, what="condition"):
    """Poll until condition() is true and return its value; TimeoutError otherwise. A tool that fails
    meanwhile is asked again."""
    seconds *= PATIENCE
    end = time.monotonic() + seconds
    failure = None
    while time.monotonic() < end:
        try:
            value = condition()
        except ToolFailed as again:
            value, failure = None, again
        if value:
            return value
        time.sleep(0.01)
    raise TimeoutError(f"no {what} within {seconds} s") from failure


def log_events(text):
    """The lines of mailcaskd's log (logfmt) as dictionaries; ValueError if one is anything else."""
    events = []
    for line in text.splitlines():
        pairs = re.findall(r'(?:^| )([a-z_]+)=("(?:[^"\\]|\\["\\])*"|[^ "=\\]+)(?= |$)', line)
        if " ".join(f"{k}={v}" for k, v in pairs) != line or [k for k, _ in pairs[:2]] != ["level", "msg"]:
            raise ValueError(f"no line of a log: {line}")
        events.append({k: re.sub(r"\\(.)", r"\1", v[1:-1] if v[0] == '"' else v) for k, v in pairs})
    return events


Result = collections.namedtuple("Result", "status out err seconds")


def run(arguments, timeout=RUN_SECONDS, env=None, cwd=None, stdin=None):
    """Run to the end. status is negative for a signal, "timeout" when it took too long (it is then
    killed)."""
    start = time.monotonic()
    child = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.PIPE if stdin else
                             subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             cwd=cwd, env={**os.environ, **(env or {})})
    try:
        out, err = child.communicate(stdin, timeout=timeout * PATIENCE)
        status = child.returncode
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        status = "timeout"
    return Result(status, out, err, time.monotonic() - start)


def kill_after(arguments, seconds, env=None):
    """Start a program, SIGKILL it after so many seconds. True if it was killed, False if it had
    ended before. Only its own process: what it started lives on."""
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.DEVNULL,
                                 stdout=output, stderr=output, env={**os.environ, **(env or {})})
        try:
            child.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            return True


def end_with_parent():
    """In a new child: SIGTERM when the test ends, however it ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


class ToolFailed(RuntimeError):
    """mailcask ended with another status than 0."""


class Server:
    """A child in the foreground, stopped at the end of the test at the latest."""

    def __init__(self, arguments, folder, env=None, own_group=False):
        self.folder = pathlib.Path(folder)
        self.output_file = self.folder / "output"
        with open(self.output_file, "ab") as output:
            self.child = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.DEVNULL,
                                          stdout=output, stderr=output,
                                          env={**os.environ, **(env or {})},
                                          start_new_session=own_group, preexec_fn=end_with_parent)
        atexit.register(self.stop)

    @property
    def pid(self):
        return self.child.pid

    def output(self):
        return self.output_file.read_text(errors="replace")

    def wait_ready(self, condition, what):
        def ready_or_dead():
            if self.child.poll() is not None:
                raise RuntimeError(f"{what} ended with {self.child.returncode}: {self.output()}")
            return condition()
        return wait_for(ready_or_dead, what=what)

    def stop(self, how=signal.SIGTERM):
        """Returns the exit status (negative: the signal)."""
        if self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(STOP_SECONDS * PATIENCE)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode


# ---- certificates ------------------------------------------------------------------------------

Certificate = collections.namedtuple("Certificate", "cert key")


class Certificates:
    """A CA and certificates made by the openssl command: good (127.0.0.1, localhost, ::1), expired,
    wrong_name, and self_signed by nobody the CA knows. cert files hold one certificate."""

    NAMES = "DNS:localhost,IP:127.0.0.1,IP:::1"

    def __init__(self, folder=None):
        self.folder = pathlib.Path(folder or temp_folder())
        self.ca_key = self.folder / "ca.key"
        self.ca = self.folder / "ca.pem"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                      "-nodes", "-keyout", self.ca_key, "-out", self.ca, "-days", "30", "-subj",
                      "/CN=mailcask test CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.good = self.make("good", self.NAMES)

    @staticmethod
    def _openssl(*arguments):
        result = run(["openssl", *arguments])
        if result.status != 0:
            raise RuntimeError(f"openssl {arguments[0]}: {result.err.decode()}")

    def _request(self, name):
        key, request = self.folder / f"{name}.key", self.folder / f"{name}.csr"
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        return key, request

    def make(self, name, names, start=None, end=None):
        """A server certificate signed by the CA; start and end as YYYYMMDDHHMMSSZ."""
        key, request = self._request(name)
        cert, config = self.folder / f"{name}.pem", self.folder / f"{name}.cnf"
        (self.folder / "index").write_text("")
        (self.folder / "serial").write_text(f"{time.time_ns():020X}\n")
        config.write_text(f"[ca]\ndefault_ca=c\n[c]\ndatabase={self.folder}/index\n"
                          f"serial={self.folder}/serial\nnew_certs_dir={self.folder}\n"
                          "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
                          "[e]\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"
                          f"subjectAltName={names}\n")
        dates = ["-days", "30"] if end is None else ["-startdate", start, "-enddate", end]
        self._openssl("ca", "-batch", "-notext", "-config", config, "-extensions", "e", "-cert",
                      self.ca, "-keyfile", self.ca_key, "-in", request, "-out", cert, *dates)
        return Certificate(cert, key)

    def expired(self):
        return self.make("expired", self.NAMES, "20200101000000Z", "20200201000000Z")

    def wrong_name(self):
        return self.make("wrong-name", "DNS:elsewhere.example")

    def self_signed(self):
        key, cert = self.folder / "self.key", self.folder / "self.pem"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                      "-nodes", "-keyout", key, "-out", cert, "-days", "30", "-subj", "/CN=self",
                      "-addext", f"subjectAltName={self.NAMES}")
        return Certificate(cert, key)


# ---- our own server ----------------------------------------------------------------------------

class Pop3d(Server):
    """tests/pop3d over mail_dir/USER/FILE. script: its text. options: its other options, such as
    "--tls", "starttls". certificate: a Certificate; otherwise it makes one, whose CA is in .ca."""

    def __init__(self, mail_dir, *options, script=None, certificate=None, ca=None):
        folder = temp_folder()
        self.mail_dir = pathlib.Path(mail_dir)
        self.log_file = folder / "log"
        self.ca = pathlib.Path(ca) if ca else folder / "ca.pem"
        arguments = [BUILD / "tests/pop3d", "--die-with-parent", "--port-file", folder / "port",
                     "--log", self.log_file]
        if certificate:
            arguments += ["--cert", certificate.cert, "--key", certificate.key]
        else:
            arguments += ["--write-ca", self.ca]
        if script is not None:
            (folder / "script").write_text(script)
            arguments += ["--script", folder / "script"]
        super().__init__([*arguments, *options, mail_dir], folder)
        self.wait_ready((folder / "port").exists, "pop3d")
        self.ports = [int(p) for p in (folder / "port").read_text().split()]
        self.port = self.ports[0]

    def log(self, event=None):
        """The log's lines so far, of one event if named (the first word). Of clients that have left it
        is complete: their ends are waited for."""
        end = time.monotonic() + START_SECONDS * PATIENCE
        while (open_ := self._open_sessions()) and time.monotonic() < end and self.child.poll() is None \
                and open_ > clients_of(self.ports):
            time.sleep(0.01)
        lines = self.log_file.read_text().splitlines()
        return [l for l in lines if event is None or l.split(" ", 1)[0] == event]

    def _open_sessions(self):
        text = "\n" + self.log_file.read_text()
        return text.count("\nconnect ") - text.count("\nsession ")

    def served(self, user):
        """How often each file of the user was handed over whole: a Counter of names."""
        found = (l.split() for l in self.log("retr"))
        return collections.Counter(f[2] for f in found if f[1] == user)

    def wait_log(self, pattern, count=1, seconds=START_SECONDS):
        """Until so many lines match."""
        def matches():
            found = [l for l in self.log() if re.search(pattern, l)]
            return found if len(found) >= count else None
        return wait_for(matches, seconds, f"log line /{pattern}/")

    def memory_kib(self):
        return memory_kib(self.pid)


def clients_of(ports):
    """How many sockets that belong to a process are connected to these ports of this machine."""
    count = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):
            rows = [line.split() for line in open(table)][1:]
            # The other end, and the inode: 0 when its process has closed it.
            count += sum(int(row[2].rsplit(":", 1)[1], 16) in ports and row[9] != "0" for row in rows)
    return count


def memory_kib(pid, field="VmRSS"):
    """Memory of a process; field VmHWM is its peak. 0 once it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in open(f"/proc/{pid}/status"):
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


# ---- Dovecot -----------------------------------------------------------------------------------

def dovecot_version():
    """(2, 3) or (2, 4); None where Dovecot is not installed."""
    program = shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None or not any(pathlib.Path(p).exists() for p in
                                  ("/usr/lib/dovecot/pop3", "/usr/libexec/dovecot/pop3")):
        return None
    found = re.match(r"(\d+)\.(\d+)", run([program, "--version"]).out.decode())
    return (int(found[1]), int(found[2])) if found else None


class Dovecot(Server):
    """The installed Dovecot, in the foreground, from folders of its own, with POP3S on .port and
    STLS on .plain_port of 127.0.0.1. Users exist as soon as they log in; fill() gives them mail.
    uidl: "default", "number", "name" or "md5" (pop3_uidl_format). extra: lines for its configuration.
    Raises RuntimeError if it is not installed: see dovecot_or_skip()."""

    UIDL = {"number": ("%u", "%{uid}"), "name": ("%f", "%{filename}"), "md5": ("%m", "%{md5}")}

    def __init__(self, uidl="default", certificate=None, ca=None, password=PASSWORD, extra=""):
        self.version = dovecot_version()
        if self.version is None:
            raise RuntimeError("Dovecot's POP3 server is not installed")
        folder = temp_folder("mailcask-dovecot-")
        if certificate is None:
            (folder / "tls").mkdir()
            made = Certificates(folder / "tls")
            certificate, ca = made.good, made.ca
        self.ca, self.certificate, self.password = ca, certificate, password
        self.mail = folder / "mail"
        self.log_file = folder / "log"
        self.port, self.plain_port = free_port(), free_port()
        self._choose_users()
        for made in (folder, self.mail, folder / "run", folder / "state"):
            made.mkdir(exist_ok=True)
            made.chmod(0o755)
        self._give(self.mail)
        self.folder = folder
        newer = self.version >= (2, 4)
        config = folder / "dovecot.conf"
        config.write_text((self._config_24 if newer else self._config_23)(uidl) + extra + "\n")
        program = shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        super().__init__([program, "-F", "-c", config], folder)
        self.wait_ready(self._answers, "dovecot")

    def _choose_users(self):
        """As root Dovecot drops to its own users, and insists on another than root for the mail.
        Otherwise all of it runs as us."""
        if os.geteuid() == 0:
            names = {u.pw_name for u in pwd.getpwall()}
            self.internal = "dovecot" if "dovecot" in names else "nobody"
            self.login = "dovenull" if "dovenull" in names else "nobody"
            self.owner = pwd.getpwnam("nobody")
        else:
            self.internal = self.login = getpass.getuser()
            self.owner = pwd.getpwuid(os.geteuid())
        self.group = grp.getgrgid(pwd.getpwnam(self.internal).pw_gid).gr_name

    def _give(self, path):
        if os.geteuid() == 0:
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)

    def _services(self):
        return f"""
default_internal_user = {self.internal}
default_internal_group = {self.group}
default_login_user = {self.login}
default_client_limit = 10000
default_process_limit = 2000
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service pop3-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener pop3 {{
    port = {self.plain_port}
  }}
  inet_listener pop3s {{
    port = {self.port}
    ssl = yes
  }}
}}
service pop3 {{
  process_limit = 2000
}}
"""

    def _common(self):
        return f"""
base_dir = {self.folder}/run
state_dir = {self.folder}/state
log_path = {self.log_file}
listen = 127.0.0.1
ssl = yes
auth_mechanisms = plain
first_valid_uid = 1
mail_uid = {self.owner.pw_uid}
mail_gid = {self.owner.pw_gid}
mail_max_userip_connections = 10000
{self._services()}"""

    def _config_23(self, uidl):
        uidl_line = f"pop3_uidl_format = {self.UIDL[uidl][0]}" if uidl in self.UIDL else ""
        return f"""{self._common()}
protocols = pop3
ssl_cert = <{self.certificate.cert}
ssl_key = <{self.certificate.key}
disable_plaintext_auth = no
mail_location = maildir:{self.mail}/%u
{uidl_line}
passdb {{
  driver = static
  args = password={self.password}
}}
userdb {{
  driver = static
  args = uid={self.owner.pw_uid} gid={self.owner.pw_gid} home={self.mail}/%u allow_all_users=yes
}}
"""

    # Written from its documentation; not run so far, as Debian 12 has 2.3.
    def _config_24(self, uidl):
        uidl_line = f"pop3_uidl_format = {self.UIDL[uidl][1]}" if uidl in self.UIDL else ""
        return f"""dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
{self._common()}
protocols = pop3
ssl_server_cert_file = {self.certificate.cert}
ssl_server_key_file = {self.certificate.key}
auth_allow_cleartext = yes
mail_driver = maildir
mail_path = {self.mail}/%{{user}}
{uidl_line}
passdb static {{
  password = {self.password}
}}
userdb static {{
  allow_all_users = yes
  fields {{
    uid = {self.owner.pw_uid}
    gid = {self.owner.pw_gid}
    home = {self.mail}/%{{user}}
  }}
}}
"""

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.plain_port), 1) as probe:
                return probe.recv(100).startswith(b"+OK")
        except OSError:
            return False

    def fill(self, user, source):
        """Messages (a folder of files, in the order of their names, or a list of bytes) into the
        user's INBOX, after those already there."""
        box = self.mail / user
        for path in (box, box / "cur", box / "new", box / "tmp"):
            path.mkdir(exist_ok=True)
            self._give(path)
        already = len(os.listdir(box / "cur")) + len(os.listdir(box / "new"))
        if isinstance(source, (list, tuple)):
            messages = source
        else:
            messages = (f.read_bytes() for f in sorted(pathlib.Path(source).iterdir())
                        if f.is_file())
        for i, data in enumerate(messages, already + 1):
            # Dovecot numbers new mail in the order of these names.
            path = box / "tmp" / f"{1500000000 + i}.M{i}P1.test:2,"
            path.write_bytes(data)
            self._give(path)
            path.rename(box / "cur" / path.name)

    def count(self, user):
        """Messages on disk."""
        return sum(len(os.listdir(self.mail / user / d)) for d in ("cur", "new"))

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


def dovecot_or_skip(name, **arguments):
    """A Dovecot, or None after a skip()."""
    if dovecot_version() is None:
        skip(name, "Dovecot's POP3 server is not installed")
        return None
    return Dovecot(**arguments)


# ---- an independent client ---------------------------------------------------------------------

class Pop3Error(Exception):
    pass


class Pop3Client:
    """A raw POP3 client: what the server sent, byte for byte. tls: "implicit", "stls" or "none"; ca
    None: any certificate. Works as a context manager; leaving it closes without QUIT."""

    def __init__(self, port, ca=None, tls="implicit", host="127.0.0.1", timeout=60, max_tls=None):
        self.host, self.ca, self.max_tls, self.pending = host, ca, max_tls, bytearray()
        self.socket = socket.create_connection((host, port), timeout * PATIENCE)
        if tls == "implicit":
            self.start_tls()
        self.greeting = self.line()
        if tls == "stls":
            self.command("STLS")
            self.start_tls()

    def start_tls(self):
        context = ssl.create_default_context(cafile=self.ca)
        if self.ca is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.max_tls:
            context.maximum_version = self.max_tls
        # An end without close_notify is an error of its own, ssl.SSLError. With OpenSSL 3 Python
        # would take it for a clean one.
        context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 1 << 7)
        self.socket = context.wrap_socket(self.socket, server_hostname=self.host,
                                          suppress_ragged_eofs=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *lines):
        """Pipelined, in one write."""
        self.socket.sendall(b"".join((l if isinstance(l, bytes) else l.encode()) + b"\r\n"
                                     for l in lines))

    def _more(self):
        data = self.socket.recv(65536)
        if not data:
            raise Pop3Error(f"the server closed after {shorten(repr(bytes(self.pending)))}")
        self.pending += data

    def _until(self, mark, start=0):
        """Everything pending up to and with mark."""
        while (at := self.pending.find(mark, start)) < 0:
            start = max(start, len(self.pending) - len(mark) + 1)
            self._more()
        taken = bytes(self.pending[:at + len(mark)])
        del self.pending[:at + len(mark)]
        return taken

    def line(self):
        """One line without its CRLF."""
        return self._until(b"\r\n")[:-2]

    def status(self):
        """A status line; Pop3Error unless +OK."""
        line = self.line()
        if not line.startswith(b"+OK"):
            raise Pop3Error(line.decode("utf-8", "replace"))
        return line

    def command(self, line):
        self.send(line)
        return self.status()

    def content(self):
        """What follows the status line of a multi-line reply, unstuffed, without the terminator."""
        while len(self.pending) < 3:
            self._more()
        if self.pending.startswith(b".\r\n"):
            del self.pending[:3]
            return b""
        data = self._until(b"\r\n.\r\n")[:-3]
        if data.startswith(b".."):
            data = data[1:]
        return data.replace(b"\r\n..", b"\r\n.")

    def multi(self, line):
        self.command(line)
        return self.content()

    def login(self, user, password=PASSWORD):
        self.command(f"USER {user}")
        self.command(f"PASS {password}")
        return self

    def auth_plain(self, user, password=PASSWORD):
        return self.command("AUTH PLAIN " +
                            base64.b64encode(f"\0{user}\0{password}".encode()).decode())

    def stat(self):
        return tuple(int(n) for n in self.command("STAT").split()[1:3])

    def listing(self, name):
        """UIDL or LIST as a dict of number to text."""
        pairs = (l.split(b" ", 1) for l in self.multi(name).split(b"\r\n")[:-1])
        return {int(n): text.decode("latin-1") for n, text in pairs}

    def retr(self, number):
        return self.multi(f"RETR {number}")

    def quit(self):
        self.command("QUIT")
        self.socket.close()

    def rest(self):
        """Everything until the server closes."""
        with contextlib.suppress(Pop3Error, ssl.SSLError, ConnectionError):
            while True:
                self._more()
        data = bytes(self.pending)
        self.pending.clear()
        return data


def fetch_all(port, user, password=PASSWORD, ca=None, tls="implicit", window=16):
    """Every message, in order, by Pop3Client with RETR in a window. This is the reference: see
    fetch_curl()."""
    with Pop3Client(port, ca, tls) as client:
        client.login(user, password)
        count = client.stat()[0]
        messages = []
        for first in range(1, count + 1, window):
            numbers = range(first, min(first + window, count + 1))
            client.send(*(f"RETR {n}" for n in numbers))
            for _ in numbers:
                client.status()
                messages.append(client.content())
        client.quit()
        return messages


def fetch_curl(port, user, folder, password=PASSWORD, ca=None, count=None, numbers=None,
               timeout=RUN_SECONDS):
    """Every message into folder/N by one curl on one connection, and the list of paths: a second
    opinion on fetch_all(), not the reference. curl 7.88 changes a message whose first line has an
    unstuffed dot (".x" becomes "\\rx"), writes CRLF for an empty one, waits for ever behind a first
    line ".", and ends with success when the connection is closed within a body."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if numbers is None:
        if count is None:
            with Pop3Client(port, ca) as client:
                count = client.login(user, password).stat()[0]
                client.quit()
        numbers = range(1, count + 1)
    paths = [folder / str(n) for n in numbers]
    if not paths:
        return []
    lines = ["silent", "show-error", "fail-early", f'user = "{user}:{password}"']
    lines += [f'cacert = "{ca}"'] if ca else ["insecure"]
    for n, path in zip(numbers, paths):
        lines += [f'url = "pop3s://127.0.0.1:{port}/{n}"', f'output = "{path}"']
    config = folder / ".curlrc"
    config.write_text("\n".join(lines) + "\n")
    config.chmod(0o600)
    result = run(["curl", "--disable", "-K", config], timeout)
    config.unlink()
    if result.status != 0:
        raise Pop3Error(f"curl: {result.status}: {result.err.decode()}")
    return paths


# ---- mailcask ----------------------------------------------------------------------------------

class Mailcask:
    """An archive, a configuration, and the two programs. add_server() and add_account() extend the
    configuration, which is written anew before each run."""

    def __init__(self, folder=None, **archive_settings):
        self.folder = pathlib.Path(folder or temp_folder())
        self.archive = self.folder / "archive"
        self.config = self.folder / "mailcask.conf"
        self.settings = {"path": self.archive, **archive_settings}
        self.servers, self.accounts, self.text = {}, {}, ""

    def add_server(self, name, port, ca, host="127.0.0.1", **settings):
        """Keys with a "-" are written with a "_" here."""
        self.servers[name] = {"host": host, "port": port, "tls": "implicit", "ca-file": ca,
                              **settings}

    def add_account(self, name, server, user=None, password=PASSWORD, **settings):
        self.accounts[name] = {"server": server, "user": user or name, "password": password,
                               **settings}

    def write_config(self):
        def section(title, settings):
            lines = "".join(f"{k.replace('_', '-')} = {v}\n" for k, v in settings.items())
            return f"[{title}]\n{lines}\n"
        text = section("archive", self.settings)
        text += "".join(section(f"server {n}", s) for n, s in self.servers.items())
        text += "".join(section(f"account {n}", s) for n, s in self.accounts.items())
        self.config.write_text(text + self.text)
        self.config.chmod(0o600)
        return self.config

    def tool(self, *arguments, **options):
        """build/mailcask on this archive: a Result."""
        return run([BUILD / "mailcask", "--archive", self.archive, *arguments], **options)

    def init(self):
        return run([BUILD / "mailcask", "init", self.archive])

    def once_arguments(self, *arguments):
        return [BUILD / "mailcaskd", "--config", self.write_config(), "--once", *arguments]

    def once(self, *arguments, **options):
        """mailcaskd --once: a Result."""
        return run(self.once_arguments(*arguments), **options)

    def start(self, **options):
        """mailcaskd as a service: a Server."""
        folder = temp_folder()
        return Server([BUILD / "mailcaskd", "--config", self.write_config()], folder, **options)

    def settle(self):
        """Nothing is polled any more, and no session of the running service is under way."""
        wait_for(lambda: self.tool("pause", "--all").status == 0, what="service")
        wait_for(lambda: self.json("status")[0]["service"]["sessions"] == 0, what="end of the sessions")

    def stop_settled(self, service):
        """Stop it between two polls: the exit status. Nothing stays paused."""
        self.settle()
        status = service.stop()
        (self.archive / "state" / "paused").unlink()
        return status

    def json(self, *arguments):
        """The objects a --json command prints, one a line. ToolFailed unless its status is 0."""
        result = self.tool(*arguments, "--json")
        if result.status != 0:
            raise ToolFailed(f"mailcask {shlex.join(map(str, arguments))}: {shorten(str(result))}")
        return [json.loads(l) for l in result.out.splitlines()]

    def restore(self, to, *which):
        """mailcask restore WHICH --to TO; WHICH defaults to --all."""
        return self.tool("restore", *(which or ("--all",)), "--to", to)


# ---- what was restored -------------------------------------------------------------------------

def sha256(data):
    return hashlib.sha256(data).hexdigest()


def hashes(messages):
    """A multiset to compare: a Counter of SHA-256, of bytes or of paths."""
    return collections.Counter(sha256(m if isinstance(m, bytes) else pathlib.Path(m).read_bytes())
                               for m in messages)


def read_folder(folder, pattern="*"):
    """The files' bytes in the order of their names."""
    return [f.read_bytes() for f in sorted(pathlib.Path(folder).glob(pattern)) if f.is_file()]


def read_maildir(folder):
    return read_folder(pathlib.Path(folder) / "cur") + read_folder(pathlib.Path(folder) / "new")


def read_eml(folder):
    """N.eml in the order of N."""
    files = sorted(pathlib.Path(folder).glob("*.eml"), key=lambda f: int(f.stem))
    return [f.read_bytes() for f in files]


def read_mbox(path):
    """mboxrd: a "From " line at the start, or behind an empty line that belongs to the format, begins
    a message; lines of ">"s and "From " lose one ">"."""
    data = pathlib.Path(path).read_bytes()
    if not data:
        return []
    if not data.startswith(b"From ") or not data.endswith(b"\n\n"):
        raise ValueError(f"{path}: not an mbox")
    messages = re.split(rb"(?:\A|(?<=\n)\n)From [^\n]*\n", data[:-1])[1:]
    return [re.sub(rb"^>(>*From )", rb"\1", m, flags=re.M) for m in messages]


def wire_bytes(data, line_ends="crlf", dovecot=False):
    """What a client gets for a message file: CRLF line ends, and one at the end if there was none.
    Dovecot (2.3) differs: it leaves a dot that starts the first line unstuffed, so that ".." arrives
    as "." (and a first line "." ends the reply early, Q21), and an empty message has one line."""
    if line_ends == "crlf":
        data = re.sub(rb"(?<!\r)\n", b"\r\n", data)
    if dovecot:
        data = data[1:] if data.startswith(b"..") else data or b"\r\n"
    return data if not data or data.endswith(b"\r\n") else data + b"\r\n"
