#!/usr/bin/env python3
"""Passwords: where they come from, when another one is tried, and where they are not to be seen."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

WRONG = "Tr0ub4dor-wrong"
MARK = "mark-of-the-command"
mail = temp_folder()
write_files(mail / "a", [b"Subject: %d\r\n\r\nbody\r\n" % i for i in range(3)])
server = Pop3d(mail, "--no-lock")


def secret_file(path, text, mode=0o600):
    fresh = path.with_suffix(".new")
    fresh.write_text(text + "\n")
    fresh.chmod(mode)
    fresh.rename(path)


def new_cask(password_file, **settings):
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca, **settings)
    cask.add_account("a", "s", password="", password_file=password_file)
    cask.init()
    return cask


def state(cask):
    found = cask.tool("status", "--json")
    return json.loads(found.out)["accounts"][0]["state"] if found.status == 0 else None


def another_password():
    cask = new_cask("secret-of-a", poll="1s")
    file = cask.folder / "secret-of-a"
    secret_file(file, WRONG)
    service = cask.start()
    wait_for(lambda: state(cask) == "suspended", what="the refusal")
    ok(True, "a wrong password suspends the account")
    secret_file(file, PASSWORD)
    wait_for(lambda: "messages=3" in service.output(), what="the right password")
    ok(True, "another one in its file is tried by itself")
    like(service.output(), 'msg="its password has changed; the account is polled again" account=a ', "which is said")
    text = service.output() + "".join(cask.tool(*c).out.decode() for c in
                                      (["status", "--all"], ["ledger", "--account", "a"], ["accounts"]))
    ok(WRONG not in text, "the wrong one is in no log, status or ledger")
    command = pathlib.Path(f"/proc/{service.pid}/cmdline").read_text()
    ok(WRONG not in command and PASSWORD + "\0" not in command, "nor in the process list")
    is_(service.stop(), 0, "stopped")


def credentials():
    cask = new_cask("credential:pop.%a")
    folder = temp_folder()
    secret_file(folder / "pop.a", PASSWORD, 0o440)
    environment = {"CREDENTIALS_DIRECTORY": str(folder)}
    check = [BUILD / "mailcaskd", "--config", cask.write_config(), "--check-config"]
    is_(cask.once(env=environment).status, 0, "a credential of systemd")
    is_(len(cask.json("list", "--account", "a")), 3, "opens the mailbox")
    is_(run(check, env=environment).status, 0, "and is checked")
    result = cask.once()
    is_(result.status, 1, "without systemd there are none")
    like(result.err, "credential pop.a: there are none outside a systemd service", "which is said")
    is_(run(check).status, 0, "and is nothing against the configuration")
    (folder / "pop.a").unlink()
    result = run(check, env=environment)
    is_(result.status, 2, "within the service it is")
    like(result.err, "account 'a': credential pop.a: No such file", "with its name")


def a_command():
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca)
    cask.add_account("a", "s", password="",
                     password_command=f"tr '\\0' '\\n' </proc/$$/cmdline >{cask.folder}/seen; : {MARK}; echo {PASSWORD}")
    cask.init()
    is_(cask.once().status, 0, "a command's output is the password")
    seen = (cask.folder / "seen").read_text()
    ok(seen.startswith("sh\n") and MARK not in seen, "what it runs is not in the process list")


def memory_of_another_user():
    """The files of a process in /proc belong to root when its memory is nobody's business."""
    if os.geteuid() != 0 or SANITIZED:
        skip("a process whose memory is closed", "needs root, and no sanitizer", in_ci=True)
        return
    folder = temp_folder()
    folder.chmod(0o755)
    program = shutil.copy(BUILD / "mailcaskd", folder)
    (folder / "cask").mkdir()
    cask = Mailcask(folder / "cask")
    cask.add_server("s", server.port, folder / "ca.pem", poll="1h")
    cask.add_account("a", "s")
    shutil.copy(server.ca, folder / "ca.pem")
    cask.init()
    config = cask.write_config()
    for path in [folder / "ca.pem", cask.folder, *cask.folder.rglob("*")]:
        os.chown(path, 65534, 65534)
    service = Server(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program,
                      "--config", config], temp_folder())
    wait_for(lambda: "archive " in service.output(), what="the service")
    is_(os.stat(f"/proc/{service.pid}").st_uid, 65534, "the service is another user's")
    is_(os.stat(f"/proc/{service.pid}/mem").st_uid, 0, "its memory is not for that user's other processes")
    is_(service.stop(), 0, "stopped")


another_password()
credentials()
a_command()
memory_of_another_user()
done()
