#!/usr/bin/env python3
"""The log: keys and values, levels, the journal's priorities, the wire trace; a pass over a thousand accounts fits
on two screens and still names each that failed, and why."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

MESSAGES = [b"Subject: %d\r\n\r\nthe text of message %d\r\n" % (i, i) for i in range(12)]
SECRET = 'ge"heim = \\ 7'  # what it is made of is special in the log, too
SCREEN_LINES = 50
PASS_ACCOUNTS = 1000
ESCAPE = '"+OK \\x1b[2J\\x9b welcome\\xe2\\x80\\xae\\r\\n"'

mail = temp_folder()
write_files(mail / "u", MESSAGES)
(mail / "u.password").write_text(SECRET + "\n")
certificates = Certificates()


def server_of(folder, *options, script=None):
    return Pop3d(folder, "--no-lock", *options, certificate=certificates.good, ca=certificates.ca, script=script)


def mailcask(server, **settings):
    cask = Mailcask(**settings)
    cask.add_server("s", server.port, server.ca, poll="1s")
    cask.add_account("u@x", "s", user="u", password=SECRET)
    cask.init()
    return cask


def forms():
    """Level by level: what a pass and a service say."""
    cask = mailcask(server_of(mail, script='on RETR 3 reply "-ERR \\x1b[31m= \\"no\\" \\\\"\n'))
    events = log_events(cask.once().err.decode())
    is_([e["msg"] for e in events], ["mailcaskd has started", "the account failed"], "a pass: the start, and what failed")
    is_({k: events[-1].get(k) for k in ("level", "account", "server", "session")},
        {"level": "warning", "account": "u@x", "server": "s", "session": "1"}, "whose, and in which session")
    like(events[-1]["error"], "refused to give 1 of the messages", "and why")
    is_(cask.once("--log-level=error").err, b"", "errors only: nothing")
    told = log_events(cask.once("--log-level", "debug").err.decode())
    is_([e["msg"] for e in told if e["level"] == "debug"], ["session ended"], "debug: each session")
    is_({e["session"] for e in told if "session" in e}, {"1"}, "all lines of a session have its number")
    is_(cask.once("--log-level=loud").status, 2, "there are four levels")

    service = cask.start()
    wait_for(lambda: len(cask.json("ledger", "--account", "u@x")) > 5, what="some sessions")
    cask.settings["log-level"] = "debug"
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: "session ended" in service.output(), what="a session that is told")
    is_(service.stop(), 0, "the service stops")
    events = log_events(service.output())
    is_([e["msg"] for e in events if e.get("account")][0], "the account failed", "a service says it once,")
    is_(len([e for e in events if e["msg"] == "the account failed"]), 1, "not with each try")
    is_((events[0]["msg"], events[-1]["msg"]), ("mailcaskd has started", "mailcaskd has stopped"), "from start to end")


def journal():
    cask = mailcask(server_of(mail))
    with open(cask.folder / "stream", "w+b") as stream:
        status = os.fstat(stream.fileno())
        child = subprocess.run([str(a) for a in cask.once_arguments("--log-level=debug")], stderr=stream,
                               stdout=subprocess.DEVNULL, timeout=RUN_SECONDS * TIME_SCALE,
                               env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        stream.seek(0)
        lines = stream.read().decode().splitlines()
    is_(child.returncode, 0, "a pass whose standard error is the journal's")
    is_([l[:3] for l in lines], ["<6>", "<7>"], "each line has its priority") or diag("\n".join(lines))
    result = run(cask.once_arguments(), env={"JOURNAL_STREAM": "1:2"})
    ok(result.err.startswith(b"level="), "which no other stream gets")


def wire(events):
    return [e["line"] for e in events if e["msg"] == "wire"]


def hides_secrets(text, name):
    plain = base64.b64encode(b"\0u\0" + SECRET.encode()).decode()
    ok("geheim" not in text.replace('"', "").replace("\\", "") and plain not in text and plain[:12] not in text,
       f"{name}: without the password") or diag(text)
    ok("text of message" not in text, f"{name}: and without mail")
    ok(not re.search(r"[^\n\x20-\x7e]", text), f"{name}: in plain characters")


def trace():
    for name, options, login in (("AUTH", (), ["C: AUTH PLAIN", "C: (the credentials, left out)"]),
                                 ("PASS", ("--no-capa", "SASL"), ["C: USER u", "C: PASS (left out)"])):
        cask = mailcask(server_of(mail, *options, script=f"on GREETING raw {ESCAPE}\n"))
        result = cask.once("--account", "u@x", "--trace")
        is_(result.status, 0, f"{name}: a traced pass")
        events = log_events(result.err.decode())
        said = wire(events)
        is_([l for l in said if l in login], login, f"{name}: the login") or diag("\n".join(said))
        ok(said[0].startswith("* connected to 127.0.0.1:") and said[1].startswith("* TLSv1.") and
           said[2].startswith("S: +OK \\x1b[2J"), f"{name}: from the connection on") or diag("\n".join(said[:4]))
        is_((said[-2], said[-1][:6]), ("C: QUIT", "S: +OK"), f"{name}: to the end")
        ok("S: (6 more lines)" in said and "S: (37 bytes of a message)" in said, f"{name}: what is long is summed up") \
            or diag("\n".join(said))
        is_({(e["account"], e["session"]) for e in events if e["msg"] == "wire"}, {("u@x", "1")},
            f"{name}: each line says whose it is")
        hides_secrets(result.err.decode(), name)
    is_(cask.once("--trace").status, 2, "--trace is for a few accounts")


def trace_in_service():
    """Switched on and off by a reload, with two accounts of which one is traced."""
    cask = mailcask(server_of(mail))
    write_files(mail / "v", MESSAGES)
    cask.add_account("v@x", "s", user="v")
    service = cask.start()
    wait_for(lambda: service.output().count("mail archived") == 2, what="both")
    ok('msg=wire' not in service.output(), "nothing is traced unasked")
    cask.accounts["u@x"]["trace"] = "yes"
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: "C: QUIT" in service.output(), what="a traced session")
    cask.accounts["u@x"]["trace"] = "no"
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: service.output().count("configuration read again") == 2, what="the reload")
    is_(service.stop(), 0, "the service stops")
    is_({e["account"] for e in log_events(service.output()) if e["msg"] == "wire"}, {"u@x"}, "one account is traced")
    hides_secrets(service.output(), "service")


def a_thousand():
    """Five in a hundred fail, each kind for another cause."""
    folder = temp_folder(in_memory=True)
    causes = {}
    cask = Mailcask()

    def add(server, prefix, count, cause, **settings):
        for i in range(count):
            name = f"{prefix}{i:03}@{server}.example"
            cask.add_account(name, server, user=f"{prefix}{i:03}", **settings)
            if settings.get("password") != "wrong" and server != "dead":
                write_files(folder / f"{prefix}{i:03}", [b"Subject: x\r\n\r\n%d\r\n" % i])
            if cause:
                causes[name] = cause
    good = server_of(folder)
    # A server whose words differ from one refusal to the next.
    busy = server_of(folder, "--no-capa", "SASL", script="".join(
        f'user busy{i:03} on PASS reply "-ERR [IN-USE] busy{i:03} is locked by process {i * 7919}"\n' for i in range(12)) +
        'user half* on RETR reply "-ERR not now"\n')
    cask.add_server("good", good.port, good.ca)
    cask.add_server("busy", busy.port, busy.ca)
    cask.add_server("dead", free_port(), good.ca)
    add("good", "wrong", 20, "password is wrong", password="wrong")
    add("busy", "busy", 12, "in use by another program")
    add("busy", "half", 2, "refused to give 1 of the messages")
    add("dead", "dead", 8, "was refused: is the port right")
    add("good", "file", 8, "No such file", password_file="missing-%u")
    for name in cask.accounts:
        if "password_file" in cask.accounts[name]:
            del cask.accounts[name]["password"]
    add("good", "fine", PASS_ACCOUNTS - len(causes), None)
    is_(len(causes), PASS_ACCOUNTS // 20, "five in a hundred are to fail")
    cask.init()
    result = cask.once(timeout=400)
    like(result.out, r"^950 of 1,000 accounts complete, 950 messages archived", "the others are archived") \
        or diag(result.err.decode())
    lines = result.err.decode().splitlines()
    ok(len(lines) <= 2 * SCREEN_LINES and max(map(len, lines)) < 2000, f"the log: {len(lines)} lines, not long ones") or \
        diag(result.err.decode())
    why = {}
    for e in log_events(result.err.decode()):
        for name in filter(None, [e.get("account"), *e.get("names", "").split(", ")]):
            why.setdefault(name, []).append(e["error"])
    is_(sorted(why), sorted(causes), "it names each failed account")
    is_([n for n, errors in why.items() if len(errors) != 1 or causes[n] not in errors[0]], [], "once, with its cause")


forms()
journal()
trace()
trace_in_service()
a_thousand()
done()
