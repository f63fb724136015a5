#!/usr/bin/env python3
"""Quirks of syntax, Q48 to Q54 of workers/POP3.md."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from quirks import *

MESSAGES = messages(5)


def q48_status_words():
    others = "CAPA USER PASS UTF8 STAT NOOP QUIT".split()
    for word, bare in (("+ok", False), ("+Ok", False), ("+oK", False), ("+OK", True)):
        script = "".join(f'on {c} status "{word}"\n' for c in others if c not in ("STAT",))
        script += f'on LIST status "{word}"\non UIDL status "{word}"\non RETR status "{word}"\n'
        script += f'on STAT reply "{word} 5 295"\n' + f'on GREETING reply "{word}{"" if bare else " hello"}"\n'
        box = Maildrop(MESSAGES, "--no-capa", "SASL", script=script)
        box.once()
        box.counted(trusted=True)
        box.holds(MESSAGES, f"{word}: read in any case, with text or without")
    mean = Maildrop(MESSAGES, script='on RETR status "+OK locked in use 7 messages deleted error"')
    mean.once()
    mean.holds(MESSAGES, "free text says nothing")


def q49_odd_capabilities():
    odd = "UIDL  \\r\\nEXPIRENEVER\\r\\nSASL\\r\\n\\r\\nX-\\x01\\xff WHAT\\r\\n pipelining \\r\\nLOGIN-DELAY\\r\\nUSER\\r\\n"
    box = Maildrop(MESSAGES, script=f'on CAPA body "{odd}"')
    box.once()
    box.holds(MESSAGES)
    same((box.asked("AUTH"), box.asked("USER")), (0, 1), "SASL without mechanisms: USER and PASS")


def q49_capabilities_that_are_not_believed():
    """avoid: what a server announces and cannot do."""
    broken = Maildrop(MESSAGES, script="on AUTH close\non UTF8 close")
    broken.once(status=1)
    broken.settings["avoid"] = "sasl utf8"
    broken.configure()
    broken.once()
    broken.holds(MESSAGES)
    same((broken.asked("USER"), broken.asked("UTF8")), (1, 1), "USER and PASS, and UTF8 only before that")
    silent = Maildrop(MESSAGES, script="on CAPA close", avoid="capa")
    silent.once()
    silent.holds(MESSAGES)
    same(silent.asked("CAPA"), 0, "capa: not even asked for")
    same(len(silent.server.log("connect")), 1, "in one session")
    one_by_one = Maildrop(messages(30), avoid="pipelining")
    one_by_one.once()
    one_by_one.holds(messages(30))
    line = one_by_one.server.log("session")[0]
    reads = int(re.search(r"reads=(\d+)", line)[1])
    check(reads > 30, "pipelining: a command goes when the one before it is answered", line)
    never = Maildrop(MESSAGES, script='on UIDL reply "-ERR not implemented"', avoid="uidl")
    never.once()
    never.holds(MESSAGES)
    never.counted(fetched=5, trusted=False)


def q49_what_may_be_avoided_is_said():
    box = Maildrop(MESSAGES, avoid="pipelinig")
    said = box.once(status=2)
    check("capa, pipelining, sasl, uidl, utf8" in said, "one line with what is allowed", said)


def q50_capa_that_closes():
    box = Maildrop(MESSAGES, script="on CAPA close")
    box.once()
    box.holds(MESSAGES)
    tries = len(box.server.log("rule"))
    box.once()
    same(len(box.server.log("rule")), tries, "the next pass remembers, and does not ask")
    same(tries, 1, "it was asked once")
    within = Maildrop(MESSAGES, "--tls", "starttls", script="on CAPA close", tls="starttls")
    within.once()
    within.holds(MESSAGES, "not even behind STLS")


def q51_empty_challenges():
    for challenge in ("+", "+ ", "+OK"):
        box = Maildrop(MESSAGES, script=f'on AUTH raw "{challenge}\\r\\n"')
        box.once()
        box.holds(MESSAGES, f"'{challenge}' is an empty challenge")
        same(box.asked("AUTH"), 1, "AUTH was used")


def q53_slow_greetings_and_surplus_lines():
    slow = Maildrop(MESSAGES, script="on GREETING delay 2000")
    slow.once()
    slow.holds(MESSAGES)
    for event in ("GREETING", "CAPA", "UIDL", "RETR 2"):
        box = Maildrop(MESSAGES, script=f'on {event} times 1 after "+OK 5 messages\\r\\n"')
        if event.startswith("RETR"):
            box.once()
            check("no reply to a command" in box.sessions()[0]["text"], "a surplus line drops the session")
        else:
            said = box.once(status=1)
            check("no reply to a command" in said, f"{event}: a surplus line drops the session", said)
            box.once()
        first = box.server.log("session")[0] if box.server.log("session") else ""
        check("QUIT" not in first, "without QUIT", first)
        box.holds(MESSAGES)


def q53_once_tries_whatever_the_back_off():
    box = Maildrop(MESSAGES, script='on SASL times 2 reply "-ERR [AUTH] wrong"\non PASS times 2 reply "-ERR [AUTH] wrong"')
    box.once(status=1)
    box.once(status=1)
    box.once()
    box.holds(MESSAGES)


def q54_credentials():
    for sasl in (True, False):
        box = Maildrop(MESSAGES, *([] if sasl else ["--no-capa", "SASL"]))
        password = "  sp\u00e4ces  inside and behind  "
        (box.mail / f"{USER}.password").write_text(password + "\n")
        secret = box.cask.folder / "secret"
        secret.write_text(password + "\n")
        secret.chmod(0o600)
        del box.cask.accounts["a"]["password"]
        box.cask.accounts["a"]["password_file"] = secret
        box.once()
        box.holds(MESSAGES, "blanks count, and UTF-8 goes as it is")
    for bad in ("\0", "\r"):
        box = Maildrop(MESSAGES)
        box.cask.accounts["a"]["password"] = f"se{bad}cret"
        said = box.once(status=2)
        check("mailcask.conf:" in said and "cret" not in said, "refused in the configuration, and not repeated", said)


def limit_endless_status_line():
    for event in ("GREETING", "CAPA", "STAT", "RETR 2"):
        box = Maildrop(MESSAGES, script=f'on {event} times 1 raw "+OK " endless "x"')
        within_bounds(box, "8192 bytes")


def limit_endless_capa():
    box = Maildrop(MESSAGES, script='on CAPA times 1 endless "X-%n\\r\\n"')
    within_bounds(box, "CAPA reply is longer")


def limit_sasl_challenges():
    box = Maildrop(MESSAGES, script='on AUTH times 1 raw "+ " endless "A"')
    within_bounds(box, "65536 bytes")
    box = Maildrop(MESSAGES, script='on SASL reply "+ again"')
    said = box.once(status=1)
    check("asked more than" in said, "rounds of questions end", said)


def limit_listing_flood():
    box = Maildrop(MESSAGES, script='on UIDL times 1 endless "%n id-%n\\r\\n"')
    within_bounds(box, "nothing was fetched", seconds=RUN_SECONDS)
    box = Maildrop(MESSAGES, script='on LIST repeat 5000 "%n 100\\r\\n"\non STAT reply "+OK 5 300"')
    result = box.cask.once()
    check(result.status in (0, 1), "it ends", result)
    session = box.sessions()[-1]
    check(not session["trusted"], "entries beyond STAT and a thousand are refused, the listing untrusted", session)


def limit_message_numbers():
    odd = "0 zero\\r\\n-1 minus\\r\\n99999999999 huge\\r\\n16777217 large\\r\\n2 again\\r\\nx garbage\\r\\n"
    box = Maildrop(MESSAGES, script=f'on UIDL extra "{odd[:-4]}"')
    box.once()
    box.counted(trusted=False, fetched=5, refused=0)
    box.holds(MESSAGES, "impossible numbers are no messages")


def limit_length_of_a_uidl():
    box = Maildrop(MESSAGES, script=f'on UIDL entry 2 "%n {"y" * 1024}" entry 3 "%n {"x" * 1025}"')
    box.once()
    box.counted(trusted=False)
    box.once()
    box.counted(known=4, deduplicated=1)
    box.holds(MESSAGES, "one longer than 1 KiB is none")


def limit_endless_message():
    line = "x" * 98
    box = Maildrop(MESSAGES, script=f'on RETR 2 endless "{line}\\r\\n"')
    within_bounds(box, '"0002\\" put aside', seconds=RUN_SECONDS, then=[m for i, m in enumerate(MESSAGES) if i != 1],
                  times=1)


def limit_reply_injection():
    """Bytes behind STLS's +OK were not encrypted: whoever put them there is not the server."""
    box = Maildrop(MESSAGES, "--tls", "starttls", script='on STLS times 1 after "+OK injected\\r\\n"', tls="starttls")
    said = box.once(status=1)
    check("no password was sent" in said, "it is dropped", said)
    check(not box.server.log("login"), "before the login")
    box.once()
    box.holds(MESSAGES)


def limit_downgrade():
    made = Certificates()
    for options in (["--tls", "none"], ["--tls", "starttls"], ["--tls", "starttls", "--no-capa", "STLS"]):
        box = Maildrop(MESSAGES, *options, script='on STLS reply "-ERR no"', certificate=made.good, ca=made.ca,
                       tls="starttls")
        said = box.once(status=1)
        check("TLS is required" in said, "without TLS there is no session", said)
        check(not box.server.log("login"), "and no secret in clear")


def limit_strings():
    escape = "\\x1b[31m\\x07"
    box = Maildrop(MESSAGES, script=f'on SASL reply "-ERR {escape} {PASSWORD} no"\non PASS reply "-ERR {escape} {PASSWORD} no"')
    said = box.once(status=1)
    check("\x1b" not in said and PASSWORD not in said, "no control characters and no secret in what is said", repr(said))
    uidl = "../../../../etc/passwd"
    box = Maildrop(MESSAGES, script=f'on LOGIN uidl 2 "{uidl}"\non RETR 2 close')
    box.once(status=1)
    same(box.put_aside(), [uidl], "put aside under its name in the ledger")
    files = [p.name for p in box.cask.folder.rglob("*")]
    check(not any("passwd" in f for f in files), "a UIDL is no file name", files)


def within_bounds(box, sentence, seconds=START_SECONDS, then=MESSAGES, times=2):
    """A pass that ends, says the sentence and stays small; the next one archives what there is."""
    peak, start = 0, time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(list(map(str, box.cask.once_arguments())), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=output)
        while child.poll() is None and time.monotonic() - start < seconds * PATIENCE:
            with contextlib.suppress(ProcessLookupError, ValueError):
                peak = max(peak, memory_kib(child.pid, "RssAnon"))
            time.sleep(0.005)
        ended = child.poll() is not None
        child.kill()
        child.wait()
        output.seek(0)
        said = output.read().decode()
    check(ended, f"it ends within {seconds} s")
    check(sentence in said + json.dumps(box.sessions()), "and says why", said)
    check(SANITIZED or peak < 64 * 1024, f"in bounded memory, {peak} KiB")
    if times > 1:
        box.once()
    box.holds(then)


run_quirks(globals())
