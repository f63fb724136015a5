#!/usr/bin/env python3
"""`mailcask status --watch` on a terminal of our own: rates, problems, a service that goes and comes back,
small terminals, and the shell's screen back however it ends; with --json a line for each look."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *
import fcntl
import pty
import select
import struct
import termios

ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l\x1b[?7l", b"\x1b[?7h\x1b[?25h\x1b[?1049l"


class Terminal:
    """A program on a pseudo-terminal, and what a person would see there."""

    def __init__(self, *arguments, rows=40, columns=120):
        self.master, self.slave = pty.openpty()
        self.bytes = b""
        self.resize(rows, columns)
        self.modes = termios.tcgetattr(self.slave)
        self.child = subprocess.Popen([str(a) for a in arguments], stdin=self.slave, stdout=self.slave,
                                      stderr=subprocess.PIPE, start_new_session=True, preexec_fn=self._take)
        on_exit(self.close)

    def _take(self):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.bytes = (self.bytes + os.read(self.master, 65536)).replace(b"\r\r\n", b"\r\n")  # the terminal adds one
            except OSError:
                return

    def screen(self):
        """The lines that stand there now: the drawing since the last time the cursor went home."""
        self.read()
        drawings = self.bytes.split(b"\x1b[H")
        text = drawings[-1].decode()
        return [re.sub(r"\x1b\[[K]", "", line) for line in text.replace("\x1b[J", "").split("\r\n")]

    def until(self, pattern, what=None):
        """The match, once a whole screen has it; the child must live."""
        def shown():
            if self.child.poll() is not None:
                raise RuntimeError(f"it ended: {self.child.stderr.read()}")
            self.read()
            whole = self.bytes.split(b"\x1b[H")[-2:-1]
            return whole and re.search(pattern, whole[0].decode().replace("\x1b[K", "").replace("\r\n", "\n"), re.M)
        return wait_for(shown, what=what or pattern)

    def key(self, data):
        os.write(self.master, data)

    def ended(self, what):
        status = self.child.wait(RUN_SECONDS)
        self.read()
        is_((status, self.bytes.startswith(ENTER), self.bytes.endswith(LEAVE)), (0, True, True), f"{what}: the shell has its screen back, exit 0")
        ok(termios.tcgetattr(self.slave) == self.modes, "and its modes")

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


def on_exit(function):
    import atexit
    atexit.register(function)


mail = temp_folder()
for user in "abc":
    write_files(mail / user, [b"Subject: %d\r\n\r\nbody %s\r\n" % (i, b"x" * 3000) for i in range(300)])
server = Pop3d(mail, "--no-lock", "--delay-ms", "5")
cask = Mailcask()
cask.add_server("s", server.port, server.ca, poll="1s")
cask.add_server("dead", free_port(), server.ca, poll="1s")
for user in "ab":
    cask.add_account(user, "s")
cask.add_account("c", "s", password="wrong")
cask.add_account("d", "dead")
tool = BUILD / "mailcask"
watch = [tool, "--archive", cask.archive, "status", "--watch"]


def refused():
    terminal = Terminal(*watch)
    is_((terminal.child.wait(RUN_SECONDS), terminal.read(), terminal.bytes), (2, None, b""), "no archive: exit 2, and no other screen")
    cask.init()
    result = run(watch)
    is_((result.status, result.out), (2, b""), "on a pipe: exit 2")
    like(result.err, "--watch needs a terminal; with --json it prints a line every two seconds", "and what to do instead")
    for option in (["--all"], ["--max-age", "1h"]):
        is_(run([*watch, *option]).status, 2, f"not with {option[0]}")


def view():
    terminal = Terminal(*watch)
    terminal.until(r"^service     none runs; waiting for it$", "the wait for a service")
    ok(True, "no service: it says so and waits")
    service = cask.start()
    terminal.until(r"^messages +[1-9]\d*\.\d/s +[1-9]\d*\.\d/s +[1-9]\d*$", "rates of messages")
    ok(True, "messages come in: their rate now and of the last minute")
    terminal.until(r"^received +\d.*B/s +\d.*B/s +\d+.* (kB|MB)$", "rates of bytes")
    terminal.until(r"^messages +0\.0/s +[1-9]\d*\.\d/s +600$", "the end of the mail")
    ok(True, "all is there: nothing now, something in the last minute")
    terminal.until(r"^accounts +4, (.* )?1 suspended.*; 1 with a problem; 2 never complete$", "accounts by state")
    shown = "\n".join(terminal.until(r"(?s).*\Z").group().split("\n"))
    like(shown, r"\nservers with a problem, the newest first\n  dead  127.0.0.1:\d+  0 of 16 sessions .*\n    .*refused", "a server with trouble, in words")
    like(shown, r"\naccounts with a problem, the newest first\n  c  suspended, .*\n    .*password is wrong", "and an account")
    like(shown, r"^memory .* of 512 MB.*\n(.*\n)*disk |^disk .* free.*\nmemory .* of ", "memory and disk")
    resized(terminal)
    service.stop()
    terminal.until(r"^service     none runs; waiting for it$", "the end of the service")
    service = cask.start()
    terminal.until(rf"^service     mailcaskd .*, process {service.pid}, ", "the next service")
    terminal.until(r"^messages +0\.0/s +0\.0/s +0$", "rates that begin anew")
    ok(True, "a service that stops is told, one that comes back is shown, with rates of its own")
    stopped(terminal)
    terminal.key(b"x")
    terminal.key(b"q")
    terminal.ended("q")
    return service


def resized(terminal):
    for rows, columns in ((8, 30), (1, 1), (3, 200)):
        terminal.resize(rows, columns)
        wait_for(lambda: len(terminal.screen()) == rows and not terminal.screen()[-1].endswith("\x1b"), what="a smaller drawing")
        ok(all(len(line) <= columns for line in terminal.screen()), f"{rows} lines of {columns} columns: no more is drawn")
    terminal.resize(40, 120)
    terminal.until(r"^memory ", "the whole again")


def stopped(terminal):
    terminal.read()
    before = len(terminal.bytes)
    terminal.key(b"\x1a")
    wait_for(lambda: pathlib.Path(f"/proc/{terminal.child.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T", what="Ctrl-Z")
    terminal.read()
    ok(terminal.bytes[before:].endswith(LEAVE) and termios.tcgetattr(terminal.slave) == terminal.modes, "Ctrl-Z: the shell has its screen meanwhile")
    before = len(terminal.bytes)
    terminal.child.send_signal(signal.SIGCONT)
    wait_for(lambda: terminal.read() or terminal.bytes[before:].startswith(ENTER + b"\x1b[H"), what="the view again")
    ok(True, "and it goes on")


def ended(service):
    for name, end in (("Ctrl-C", lambda t: t.key(b"\x03")), ("Ctrl-\\", lambda t: t.key(b"\x1c")),
                      ("SIGTERM", lambda t: t.child.terminate()), ("SIGHUP", lambda t: t.child.send_signal(signal.SIGHUP))):
        terminal = Terminal(*watch)
        terminal.until(r"^messages ")
        end(terminal)
        terminal.ended(name)
    service.child.send_signal(signal.SIGSTOP)
    terminal = Terminal(*watch)
    wait_for(lambda: terminal.read() or terminal.bytes == ENTER, what="the question")
    time.sleep(0.5)
    begin = time.time()
    terminal.key(b"\x03")
    terminal.ended("Ctrl-C while the service does not answer")
    ok(time.time() - begin < 10 * TIME_SCALE, f"without waiting for it ({time.time() - begin:.1f} s)")
    service.child.send_signal(signal.SIGCONT)


def lines(service):
    child = subprocess.Popen([str(a) for a in [*watch, "--json"]], stdout=subprocess.PIPE, text=True)
    looks = [json.loads(child.stdout.readline()) for _ in range(2)]
    is_([(o["service"]["pid"], len(o["accounts"]), o["no_answer"]) for o in looks], [(service.pid, 4, None)] * 2, "--json: a line for each look")
    ok(looks[0]["time"] < looks[1]["time"], "with its time")
    plain = cask.json("status")[0]
    is_({k: list(v) if isinstance(v, dict) else [list(o) for o in v] for k, v in looks[0].items() if k not in ("time", "no_answer")},
        {k: list(v) if isinstance(v, dict) else [list(o) for o in v] for k, v in plain.items()}, "as without --watch")
    service.stop()
    wait_for(lambda: (o := json.loads(child.stdout.readline()))["service"] is None and looks.append(o) is None, what="a line without a service")
    is_((looks[-1]["no_answer"], looks[-1]["accounts"]), ("none runs; waiting for it", []), "without a service, too")
    child.stdout.close()
    is_(child.wait(RUN_SECONDS), 4, "and it ends when nobody reads any more")


refused()
service = view()
ended(service)
lines(service)
done()
