"""The mail of the workloads: folders of one file a message, by account."""

import os
import pathlib
import subprocess

from harness import BUILD, ROOT

CORPUS = pathlib.Path(os.environ.get("CORPUS", ROOT.parent / "shared/corpus"))
SPLIT_ACCOUNTS = 50


class MailSet:
    """accounts: name -> folder. name says where it is from."""

    def __init__(self, name, accounts):
        self.name, self.accounts = name, accounts

    def files(self):
        for folder in self.accounts.values():
            yield from sorted(folder.iterdir())

    def count(self):
        return sum(1 for _ in self.files())

    def size(self):
        return sum(f.stat().st_size for f in self.files())

    def first(self, accounts):
        """The same with fewer accounts: for trying a workload."""
        return MailSet(self.name, dict(list(self.accounts.items())[:accounts]))


def _by_folder(name, folder):
    return MailSet(name, {f.name: f for f in sorted(folder.iterdir()) if f.is_dir()})


def _unpack(name, work):
    """The folder of a set, or None where it is not at hand."""
    if not (CORPUS / f"{name}.tar.zst").exists():
        return None
    if not (work / name).exists():
        subprocess.run([CORPUS / "unpack", work, name], check=True)
    return work / name


def _generate(work, name, accounts, messages, *options):
    folder = work / name
    if not folder.exists():
        subprocess.run([BUILD / "tests/mailgen", folder, "--accounts", str(accounts), "--messages",
                        str(messages), "--seed", "1", *options], check=True, stdout=subprocess.DEVNULL)
    return _by_folder(f"{name} (generated)", folder)


def company(work):
    """20 accounts, 209 MB, most of it in attachments that are sent again."""
    folder = _unpack("company", work)
    return _by_folder("company", folder) if folder else _generate(work, "company", 20, 100)


def spamassassin(work):
    """6,046 small messages without attachments to speak of, dealt to 50 accounts in turn."""
    source = _unpack("spamassassin", work)
    if source is None:
        return _generate(work, "spamassassin", SPLIT_ACCOUNTS, 120, "--small")
    split = work / "spamassassin-split"
    if not split.exists():
        for i, file in enumerate(sorted(source.iterdir())):
            folder = split / f"sa{i % SPLIT_ACCOUNTS:02}"
            folder.mkdir(parents=True, exist_ok=True)
            os.link(file, folder / file.name)
    return _by_folder("spamassassin", split)
