"""What the tests of the quirks share (workers/POP3.md): a maildrop on a scripted server, and one TAP
line for each quirk, named as its function. A quirks_*.t file is functions q01_... and run_quirks()."""

from harness import *

USER = "u"


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def check(condition, text, shown=""):
    """Within a quirk: what must hold, in words; shown is printed if it does not."""
    if not condition:
        raise Failed(f"{text}\n{shorten(str(shown), 2000)}" if shown != "" else text)


def same(got, want, text):
    check(got == want, text, f"got:  {shorten(repr(got))}\nwant: {shorten(repr(want))}")


def run_quirks(names, only=re.compile(os.environ.get("ONLY", ""))):
    """Each function q... of a module's globals(), in their order; ONLY is a pattern of names."""
    for name, function in list(names.items()):
        if not re.match(r"q\d\d_|limit_", name) or not only.search(name):
            continue
        try:
            function()
            ok(True, name)
        except Skipped as reason:
            skip(name, reason)
        except (Failed, TimeoutError, RuntimeError) as failure:
            ok(False, name)
            diag(failure)
    done()


def message(i, body=b"body\r\n"):
    return b"Subject: %d\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\n\r\n%s" % (i, body)


def messages(count):
    return [message(i) for i in range(1, count + 1)]


class Maildrop:
    """One account of one server. content: its messages; script, options: tests/pop3d's; settings: of
    the [server] section; account: of the [account] section; deletes: [archive]'s."""

    def __init__(self, content, *options, script=None, account=None, certificate=None, ca=None,
                 deletes="off", **settings):
        self.mail = temp_folder()
        write_files(self.mail / USER, content)
        self.account = account or {}
        self.settings = settings
        self.cask = Mailcask(deletes=deletes)
        self.cask.init()
        self.serve(*options, script=script, certificate=certificate, ca=ca)

    def serve(self, *options, script=None, certificate=None, ca=None, **settings):
        """Another server with the same messages takes the place of the one so far: the same port."""
        if hasattr(self, "server"):
            self.server.stop()
        else:
            self.port = free_port()
        options = ("--listen", f"127.0.0.1:{self.port}", *options)
        self.server = Pop3d(self.mail, *options, script=script, certificate=certificate, ca=ca)
        self.settings.update(settings)
        self.configure()

    def configure(self):
        self.cask.add_server("s", self.server.port, self.server.ca, **self.settings)
        self.cask.add_account("a", "s", user=USER, **self.account)

    def fill(self, content):
        """These are the messages from now on."""
        shutil.rmtree(self.mail / USER)
        write_files(self.mail / USER, content)

    def once(self, status=0):
        """One pass that ends so (None: somehow); what it said on standard error."""
        result = self.cask.once()
        check(status is None or result.status == status, f"exit status {status}", result)
        self.out, self.err = result.out.decode(), result.err.decode()
        return self.err

    def archived(self):
        """The messages in the archive, in the order of N."""
        to = self.cask.folder / "restored"
        shutil.rmtree(to, ignore_errors=True)
        result = self.cask.restore(f"eml:{to}", "--account", "a")
        check(result.status == 0, "what is archived can be restored", result)
        return read_eml(to)

    def holds(self, want, text="all is archived, bit for bit"):
        got = self.archived()
        check(hashes(got) == hashes(want), text,
              f"got:  {shorten(repr(got), 900)}\nwant: {shorten(repr(want), 900)}")
        sound = self.cask.tool("verify")
        check(sound.status == 0, "the archive is sound", sound)

    def entries(self, kind):
        return [e for e in self.cask.json("ledger", "--account", "a") if e["type"] == kind]

    def sessions(self):
        return self.entries("session")

    def put_aside(self):
        return [e["uidl"] for e in self.entries("quarantine")]

    def retrieved(self):
        """How often each file went out whole."""
        return self.server.served(USER)

    def asked(self, command):
        """How often a command was sent, in all sessions that have ended."""
        found = re.findall(rf" {command}=(\d+)", "\n".join(self.server.log("session")))
        return sum(map(int, found))

    def counted(self, **want):
        """The last session's counts and words in the ledger."""
        session = self.sessions()[-1]
        got = {k: session[k] for k in want}
        check(got == want, "the ledger tells of it", f"got:  {got}\nwant: {want}\n{session}")
