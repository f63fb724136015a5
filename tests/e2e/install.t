#!/usr/bin/env python3
"""`make install`: what goes where, and a unit that fits. The Debian package is tested by tests/deb."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

UNIT = "lib/systemd/system/mailcaskd.service"
FILES = {"bin/mailcask": 0o755, "sbin/mailcaskd": 0o755, UNIT: 0o644,
         "lib/sysusers.d/mailcask.conf": 0o644, "lib/tmpfiles.d/mailcask.conf": 0o644,
         "share/doc/mailcask/examples/mailcask.conf": 0o644,
         "share/doc/mailcask/examples/mailcask-alerts.yml": 0o644,
         "share/bash-completion/completions/mailcask": 0o644,
         "share/bash-completion/completions/mailcaskd": 0o644,
         "share/zsh/site-functions/_mailcask": 0o644}


def install(**environment):
    """Below a new DESTDIR, and what came of it."""
    folder = temp_folder()
    return folder, run(["make", "-s", "install", f"BUILD={BUILD}", f"DESTDIR={folder}", "PREFIX=/opt/mc"], cwd=ROOT,
                       env={"MAKEFLAGS": "", **environment})


def unit_lines(version):
    """How the unit starts and reloads where systemd has this version."""
    packages = temp_folder()
    (packages / "libsystemd.pc").write_text(f"Name: systemd\nDescription: systemd\nVersion: {version}\n")
    folder, _ = install(PKG_CONFIG_PATH=str(packages))
    return re.findall("^(?:Type|ExecReload)=.*$", (folder / "opt/mc" / UNIT).read_text(), re.M)


folder, result = install()
is_(result.status, 0, "make install") or diag(result.err.decode())
prefix = folder / "opt/mc"
found = {str(p.relative_to(prefix)): p.stat().st_mode & 0o777 for p in prefix.rglob("*") if p.is_file()}
pages = {f"share/man/man{p.suffix[1:]}/{p.name}": 0o644 for p in (BUILD / "man").iterdir()}
ok(len(pages) > 10, "the manual is built with it")
is_(found, FILES | pages, "every file, below DESTDIR and PREFIX, with its mode")
unit = (prefix / UNIT).read_text()
like(unit, "^ExecStart=/opt/mc/sbin/mailcaskd --config /etc/mailcask/mailcask.conf$", "the unit starts what was installed")
is_(unit_lines("253"), ["Type=notify-reload"], "systemd 253 sends SIGHUP itself, and waits for the answer")
is_(unit_lines("252.39"), ["Type=notify", 'ExecReload=/bin/sh -c "kill -HUP $MAINPID"'], "an older one is told how to reload")
ok("@" not in re.sub("^(#.*|SystemCall.*)$", "", unit, flags=re.M), "nothing in it is left open")
example = prefix / "share/doc/mailcask/examples/mailcask.conf"
cask = Mailcask()
cask.init()
for name, text in (("as it comes", example.read_text()),
                   ("with its comments taken off", re.sub("^#([a-z[])", r"\1", example.read_text(), flags=re.M))):
    cask.config.write_text(text.replace("/var/lib/mailcask", str(cask.archive)))
    (cask.folder / "secrets").mkdir(exist_ok=True)
    secret = cask.folder / "secrets/alice@acme.example"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    result = run([BUILD / "mailcaskd", "--config", cask.config, "--check-config"])
    is_(result.status, 0, f"the example is a configuration, {name}") or diag(result.err.decode())
done()
