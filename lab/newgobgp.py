"""A newer GoBGP than Debian 12's: Debian sid's gobgpd and gobgp, two programs in a folder.

They are written in Go and need nothing but the C library, any since Debian 11's, so they run
where they are: no folder to chroot into. Fetched once with apt, which checks signatures, from the
mirror that this machine's apt uses; kept under /var/cache/bgp-ipvlan-lab. A fetch that is
interrupted leaves nothing that could be taken for a whole one.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lab import namespace, newdocker, process

RECIPE = 1
"""Raise it when the recipe below changes: older folders are then made anew."""
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def root() -> Path:
    """Where the folder is, whether or not it has been made."""
    return newdocker.CACHE / f"gobgp-{newdocker.SUITE}-{RECIPE}"


def daemon() -> Path:
    """Its gobgpd."""
    return root() / "usr/bin/gobgpd"


def tool() -> Path:
    """Its gobgp: that of version 3 does not understand a gobgpd of version 4."""
    return root() / "usr/bin/gobgp"


def version() -> str | None:
    """That of the gobgpd in the folder, e.g. `4.8.0`; None if there is none."""
    if not daemon().exists():
        return None
    return process.run([str(daemon()), "--version"]).stdout.split()[-1]


def ensure(say: Callable[[str], None]) -> Path:
    """Make the folder if it is not there yet; returns it.

    Args:
        say: told each line of progress.

    Raises:
        namespace.LabError: it does not run here.
        process.CommandError: no Debian mirror, no network.
    """
    if version():
        return root()
    with _locked():
        if version():  # somebody else made it while we waited
            return root()
        for directory in newdocker.CACHE.glob("gobgp-*"):
            shutil.rmtree(directory)
        say(f"Fetching Debian {newdocker.SUITE}'s GoBGP into {root()}, once (some seconds)")
        work = newdocker.CACHE / f"{root().name}.building"
        try:
            _fetch(work)
            (work / "root").rename(root())  # which is what makes it whole
        finally:
            shutil.rmtree(work, ignore_errors=True)
    found = version()
    if not found:
        raise namespace.LabError("the gobgpd that was fetched does not run")
    say(f"GoBGP {found} is ready")
    return root()


def _fetch(work: Path) -> None:
    """Let apt fetch the package with lists of its own, and unpack it."""
    for folder in ("lists/partial", "cache/archives/partial", "root"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
    source = f"deb {signed}{newdocker.debian_mirror()} {newdocker.SUITE} main\n"
    (work / "sources.list").write_text(source)
    settings = {
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": work / "lists",
        "Dir::State::Status": work / "status",
        "Dir::Cache": work / "cache",
        # A mirror that lags (a frozen one, say): its signatures are checked all the same.
        "Acquire::Check-Valid-Until": "false",
        "APT::Sandbox::User": "root",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    process.run(["apt-get", "-q", *options, "update"], timeout=300)
    there = ["env", f"--chdir={work}"]  # where `download` puts it
    process.run([*there, "apt-get", "-q", *options, "download", "gobgpd"], timeout=300)
    for package in work.glob("gobgpd_*.deb"):
        process.run(["dpkg-deb", "-x", str(package), str(work / "root")])


def remove() -> None:
    """Take the folder away."""
    if newdocker.CACHE.exists():
        with _locked():
            for directory in newdocker.CACHE.glob("gobgp-*"):
                shutil.rmtree(directory)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    newdocker.CACHE.mkdir(parents=True, exist_ok=True)
    with (newdocker.CACHE / "gobgp.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> None:
    """`python -m lab.newgobgp [--remove]`."""
    parser = argparse.ArgumentParser(description="Fetch the newer GoBGP.")
    parser.add_argument("--remove", action="store_true", help="take it away instead")
    if parser.parse_args().remove:
        remove()
        return
    try:
        ensure(lambda line: print(line, flush=True))
    except (namespace.LabError, process.CommandError) as error:
        sys.exit(f"The newer GoBGP could not be fetched: {error}")


if __name__ == "__main__":
    main()
