#!/usr/bin/env python3
"""Quirks of refusals and throttles, Q38 to Q47 of workers/POP3.md: what is said, when it is tried again,
and by whom. How long a pause lasts exactly is tested in tests/unit/test_scheduler*.c; here a service with
poll = 1s shows that it keeps to one at all."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from quirks import *

MESSAGES = messages(5)
ONCE_EACH = {f"{i:04}": 1 for i in range(1, 6)}
# A service that did not hold back would have polled several times.
PATIENCE_S = 3
EAGER = {"poll": "1s"}


def refuse_login(reply, session="*"):
    """Whatever way the client logs in. Refused logins are not counted as sessions: times are."""
    return f'on SASL {session} reply "{reply}"\non PASS {session} reply "{reply}"\n'


def attempts(box):
    """Connections so far."""
    return len(box.server.log("connect"))


def service_tries(*boxes):
    """How often a service with poll = 1s connects to each in a while."""
    before = [len(box.server.log("session")) for box in boxes]
    services = [box.cask.start() for box in boxes]
    for box, count in zip(boxes, before):
        box.server.wait_log(r"^session ", count + 1)
    time.sleep(PATIENCE_S)
    for service in services:
        check(service.stop() == 0, "the service stops in order", service.output())
    return [attempts(box) for box in boxes]


def q38_mailbox_in_use():
    for reply in ("-ERR [IN-USE] busy", "-ERR Unable to lock maildrop"):
        box = Maildrop(MESSAGES, script=refuse_login(reply, "times 1"), account=EAGER)
        said = box.once(status=1)
        check("in use by another program" in said, "no failure of the login", said)
        box.once()
        box.holds(MESSAGES)
    box = Maildrop(MESSAGES, script=refuse_login("-ERR [IN-USE] busy", ""), account=EAGER)
    same(service_tries(box), [1], "a service waits a minute at least")


def q39_login_delay():
    box = Maildrop(MESSAGES, "--login-delay", "600", account=EAGER)
    box.once()
    said = box.once(status=1)
    check("600 s announced" in said, "the announced time is told", said)
    fresh = Maildrop(MESSAGES, "--login-delay", "600", account=EAGER)
    same(service_tries(fresh), [1], "a service keeps to what is announced, and is not refused")
    same(len(fresh.server.log("login-failed")), 0, "no login was refused")
    fresh.holds(MESSAGES)


def q40_codes_of_refusals():
    words = {"-ERR [SYS/TEMP] overloaded": "temporary fault", "-ERR [SYS/PERM] closed account": "for good",
             "-ERR [AUTH] no": "user or password is wrong", "-ERR no": "without saying why"}
    for reply, sentence in words.items():
        box = Maildrop(MESSAGES, script=refuse_login(reply, "times 1"), account=EAGER)
        said = box.once(status=1)
        check(sentence in said, f"{reply}: what it means is said", said)
        check(PASSWORD not in said, "without the password", said)
        box.once()
        box.holds(MESSAGES)
    boxes = [Maildrop(MESSAGES, script=refuse_login(reply, ""), account=EAGER) for reply in words]
    same(service_tries(*boxes), [1] * len(words), "a service does not hammer, whatever the code")


def q41_an_err_nobody_asked_for():
    """The -ERR before a close is no answer to the RETR that it met."""
    box = Maildrop(MESSAGES, script='session 1 on RETR 3 reply "-ERR session limit" then close')
    said = box.once(status=1)
    check("session limit" in said, "its words are passed on", said)
    box.holds(MESSAGES[:2], "what was whole is archived")
    box.counted(refused=0)
    box.once()
    box.holds(MESSAGES)


def q42_closed_after_the_password():
    box = Maildrop(MESSAGES, script="on SASL times 1 close\non PASS times 1 close", account=EAGER)
    said = box.once(status=1)
    check(re.search("uncertain|whether", said), "the login is uncertain, neither good nor bad", said)
    box.once()
    box.holds(MESSAGES)
    eager = Maildrop(MESSAGES, script="on SASL close\non PASS close", account=EAGER)
    same(service_tries(eager), [1], "a service backs off")


def q43_a_cap_on_what_a_session_may_fetch():
    many = messages(100)
    box = Maildrop(many, script='session 1 on RETR 6- reply "-ERR download limit exceeded"')
    said = box.once(status=1)
    check("download limit exceeded" in said, "its words are passed on", said)
    box.holds(many[:5], "what came is archived")
    same(box.asked("QUIT"), 1, "the session is left in order")
    check(box.asked("RETR") < 100, "before all were asked for", box.server.log("session"))
    box.once()
    box.holds(many)


def q44_a_part_of_the_mailbox():
    box = Maildrop(MESSAGES, script="session 1 on LOGIN show-first 3\nsession 2 on LOGIN show-last 3")
    box.once()
    box.holds(MESSAGES[:3], "what is shown")
    box.once()
    box.holds(MESSAGES, "absent is not deleted: nothing is lost or doubled")
    box.once()
    box.counted(listed=5, known=5, fetched=0)
    same(box.retrieved(), ONCE_EACH, "nor fetched again when all is shown")


def q44_one_part_after_the_other():
    """Gmail shows its oldest 250 to 300, and the next once these were fetched: one pass brings all."""
    many = messages(620)
    script = "".join(f"session {i} on LOGIN show-first {n}\n" for i, n in ((1, 250), (2, 500)))
    box = Maildrop(many, script=script)
    box.once()
    box.holds(many, "sessions are repeated until nothing new comes")
    same(max(box.retrieved().values()), 1, "each is fetched once")


def age_marks(box, quarters):
    """The day passes."""
    path = box.cask.archive / "state" / "marks"
    lines = [l.split(" ") for l in path.read_text().splitlines()]
    for words in lines:
        if words[0] == "day":
            words[2] = str(int(words[2]) - quarters)
    path.write_text("".join(" ".join(words) + "\n" for words in lines))


def q45_a_days_bytes():
    """25 KiB a day, and five messages of 10 KB: two a day, over restarts, and the session left in order."""
    large = [message(i, b"a line of the body\r\n" * 500) for i in range(1, 6)]
    box = Maildrop(large, account={"daily_bytes": "25K", "poll": "1s"})
    said = box.once(status=1)
    check("daily-bytes" in said and re.search(r"rest follows in \d\d h", said), "it is said", said)
    box.holds(large[:2], "two fit into the day")
    same(box.asked("QUIT"), 1, "the session is left in order")
    box.counted(state="partial", fetched=2)
    box.once(status=1)
    box.counted(known=2, fetched=0)
    same(service_tries(box), [3], "a service waits for the next day")
    age_marks(box, 4)
    box.once(status=1)
    same(sum(box.retrieved().values()), 2, "five quarters count, so that no 24 hours see more")
    for count in (4, 5):
        age_marks(box, 5)
        box.once(status=0 if count == 5 else 1)
        box.holds(large[:count], "the next day brings the next ones")
    box.settings["daily_bytes"] = "5K"
    box.account = {"poll": "1s"}
    box.configure()
    box.fill(large + [message(6, b"a line of the body\r\n" * 500)])
    age_marks(box, 5)
    box.once()
    same(len(box.archived()), 6, "a message of more than a day's share takes a day of its own")


def q46_limits_of_connections():
    mail = temp_folder()
    for i in range(6):
        write_files(mail / f"u{i}", MESSAGES)
    server = Pop3d(mail, "--delay-ms", "20", script='on GREETING connection 7- reply "-ERR too many"')
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca, max_connections=2)
    for i in range(6):
        cask.add_account(f"u{i}", "s")
    cask.init()
    check(cask.once().status == 0, "all are archived")
    open_now, most = 0, 0
    for line in server.log():
        open_now += line.startswith("connect ")
        open_now -= line.startswith("session ")
        most = max(most, open_now)
    same(most, 2, "never more than max-connections at once")


def q46_one_that_is_refused_stops_the_others():
    """The breaker: a server that refuses connections is not asked by every account in turn."""
    mail = temp_folder()
    users = [f"u{i}" for i in range(20)]
    for user in users:
        write_files(mail / user, MESSAGES[:1])
    server = Pop3d(mail, script='on GREETING reply "-ERR too many connections" then close')
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca, max_connections=1)
    for user in users:
        cask.add_account(user, "s", poll="1s")
    cask.init()
    service = cask.start()
    server.wait_log("^connect ")
    time.sleep(PATIENCE_S)
    service.stop()
    same(len(server.log("connect")), 1, "one failure holds all of its accounts back")


def q47_two_sessions_on_one_mailbox():
    """The server allows it; two accounts that are one mailbox still take turns."""
    mail = temp_folder()
    write_files(mail / USER, MESSAGES)
    server = Pop3d(mail, "--no-lock", "--delay-ms", "20")
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca)
    cask.add_account("one", "s", user=USER)
    cask.add_account("two", "s", user=USER)
    cask.init()
    check(cask.once().status == 0, "both are archived")
    words = [l.split(" ", 1)[0] for l in server.log() if l.startswith(("login ", "session "))]
    same(words, ["login", "session"] * 2, "one after the other")


run_quirks(globals())
