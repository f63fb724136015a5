#!/usr/bin/env python3
"""How many sessions are open at once where several [server] sections lead to one address."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from quirks import *

HOSTS = {"one": "127.0.0.1", "two": "localhost", "three": "LocalHost"}
ACCOUNTS = 5  # of each section
CAP = 2
MESSAGE = b"Subject: one\r\n\r\nbody\r\n"
ENOUGH = 30  # sessions


def most_open(server):
    """How many connections there were at once at most."""
    now, most = 0, 0
    for line in server.log():
        now += line.startswith("connect ")
        now -= line.startswith("session ")
        most = max(most, now)
    return most


def one_server(*options, **account):
    """One server, and sections that lead to it with caps of their own, of which CAP is the lowest."""
    mail = temp_folder()
    server = Pop3d(mail, *options)
    cask = Mailcask()
    for number, (name, host) in enumerate(HOSTS.items()):
        cask.add_server(name, server.port, server.ca, host=host, max_connections=CAP + number)
        for i in range(ACCOUNTS):
            write_files(mail / f"{name}{i}", [MESSAGE])
            cask.add_account(f"{name}{i}", name, **account)
    cask.init()
    return server, cask


def q46_sections_of_one_address_share_a_cap():
    server, cask = one_server("--delay-ms", "10")
    check(cask.once().status == 0, "all are archived")
    same(most_open(server), CAP, "never more than the lowest max-connections at once")
    same(len(server.log("session")), len(HOSTS) * ACCOUNTS, "every account had its turn")


def q46_a_service_keeps_the_cap():
    server, cask = one_server("--delay-ms", "10", poll="1s")
    service = cask.start()
    server.wait_log("^session ", ENOUGH)
    same(service.stop(), 0, "it ends in order")
    same(most_open(server), CAP, "never more than the lowest max-connections at once")
    users = {l.split()[1] for l in server.log("login")}
    same(len(users), len(HOSTS) * ACCOUNTS, "no section starves another")


def q46_a_reload_keeps_the_cap():
    """Accounts, then a whole section, go while their sessions are open, and come back under another
    name: what is open counts all the same."""
    server, cask = one_server("--delay-ms", "30", poll="1s")
    service = cask.start()
    accounts, servers = dict(cask.accounts), dict(cask.servers)
    for step in range(4):
        server.wait_log("^connect ", 6 * (step + 1))
        gone = "one" if step % 2 == 0 else "two"
        cask.servers = {k: v for k, v in servers.items() if k != gone} | {f"{gone}{step}": servers[gone]}
        cask.accounts = {k if a["server"] != gone else f"new{step}{k}":
                         a if a["server"] != gone else {**a, "server": f"{gone}{step}"} for k, a in accounts.items()}
        cask.write_config()
        service.child.send_signal(signal.SIGHUP)
        wait_for(lambda: service.output().count("read again") > step, what="reload")
    server.wait_log("^session ", ENOUGH)
    same(service.stop(), 0, "it ends in order")
    same(most_open(server), CAP, "never more than the lowest max-connections at once")


def q46_status_says_what_is_waited_for():
    server, cask = one_server("--delay-ms", "300", poll="1s")
    service = cask.start()

    def waiting():
        status = cask.tool("status", "--json")
        if status.status != 0:
            return None
        told = json.loads(status.out)
        return told if any(a.get("waits_for") == "address" for a in told["accounts"]) else None

    told = wait_for(waiting, what="an account that waits for its address")
    sections = {(s["address_limit"], s["address_servers"]) for s in told["servers"]}
    check((CAP, len(HOSTS)) in sections, "the cap, and how many share it", told["servers"])
    text = cask.tool("status", "--all").out.decode()
    check(f"of {CAP} at its address, shared by {len(HOSTS)} servers" in text, "in words too", text)
    check("its server's address has max-connections sessions" in text, "and what an account waits for", text)
    service.stop()


run_quirks(globals())
