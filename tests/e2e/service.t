#!/usr/bin/env python3
"""The service in the foreground: it polls, reloads, and stops cleanly in the middle of work."""

import datetime
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

mail = temp_folder()
write_files(mail / "a", [b"Subject: %d\r\n\r\nbody\r\n" % i for i in range(10)])
write_files(mail / "b", [b"Subject: b%d\r\n\r\nbody\r\n" % i for i in range(10)])
run([BUILD / "tests/mailgen", mail, "--accounts", "3", "--messages", "200", "--seed", "5"])
big = sorted(p.name for p in mail.iterdir() if p.is_dir() and p.name.startswith("user"))
server = Pop3d(mail, "--no-lock")


def messages(cask, account):
    try:
        return {a["account"]: a["messages"] for a in cask.json("accounts")}.get(account, 0)
    except RuntimeError:
        return 0


def polls_and_reloads():
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca, poll="1s")
    cask.add_account("a", "s")
    cask.init()
    service = cask.start()
    wait_for(lambda: messages(cask, "a") == 10, what="the first poll")
    ok(True, "the first poll archives what is there")
    write_files(mail / "a", {"zzz-new": b"Subject: new\r\n\r\nnew\r\n"})
    wait_for(lambda: messages(cask, "a") == 11, what="a later poll")
    ok(True, "a later poll archives what has come")
    good = cask.config.read_text()
    cask.config.write_text(good + "nonsense = 1\n")
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: "nonsense" in service.output(), what="the refusal")
    ok(service.child.poll() is None, "a bad new configuration is refused, the old one runs on")
    like(cask.tool("status").out, "^config .*\n.*nonsense", "and status says so, and why")
    told = cask.json("status")[0]["service"]
    ok("nonsense" in told["config_error"] and told["config_error_since"], "with --json, too")
    cask.add_account("b", "s")
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: messages(cask, "b") == 10, what="the new account")
    ok(True, "SIGHUP: a new account is fetched without a restart")
    is_(cask.json("status")[0]["service"]["config_error"], None, "and nothing is wrong any more")
    ok(b"deletes " not in cask.tool("status").out, "deletes are off, status is silent on them")
    cask.settings["deletes"] = "on"
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: cask.json("status")[0]["service"]["deletes"] == "on", what="the switch")
    like(cask.tool("status").out, "^deletes +on$", "switched on, it says so")
    is_(service.stop(), 0, "SIGTERM: exit 0")
    is_(cask.tool("verify").status, 0, "the archive is sound")


def due_in(cask, account):
    """Seconds until its next poll, 0 if it is not waiting for it."""
    try:
        found = {a["account"]: a["due"] for a in cask.json("status")[0]["accounts"]}
    except RuntimeError:
        return 0
    due = found.get(account)
    return datetime.datetime.fromisoformat(due).timestamp() - time.time() if due else 0


def polls_quiet_accounts_less_often():
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca, poll="1s", poll_quiet="10h")
    cask.add_account("quiet", "s", user="b")
    cask.init()
    service = cask.start()
    wait_for(lambda: due_in(cask, "quiet") > 3, 2 * START_SECONDS, "a pause behind quiet polls")
    is_(messages(cask, "quiet"), 10, "an account in which nothing comes is polled less and less often")
    write_files(mail / "b", {"zzz-newer": b"Subject: newer\r\n\r\nnewer\r\n"})
    is_(cask.tool("poll", "--account", "quiet").status, 0, "mailcask poll")
    wait_for(lambda: messages(cask, "quiet") == 11, what="the new message")
    wait_for(lambda: 0 < due_in(cask, "quiet") <= 2, what="the next poll")
    ok(True, "fetches at once what has come, and from then on it is polled as ever")
    is_(service.stop(), 0, "SIGTERM: exit 0")


def reloads_while_a_login_is_refused():
    """The refusal is of what was in the configuration before: the reload may be what mends it."""
    slow = Pop3d(mail, "--no-lock", script='user wrong on SASL delay 4000 reply "-ERR [AUTH] no"\n'
                 'user slow on SASL delay 4000\n')
    for wrong, name in (("wrong", "a refusal for good of the user before does not suspend the new one"),
                        ("slow", "a session with the maildrop before is followed by one with the new")):
        cask = Mailcask()
        write_files(mail / wrong, [b"Subject: not this one\r\n\r\n\r\n"])
        cask.add_server("s", slow.port, slow.ca, poll="1h")
        cask.add_account("a", "s", user=wrong)
        cask.init()
        service = cask.start()
        wait_for(lambda: cask.tool("poll", "--account", "a").status == 0, what="the service")
        slow.wait_log(f"^rule .* SASL", 1 if wrong == "wrong" else 2)
        cask.add_account("a", "s", user="b")
        cask.write_config()
        service.child.send_signal(signal.SIGHUP)
        wait_for(lambda: messages(cask, "a") >= 10, what="the new user's messages")
        ok(True, name)
        wait_for(lambda: due_in(cask, "a") > 3000, what="the next poll")
        is_(service.stop(), 0, "SIGTERM: exit 0")


def an_account_is_renamed():
    """Two sessions with one maildrop at once are none that the scheduler can prevent: it has forgotten the first."""
    locked = Pop3d(mail, script="user b on RETR 1 delay 4000\n")
    cask = Mailcask()
    cask.add_server("s", locked.port, locked.ca, poll="1h")
    cask.add_account("before", "s", user="b")
    cask.init()
    service = cask.start()
    wait_for(lambda: cask.tool("poll", "--account", "before").status == 0, what="the service")
    locked.wait_log("^rule .* RETR")
    cask.accounts["after"] = cask.accounts.pop("before")
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: cask.tool("poll", "--account", "after").status == 0, what="the new name")
    wait_for(lambda: "an earlier one has not ended" in service.output() or locked.log("session"),
             what="the refusal to begin")
    locked.wait_log("^session b .*end=quit")
    wait_for(lambda: cask.tool("poll", "--account", "after").status == 0 and messages(cask, "after") >= 10,
             what="messages under the new name")
    is_(locked.log("login-failed"), [], "a renamed account waits until its maildrop is free")
    is_(service.stop(), 0, "SIGTERM: exit 0")


def stops_in_mid_work():
    cask = Mailcask()
    slow = Pop3d(mail, "--no-lock", "--throttle", "400000")
    cask.add_server("s", slow.port, slow.ca, poll="2s")
    for user in big:
        cask.add_account(user, "s")
    cask.init()
    service = cask.start()
    wait_for(lambda: len(slow.log("retr")) > 30, what="some mail")
    begin = time.monotonic()
    status = service.stop()
    seconds = time.monotonic() - begin
    is_(status, 0, "SIGTERM in the middle of fetching: exit 0")
    ok(seconds < 10 * TIME_SCALE, f"soon ({seconds:.1f} s)")  # promised within 5, on a machine that has no other work
    is_(cask.tool("verify").status, 0, "the archive is sound")
    kept = sum(a["messages"] for a in cask.json("accounts"))
    ok(kept > 0, f"what came whole is kept ({kept} messages)")
    served = len(slow.log("retr"))
    slow.stop()
    fast = Pop3d(mail, "--no-lock")
    cask.add_server("s", fast.port, fast.ca)
    is_(cask.once().status, 0, "a pass to the end")
    total = sum(len(list((mail / u).iterdir())) for u in big)
    is_(sum(a["messages"] for a in cask.json("accounts")), total, "completes it")
    is_(len(fast.log("retr")), total - kept, "and fetches nothing twice")
    diag(f"{served} handed over before the stop, {kept} kept")


def tells_of_damage():
    cask, gone = Mailcask(), Pop3d(mail, "--no-lock")
    cask.add_server("s", gone.port, gone.ca, poll="1h")
    cask.add_account("b", "s")
    cask.init()
    is_(cask.once().status, 0, "a pass")
    gone.stop()
    next((cask.archive / "segments").iterdir()).unlink()
    is_(cask.tool("verify").status, 3, "a segment is lost, and the server is gone: verify names the messages")
    service = cask.start()
    service.wait_ready(lambda: cask.tool("status").status == 0, "the service")
    told = lambda: cask.json("status")[0]["service"]
    is_((told()["recovery_damage"], told()["damaged_messages"], told()["damaged_parts"]),
        (1, messages(cask, "b"), 0), "status has what opening the archive found, and what verify did")
    like(cask.tool("status").out, r"^damage +1 place when the archive was opened, \d+ messages", "as text, too")
    cask.add_server("s", server.port, server.ca, poll="1h")
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: cask.json("status")[0]["servers"][0]["port"] == server.port, what="the reload")
    is_(cask.tool("poll", "--account", "b").status, 0, "the server is back, mailcask poll")
    wait_for(lambda: told()["damaged_messages"] == 0, what="healing")
    ok(True, "fetches them again, and they count no more")
    is_(service.stop(), 0, "SIGTERM: exit 0")


polls_and_reloads()
polls_quiet_accounts_less_often()
reloads_while_a_login_is_refused()
an_account_is_renamed()
stops_in_mid_work()
tells_of_damage()
done()
