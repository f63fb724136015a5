#!/usr/bin/env python3
"""The numbers for Prometheus, and the alerts that are shipped: promtool has nothing to complain of, the manual names
every number, and with a real Prometheus a dead server, an overdue account, a full disk and a service that is gone
each fire their alert, which clears after the repair."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *
import urllib.error
import urllib.parse
import urllib.request

ALERTS = ROOT / "daemon/package/mailcask-alerts.yml"
SLOWER = 3 if SANITIZED else 1
OVERDUE_SECONDS = 6 * SLOWER  # instead of a day
NEEDED = [p for p in ("prometheus", "promtool") if shutil.which(p) is None]

# $1: where to mount; $2: programs; $3: configuration.
ON_A_SMALL_DISK = """
set -e
mount -t tmpfs -o size=64m,mode=700 none "$1"
"$2/mailcask" init "$1/archive" >/dev/null
exec "$2/mailcaskd" --config "$3"
"""
UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]


def get(url):
    """(status, text); (0, "") where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10 * TIME_SCALE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def value(text, series):
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.M)
    return float(found[1]) if found else None


def address_of(port):
    return f"http://127.0.0.1:{port}/metrics"


def until_value(port, series, wanted):
    return wait_for(lambda: value(get(address_of(port))[1], series) == wanted, what=f"{series} {wanted}")


def families(text):
    return dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.M))


# ---- the numbers themselves --------------------------------------------------------------------

def numbers():
    mail = temp_folder()
    write_files(mail / "a", [b"Subject: %d\r\n\r\nbody\r\n" % i for i in range(10)])
    server = Pop3d(mail, "--no-lock")
    port, later = free_port(), free_port()
    cask = Mailcask(metrics=f"127.0.0.1:{port}")
    cask.add_server('we "and" us\\', server.port, server.ca, poll="1s")
    cask.add_account("a", 'we "and" us\\')
    cask.init()
    service = cask.start()
    until_value(port, 'mailcask_messages_total{result="archived"}', 10)
    status, text = get(address_of(port))
    is_(status, 200, "/metrics answers")
    is_(get(f"http://127.0.0.1:{port}/")[0], 404, "nothing else does")
    stats = json.loads(cask.tool("stats", "--json").out)
    is_(value(text, "mailcask_message_bytes_total"), float(stats["message_bytes"]), "the bytes of the messages")
    ok(value(text, "mailcask_commit_duration_seconds_count") >= 1, "commits were timed")
    is_(value(text, r'mailcask_server_up{server="we \"and\" us\\"}'), 1.0, "a server's name is quoted")
    if NEEDED:
        skip("promtool check metrics", f"{NEEDED} not installed")
    else:
        result = run(["promtool", "check", "metrics"], stdin=text.encode())
        is_((result.status, result.err, result.out), (0, b"", b""), "promtool check metrics finds nothing")
    page = run(["man", "-l", BUILD / "man/mailcaskd.8"], env={"MANWIDTH": "1000", "LC_ALL": "C.UTF-8"}).out.decode()
    named = set(re.findall(r"\bmailcask_[a-z_]+", page))
    is_(named, set(families(text)), "mailcaskd(8) names them all, and no others")
    used = set(re.findall(r"\bmailcask_[a-z_]+", ALERTS.read_text()))
    is_({n.removesuffix("_bucket") for n in used} - set(families(text)), set(), "no alert waits for a number that is not there")
    moving(cask, service, port, later)


def moving(cask, service, port, later):
    blocker = socket.create_server(("127.0.0.1", later))
    cask.settings["metrics"] = f"127.0.0.1:{later}"
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: "metrics are not served" in service.output(), what="a word about the port in use")
    like(service.output(), rf"metrics are not served.* address=127.0.0.1:{later} .*ddress already in use", "a port in use is told")
    is_(get(address_of(port))[0], 0, "the old address is given up")
    ok(cask.tool("status").status == 0, "and the service runs on")
    blocker.close()
    cask.settings["metrics"] = f"127.0.0.1:{port}"
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: get(address_of(port))[0] == 200, what="metrics at the old address")
    ok(True, "a reload brings them back")
    del cask.settings["metrics"]
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: get(address_of(port))[0] == 0, what="the end of the metrics")
    ok(True, "or switches them off")
    is_(service.stop(), 0, "the service stops cleanly")


# ---- the alerts --------------------------------------------------------------------------------

def rules():
    result = run(["promtool", "check", "rules", ALERTS])
    is_(result.status, 0, "promtool check rules") or diag(str(result))
    result = run(["promtool", "test", "rules", ROOT / "tests/e2e/alerts_test.yml"])
    is_(result.status, 0, "promtool test rules: at the real thresholds") or diag(str(result))
    tested = set(re.findall(r"alertname: (\S+)", (ROOT / "tests/e2e/alerts_test.yml").read_text()))
    is_(tested, set(re.findall(r"alert: (\S+)", ALERTS.read_text())), "each alert has a test")


def quick_rules(path):
    """The shipped file, without its patience."""
    text, patient = re.subn(r"(?m)^( +for:) \d+[mh]$", r"\1 0s", ALERTS.read_text())
    text, overdue = re.subn(r"> 86400$", f"> {OVERDUE_SECONDS}", text, flags=re.M)
    assert patient > 8 and overdue == 1
    path.write_text(text)


class Prometheus(Server):
    """The installed one, which scrapes a service at this port twice a second."""

    def __init__(self, target):
        folder = temp_folder()
        self.port = free_port()
        quick_rules(folder / "alerts.yml")
        every = f"{500 * SLOWER}ms"
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every}}}\n"
            f"rule_files: [{folder}/alerts.yml]\n"
            "scrape_configs:\n"
            f"  - {{job_name: mailcask, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}\n")
        super().__init__(["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                          f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"], folder)
        self.wait_ready(lambda: get(f"http://127.0.0.1:{self.port}/-/ready")[0] == 200, "prometheus")

    def api(self, what, **query):
        status, text = get(f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(query)}")
        return json.loads(text)["data"] if status == 200 else {}

    def query(self, expression):
        return [float(r["value"][1]) for r in self.api("query", query=expression).get("result", [])]

    def firing(self):
        """{name: annotations' summary}, without one that looks days ahead from what happened in seconds."""
        return {a["labels"]["alertname"]: a["annotations"]["summary"] for a in self.api("alerts").get("alerts", [])
                if a["state"] == "firing" and a["labels"]["alertname"] != "MailcaskDiskFilling"}

    def until_firing(self, name):
        return wait_for(lambda: self.firing().get(name), what=f"{name} firing")

    def until_only(self, *names):
        """A scrape that took too long looks like a service that is gone: such an alert clears."""
        wait_for(lambda: list(self.firing()) == [*names], what=f"these alerts only: {names}")

    def until_quiet(self):
        self.until_only()


class World:
    """A service on a small disk of its own, where that can be had, with two servers, watched by Prometheus."""

    def __init__(self):
        self.mail = temp_folder()
        # Numbers for UIDLs are weak: so each poll lists, and is a complete one.
        for user in ("here", "there"):
            write_files(self.mail / user, [b"Subject: %d\r\n\r\nbody\r\n" % i for i in range(5)])
        self.made = Certificates()
        self.sound = self.start_server()
        self.shaky = self.start_server(free_port())
        self.metrics = free_port()
        self.cask = Mailcask(metrics=f"127.0.0.1:{self.metrics}")
        self.disk = self.cask.folder / "disk"
        self.disk.mkdir()
        for name, server in (("sound", self.sound), ("shaky", self.shaky)):
            self.cask.add_server(name, server.port, self.made.ca, poll="1s")
        self.cask.add_account("here", "sound")
        self.cask.add_account("there", "shaky")
        self.has_disk = run([*UNSHARE, "true"]).status == 0
        self.service = self.start_service()
        self.prometheus = Prometheus(self.metrics)

    def start_server(self, port=0):
        return Pop3d(self.mail, "--no-lock", "--listen", f"127.0.0.1:{port}", certificate=self.made.good, ca=self.made.ca)

    def start_service(self):
        if not self.has_disk:
            self.cask.init()
            return self.cask.start()
        self.cask.settings["path"] = self.cask.archive = self.disk / "archive"
        return Server([*UNSHARE, "sh", "-c", ON_A_SMALL_DISK, "sh", self.disk, BUILD, self.cask.write_config()], temp_folder())

    def seen_disk(self):
        """The service's own, from outside its namespace."""
        return pathlib.Path(f"/proc/{self.service.pid}/root{self.disk}")

    def poll(self, account):
        """Now: a server that failed is otherwise left alone for a minute."""
        archive = f"/proc/{self.service.pid}/root{self.cask.archive}" if self.has_disk else self.cask.archive
        return run([BUILD / "mailcask", "--archive", archive, "poll", "--account", account])


def scraped(world):
    watcher = world.prometheus
    wait_for(lambda: watcher.query('mailcask_messages_total{result="archived"}') == [10.0], what="ten messages")
    ok(True, "Prometheus has the numbers")
    watcher.until_quiet()
    ok(True, "all is well: no alert")
    wait_for(lambda: watcher.query("count(mailcask_server_up)") == [2.0], what="two series")
    ok(True, "each server has a series")


def dead_server(world):
    watcher, port = world.prometheus, world.shaky.port
    world.shaky.stop()
    is_(watcher.until_firing("MailcaskServerFailing"), "no mail comes from the server shaky", "a dead server: its alert")
    watcher.until_firing("MailcaskPollOverdue")
    ok(True, "and in time its accounts are overdue")
    world.shaky = world.start_server(port)
    result = world.poll("there")
    is_(result.status, 0, "asked to try again") or diag(str(result))
    watcher.until_quiet()
    ok(True, "it is back: the alerts clear")


def overdue_account(world):
    watcher, cask = world.prometheus, world.cask
    cask.accounts["here"]["password"] = "wrong"
    cask.write_config()
    world.service.child.send_signal(signal.SIGHUP)
    like(watcher.until_firing("MailcaskPollOverdue"), "^an account has had no complete poll for ", "an overdue account: its alert")
    watcher.until_firing("MailcaskAccountsRefused")
    ok(True, "and that its password is wrong")
    ok("MailcaskServerFailing" not in watcher.firing(), "the server is not blamed")
    cask.accounts["here"]["password"] = PASSWORD
    cask.write_config()
    world.service.child.send_signal(signal.SIGHUP)
    watcher.until_quiet()
    ok(True, "the password is right again: they clear")


def full_disk(world):
    watcher = world.prometheus
    if not world.has_disk:
        skip("a full disk", "no mount namespace of our own")
        return
    ballast = world.seen_disk() / "ballast"
    free = os.statvfs(ballast.parent)
    with open(ballast, "wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize - 500_000))
    watcher.until_firing("MailcaskDiskFull")
    ok(True, "a full disk: its alert")
    ballast.unlink()
    watcher.until_quiet()
    ok(True, "there is room: it clears")


def gone(world):
    is_(world.service.stop(), 0, "the service stops cleanly") or diag(world.service.output())
    world.prometheus.until_firing("MailcaskDown")
    ok(True, "a service that is gone: its alert")
    world.prometheus.until_only("MailcaskDown")
    ok(True, "and no other")


numbers()
if NEEDED:
    skip("the alerts", f"not installed: {' '.join(NEEDED)}")
else:
    rules()
    world = World()
    scraped(world)
    dead_server(world)
    overdue_account(world)
    full_disk(world)
    gone(world)
done()
