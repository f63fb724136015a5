#!/usr/bin/env python3
"""The test server itself: correct POP3 by default, and each word of its script language."""

import poplib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

MESSAGES = [
    b"From: a@cask.example\r\nSubject: dots\r\n\r\n.one\r\n..two\r\n.\r\n...\r\nend\r\n",
    b"Subject: bare LF\n\nline\n.\nno end",
    b"Subject: third\r\n\r\n" + b"x" * 200_000 + b"\r\n.",
]
WIRE = [wire_bytes(m) for m in MESSAGES]
LONG = b"Subject: long\r\n\r\n" + b".0123456789abcdef\r\n" * 20_000

mail = temp_folder()
write_files(mail / "bob", MESSAGES)
write_files(mail / "eve", [LONG])
write_files(mail / "tom", MESSAGES)
(mail / "eve.password").write_text("other\n")


def client(server, user="bob", password=PASSWORD, **arguments):
    return Pop3Client(server.port, server.ca, **arguments).login(user, password)


def refused(function, *arguments):
    try:
        function(*arguments)
    except (Pop3Error, poplib.error_proto) as error:
        return str(error)
    return None


def scripted(script, *options, user="bob"):
    """A server with this script, and a client that is logged in."""
    server = Pop3d(mail, "--read-only", *options, script=script)
    return client(server, user)


def check_correct():
    server = Pop3d(mail, "--listen", "127.0.0.1:0", "--listen", "[::1]:0")
    is_(fetch_all(server.port, "bob", ca=server.ca), WIRE, "RETR gives the files, CRLF line ends")
    paths = fetch_curl(server.port, "bob", temp_folder(), ca=server.ca)
    is_(hashes(paths), hashes(WIRE), "curl gets the same")
    is_(server.served("bob"), {"0001": 2, "0002": 2, "0003": 2}, "the log says what was served")
    session = server.log("session")[0]
    like(session, r" commands=7 .* end=quit .* STAT=1 RETR=3 QUIT=1", "and what a session did")

    context = ssl.create_default_context(cafile=server.ca)
    pop = poplib.POP3_SSL("localhost", server.port, context=context)
    is_(sorted(pop.capa()), ["AUTH-RESP-CODE", "PIPELINING", "RESP-CODES", "SASL", "TOP", "UIDL",
                             "USER", "UTF8"], "CAPA")
    like(refused(pop.stat), "state", "no STAT before the login")
    pop.user("bob")
    pop.pass_(PASSWORD)
    is_(pop.stat(), (3, sum(map(len, WIRE))), "STAT counts octets as sent")
    is_(pop.list()[1], [b"%d %d" % (i, len(w)) for i, w in enumerate(WIRE, 1)], "LIST")
    is_(pop.uidl()[1], [b"1 0001", b"2 0002", b"3 0003"], "UIDL is the file's name")
    is_(pop.uidl(2), b"+OK 2 0002", "UIDL of one")
    is_(pop.top(1, 1)[1], [b"From: a@cask.example", b"Subject: dots", b"", b".one"], "TOP")
    like(refused(pop.retr, 4), "no such message", "RETR of a number there is not")
    busy = Pop3Client(server.port, server.ca)
    like(refused(busy.login, "bob"), r"\[IN-USE\]", "a mailbox is locked while it is open")
    pop.quit()

    six = Pop3Client(server.ports[1], server.ca, host="::1")
    like(refused(six.login, "bob", "wrong"), r"\[AUTH\]", "IPv6; a wrong password")
    six.auth_plain("eve", "other")
    is_(six.retr(1), LONG, "SASL PLAIN, a password file, IPv6")
    six.quit()
    like(refused(Pop3Client(server.port, server.ca).login, "../bob"), "AUTH", "no path as a user")
    is_(server.stop(), 0, "SIGTERM: exit 0")


def check_pipelining():
    server = Pop3d(mail)
    with client(server) as pop:
        pop.send("STAT", "UIDL", "LIST", "RETR 1", "RETR 3", "NOOP", "QUIT")
        is_(pop.rest().count(b"+OK"), 7, "seven commands in one write, seven replies")
    like(server.wait_log("^session bob")[0], " commands=9 reads=3 ", "read at once")
    server.stop()


def check_deletion():
    write_files(mail / "del", MESSAGES)
    server = Pop3d(mail)
    with client(server, "del") as pop:
        pop.command("DELE 2")
        is_(pop.stat()[0], 2, "a deleted message is not counted")
        is_(sorted(pop.listing("UIDL")), [1, 3], "nor listed")
        pop.command("RSET")
        pop.command("DELE 1")
        pop.quit()
    is_(sorted(os.listdir(mail / "del")), ["0002", "0003"], "QUIT deletes what RSET left")
    with client(server, "del") as pop:
        pop.command("DELE 1")
    server.wait_log("^session del .* end=client")
    is_(len(os.listdir(mail / "del")), 2, "without QUIT nothing is deleted")
    is_(len(server.log("deleted")), 1, "the log names it")
    server.stop()
    reader = Pop3d(mail, "--read-only")
    with client(reader, "del") as pop:
        pop.command("DELE 1")
        pop.quit()
    is_(len(os.listdir(mail / "del")), 2, "--read-only")
    reader.stop()


def delete_in_session(server, user, *numbers):
    """DELE, each accepted, then QUIT: its answer, b"" where it was lost."""
    with client(server, user) as pop:
        for number in numbers:
            pop.command(f"DELE {number}")
        pop.send("QUIT")
        return pop.rest()


def check_deletion_faults():
    bodies = [b"Subject: %d\r\n\r\nsame size\r\n" % i for i in range(4)]
    for user in ("err", "hide", "idle", "part", "lost", "gone", "reuse"):
        write_files(mail / user, bodies)
    server = Pop3d(mail, script='''
        user err on DELE 2 reply "-ERR [SYS/PERM] read only"
        user hide on DELE 2 pretend
        user idle on QUIT pretend
        user part on DELE 1 pretend
        user part on QUIT reply "-ERR some deleted messages not removed" anyway
        user lost on QUIT close
        user gone on QUIT close anyway
        user reuse on LOGIN session 2- uidl 1 "0001"
    ''')

    def left(user):
        server.wait_log(f"^session {user} ")
        return sorted(os.listdir(mail / user))

    with client(server, "err") as pop:
        like(refused(pop.command, "DELE 2"), "read only", "DELE is refused")
        pop.command("DELE 1")
        pop.quit()
    is_(left("err"), ["0002", "0003", "0004"], "and only that one stays")
    is_(delete_in_session(server, "hide", 1, 2), b"+OK bye\r\n", "DELE pretends")
    is_(left("hide"), ["0002", "0003", "0004"], "and the message is back in the next session")
    is_(delete_in_session(server, "idle", 1, 2), b"+OK bye\r\n", "QUIT pretends")
    is_(len(left("idle")), 4, "and deletes nothing")
    like(delete_in_session(server, "part", 1, 2).decode(), "-ERR some", "QUIT is refused")
    is_(left("part"), ["0001", "0003", "0004"], "and has deleted a part")
    is_(delete_in_session(server, "lost", 1, 2), b"", "QUIT is lost")
    is_(len(left("lost")), 4, "and deletes nothing")
    is_(delete_in_session(server, "gone", 1, 2), b"", "the reply to QUIT is lost")
    is_(left("gone"), ["0003", "0004"], "after it has deleted")
    delete_in_session(server, "reuse", 1)
    with client(server, "reuse") as pop:
        is_(pop.listing("UIDL")[1], "0001", "a UIDL is used again")
        is_(pop.listing("LIST")[1], str(len(bodies[1])), "for a message of the same size")
        is_(pop.retr(1), bodies[1], "which is another one")
    server.stop()


def check_options():
    server = Pop3d(mail, "--tls", "starttls", "--late-capa", "PIPELINING", "--no-capa", "UIDL",
                   "--login-delay", "900", "--expire", "NEVER", "--no-lock", "--tls-max", "1.2")
    pop = Pop3Client(server.port, server.ca, tls="none")
    is_(b"STLS" in pop.multi("CAPA"), True, "STLS is announced in clear")
    pop.send("STLS", "CAPA")
    pop.status()
    pop.start_tls()
    capa = pop.multi("CAPA").split(b"\r\n")
    is_(b"STLS" in capa or b"PIPELINING" in capa or b"UIDL" in capa, False, "not announced")
    is_(b"EXPIRE NEVER" in capa and b"LOGIN-DELAY 900" in capa, True, "EXPIRE and LOGIN-DELAY")
    pop.login("bob")
    is_(b"PIPELINING" in pop.multi("CAPA"), True, "announced after the login")
    is_(len(pop.listing("UIDL")), 3, "hidden, but it works")
    is_(pop.socket.version(), "TLSv1.2", "--tls-max")
    is_(len(server.log("stls-discarded")), 1, "what came behind STLS in clear is dropped")
    again = Pop3Client(server.port, server.ca, tls="stls")
    like(refused(again.login, "bob"), r"\[LOGIN-DELAY\]", "LOGIN-DELAY is enforced")
    server.stop()

    server = Pop3d(mail, "--line-ends", "asis", "--uidl", "random-per-session", "--no-lock",
                   "--read-only")
    with client(server) as one, client(server) as two:
        is_(one.retr(2), MESSAGES[1] + b"\r\n", "--line-ends asis keeps bare LF")
        is_(one.listing("UIDL")[1] != two.listing("UIDL")[1], True, "random-per-session, --no-lock")
    server.stop()

    for option, value in (("--tls", "no"), ("--listen", "nowhere"), ("--no-capa", "X")):
        result = run([BUILD / "tests/pop3d", option, value, mail])
        is_(result.status in (1, 2) and value.encode() in result.err, True, f"bad {option}")


def check_certificates():
    made = Certificates()
    for name, certificate, error in (
            ("good", made.good, None), ("expired", made.expired(), "expired"),
            ("wrong name", made.wrong_name(), "not valid for|mismatch"),
            ("self-signed", made.self_signed(), "self.signed")):
        server = Pop3d(mail, certificate=certificate, ca=made.ca)
        try:
            Pop3Client(server.port, made.ca).quit()
            got = None
        except ssl.SSLCertVerificationError as failure:
            got = str(failure)
        if error is None:
            is_(got, None, f"{name} certificate")
        else:
            like(got or "accepted", error, f"{name} certificate")
        server.stop()


def check_pace():
    server = Pop3d(mail, "--throttle", "1000000", "--delay-ms", "30", "--read-only")
    with client(server, "eve", "other") as pop:
        start = time.monotonic()
        is_(pop.retr(1), LONG, "all of it, throttled")
        is_(0.3 < time.monotonic() - start < 60, True, "360 kB at 1 MB/s")
        start = time.monotonic()
        pop.send("NOOP", "NOOP", "NOOP", "NOOP")
        for _ in range(4):
            pop.status()
        is_(time.monotonic() - start > 0.1, True, "--delay-ms")
    server.stop()


def check_script_text():
    pop = scripted('''
        # a comment
        on CAPA times 1 reply "-ERR none" # another
        on STAT reply "+OK 9 99"
        on LIST all raw "+OK\\r\\n1 \\x35\\r\\n.\\r\\n"
        on RETR 1 status "+ok"
        on RETR 2 body ".a\\n\\0b"
        on UIDL all entry 1 "%n  %u-%f " omit 2 extra "9 nine" reverse
        on NOOP before "x" after "-ERR surplus\\r\\n"
        on TOP 1 repeat 3 "%n;"
        on TOP 2 truncate 7
    ''')
    like(refused(pop.multi, "CAPA"), "none", "reply, times 1")
    is_(b"USER" in pop.multi("CAPA"), True, "then as usual")
    is_(pop.stat(), (9, 99), "reply")
    is_(pop.multi("LIST"), b"1 5\r\n", "raw, and an escape")
    pop.send("RETR 1")
    is_(pop.line(), b"+ok", "status")
    is_(pop.content(), WIRE[0], "and the content stays")
    is_(pop.retr(2), b".a\r\n\0b\r\n", "body")
    is_(pop.multi("UIDL"), b"3 0003\r\n1  0001-0001 \r\n9 nine\r\n", "entry, omit, extra, reverse")
    pop.send("NOOP")
    is_([pop.line(), pop.line()], [b"x+OK", b"-ERR surplus"], "before, after")
    is_(pop.multi("TOP 1 0")[-8:], b"1;2;3;\r\n", "repeat")
    is_(pop.multi("TOP 2 0"), b"Subject\r\n", "truncate")


def raw_reply(script, command="RETR 1", size=None, *options, user="bob"):
    """The bytes after the command until the server closes, or so many."""
    with scripted(script, *options, user=user) as pop:
        pop.send(command)
        if size is None:
            return pop.rest()
        while len(pop.pending) < size:
            pop._more()
        return bytes(pop.pending)


def check_script_bodies():
    head = b"+OK %d octets\r\n" % len(WIRE[0])
    is_(raw_reply("on RETR 1 unstuffed then close"), head + WIRE[0] + b".\r\n", "unstuffed")
    stuffed = re.sub(rb"(?m)^\.", b"..", WIRE[0])
    is_(raw_reply("on RETR 1 lone-dot then close"),
        head + stuffed.replace(b"\n..\r", b"\n.\r") + b".\r\n", "lone-dot")
    is_(raw_reply('on RETR body ".a\\r\\n.b\\r\\n" unstuffed-first then close'),
        head + b".a\r\n..b\r\n.\r\n", "unstuffed-first")
    is_(raw_reply("on RETR 1 no-terminator then close"), head + stuffed, "no-terminator")
    is_(raw_reply('on RETR body "a" no-final-crlf then close'), head + b"a.\r\n", "no-final-crlf")
    is_(raw_reply("on RETR 1 lf then close"), (head + stuffed + b".\r\n").replace(b"\r\n", b"\n"),
        "lf")
    long_lf = raw_reply("on RETR 3 lf then close", "RETR 3")
    is_(sha256(long_lf), sha256(b"+OK %d octets\n" % len(WIRE[2]) +
                                WIRE[2].replace(b"\r\n", b"\n")[:-2] + b"..\n.\n"), "lf, in pieces")
    is_(raw_reply("on RETR close-after 20"), (head + stuffed)[:20], "close-after")
    is_(raw_reply('on RETR raw "+OK" endless "y"', "RETR 1", 100_000)[:10], b"+OKyyyyyyy", "endless")
    is_(raw_reply('on RETR 1 close'), b"", "close")
    is_(raw_reply("on RETR 1 ignore\non NOOP then close", "RETR 1\r\nNOOP"), b"+OK\r\n", "ignore")
    is_(raw_reply("on RETR 1 discard-input\non NOOP then close",
                  "RETR 1\r\nSTAT\r\nSTAT", len(head + stuffed) + 3),
        head + stuffed + b".\r\n", "discard-input")
    start = time.monotonic()
    is_(raw_reply("on RETR 1 drip 10 5 hang-after 60", "RETR 1", 60), (head + stuffed)[:60], "drip")
    is_(time.monotonic() - start > 0.1, True, "takes its time")


def check_script_ends():
    with scripted("on NOOP shutdown") as pop:
        pop.send("NOOP")
        is_(pop.socket.recv(9), b"", "shutdown sends close_notify")
    with scripted("on NOOP close") as pop:
        pop.send("NOOP")
        try:
            pop.socket.recv(9)
            got = None
        except ssl.SSLError as error:  # SSLEOFError in some versions of Python
            got = str(error)
        like(got or "clean end", "EOF", "close does not")
    # Python's ssl shows a reset as an end, so in clear.
    server = Pop3d(mail, "--tls", "none", script="on NOOP reset")
    with client(server, tls="none") as pop:
        pop.send("NOOP")
        try:
            pop.socket.recv(9)
            got = "end"
        except ConnectionResetError:
            got = "reset"
        is_(got, "reset", "reset")
    with scripted("on NOOP hang") as pop:
        pop.send("NOOP", "STAT")
        pop.socket.settimeout(0.2)
        try:
            got = pop.line()
        except TimeoutError:
            got = None
        is_(got, None, "hang")


def check_script_login():
    server = Pop3d(mail, script='''
        on CONNECT connection 2 close
        on GREETING connection 3 reply "-ERR busy" then close
        user tom on PASS times 1 reply "-ERR [IN-USE] locked"
        user b* on LOGIN session 1 show-last 2 uidl "s%n" uidl 9 "z"
        user bob on LOGIN session 2 show-first 0
        user tom on QUIT session 1 pretend
        user tom on QUIT session 2 close anyway
        user tom on RETR name 0002 delete
        on AUTH times 1 raw "+ AAAA\\r\\n"
        on SASL times 1 raw "+ BBBB\\r\\n"
        on UTF8 when tls reply "-ERR not here"
    ''')
    with client(server) as pop:
        is_(pop.listing("UIDL"), {1: "s1", 2: "s2"}, "show-last, uidl")
        is_(pop.retr(2), WIRE[2], "numbered anew")
        pop.quit()
    try:
        Pop3Client(server.port, server.ca)
        got = "greeting"
    except (OSError, Pop3Error):
        got = "closed"
    is_(got, "closed", "CONNECT close, of the second connection")
    with Pop3Client(server.port, server.ca) as pop:
        is_(pop.greeting, b"-ERR busy", "GREETING, of the third")
    with client(server) as pop:
        is_(pop.stat(), (0, 0), "show-first 0, in the second session")
        pop.quit()
    with Pop3Client(server.port, server.ca) as pop:
        like(refused(pop.command, "UTF8"), "not here", "when tls")
        like(refused(pop.login, "tom"), "IN-USE", "PASS of one user")
        pop.login("tom")
        pop.command("DELE 1")
        pop.quit()
    is_(len(os.listdir(mail / "tom")), 3, "QUIT pretends")
    with client(server, "tom") as pop:
        pop.command("DELE 1")
        pop.retr(2)
        pop.send("QUIT")
        is_(pop.rest(), b"", "QUIT without its reply")
    is_(os.listdir(mail / "tom"), ["0003"], "deleted anyway, and RETR that deletes")
    with Pop3Client(server.port, server.ca) as pop:
        pop.send("AUTH PLAIN", "x")
        is_([pop.line(), pop.line()], [b"+ AAAA", b"+ BBBB"], "SASL challenges")
        pop.command(base64.b64encode(b"\0bob\0secret"))
        is_(pop.stat()[0], 3, "and then the login")
    server.stop()


def check_script_errors():
    folder = temp_folder()
    for text, error in (("on RETR 3", "something to do"), ("close", "on EVENT"),
                        ("\n\non NOPE close", ":3: unknown event: NOPE"),
                        ("on RETR bend", "unknown word: bend"), ('on RETR reply "x', "quotation"),
                        ('on RETR reply "\\q"', "escape"), ("on RETR delay soon", "number"),
                        ("on RETR then leave", "after `then`"), ("on RETR omit x", "range"),
                        ('on RETR reply "\\x4"', "hexadecimal"), ("on NOOP when dry close", "when")):
        (folder / "script").write_text(text)
        result = run([BUILD / "tests/pop3d", "--script", folder / "script", mail])
        is_(result.status, 1, f"refused: {text!r}")
        like(result.err, error, "and said why")


def check_many_sessions():
    write_files(mail / "many", [LONG])
    server = Pop3d(mail, "--no-lock", "--read-only")
    start = server.memory_kib()
    sessions = [client(server, "many") for _ in range(100)]
    each = (server.memory_kib() - start) / len(sessions)
    diag(f"{each:.1f} KiB a session, {server.memory_kib()} KiB in all")
    is_("asan" in str(BUILD) or "tsan" in str(BUILD) or each < 80, True, "an idle session is small")
    for pop in sessions:
        pop.send("RETR 1")
    is_(all(pop.status() and pop.content() == LONG for pop in sessions), True, "all are served")
    server.stop()


check_correct()
check_pipelining()
check_deletion()
check_deletion_faults()
check_options()
check_certificates()
check_pace()
check_script_text()
check_script_bodies()
check_script_ends()
check_script_login()
check_script_errors()
check_many_sessions()
done()
