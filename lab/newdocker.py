"""A newer Docker Engine than Debian 12's: Debian sid's, in a folder to chroot into.

Built once with debootstrap from the mirror that this machine's apt uses, kept
under /var/cache/bgp-ipvlan-lab, shared read-only by all lab hosts. A build that
is interrupted leaves nothing that could be taken for a whole one.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lab import namespace, process

CACHE = Path("/var/cache/bgp-ipvlan-lab")
SUITE = "sid"
RECIPE = 1
"""Raise it when the recipe below changes: older folders are then rebuilt."""
_PACKAGES = ("docker.io", "docker-cli", "iproute2")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_VERSION_FILE = "docker-version"

# A mirror that lags (a frozen one, say) is past its Valid-Until; its signatures are checked all the
# same. Services must not start in the chroot, documentation is not read there, and what only dpkg and
# apt need is dropped. The folder for Docker's data must exist, as the tree is read-only later.
_INSTALL = """
set -eu
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
apt-get -q -o Acquire::Check-Valid-Until=false update
apt-get install -q -y --no-install-recommends {packages}
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /var/log/*
mkdir -p /var/lib/docker /var/lib/containerd /run /tmp
dpkg-query -W -f '${{Version}}' docker.io >/{version_file}
"""


def root() -> Path:
    """Where the folder is, whether or not it has been built."""
    return CACHE / f"docker-{SUITE}-{RECIPE}"


def version() -> str | None:
    """Debian's version of the Docker in the folder, e.g. `28.5.2+dfsg4-1`; None if not built."""
    file = root() / _VERSION_FILE
    return file.read_text().strip() if file.exists() else None


def ensure(say: Callable[[str], None]) -> Path:
    """Build the folder if it is not there yet; returns it.

    Args:
        say: told each line of progress.

    Raises:
        namespace.LabError: no Debian mirror, no network, or the packages do not install.
    """
    if version():
        return root()
    with _locked():
        if version():  # somebody else built it while we waited
            return root()
        _discard_unfinished()
        mirror = debian_mirror()
        say(f"Building a folder with Debian {SUITE}'s Docker in {root()}, once (1 to 3 minutes)")
        work = CACHE / f"{root().name}.building"
        try:
            _build(work, mirror, say)
            # The rename is what makes it whole.
            work.rename(root())
        except BaseException:
            _delete(work)
            raise
    say(f"Docker {version()} is ready")
    return root()


def remove() -> None:
    """Take the cache away."""
    if CACHE.exists():
        with _locked():
            for directory in CACHE.glob("docker-*"):
                _delete(directory)


def debian_mirror() -> str:
    """The mirror this machine's apt takes Debian itself from.

    Raises:
        namespace.LabError: there is none.
    """
    release = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    listed = process.run(
        ["apt-get", "indextargets", "--format", release, "Created-By: Packages"]
    ).stdout
    codename = _codename()
    for line in listed.splitlines():
        uri, suite, component = line.split(" ")
        if suite in {codename, "stable"} and component == "main":
            return uri
    raise namespace.LabError(
        f"apt has no source for Debian {codename} main (/etc/apt/sources.list)"
    )


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    return "stable"


def _proxy() -> dict[str, str]:
    """Apt's proxy, for debootstrap, which does not read apt's settings."""
    found = {key: os.environ[key] for key in ("http_proxy", "https_proxy") if key in os.environ}
    shown = process.run(["apt-config", "shell", "P", "Acquire::http::Proxy"]).stdout
    if shown.startswith("P="):
        found["http_proxy"] = shlex.split(shown[2:])[0]
    return found


def _build(work: Path, mirror: str, say: Callable[[str], None]) -> None:
    keyring = [f"--keyring={_KEYRING}"] if _KEYRING.exists() else []
    _run(
        ["debootstrap", "--variant=minbase", *keyring, SUITE, str(work), mirror],
        say,
    )
    script = _INSTALL.format(packages=" ".join(_PACKAGES), version_file=_VERSION_FILE)
    _run(["chroot", str(work), "sh", "-c", script], say)


def _run(argv: list[str], say: Callable[[str], None]) -> None:
    # Mounts that debootstrap and the chroot make, and processes they leave, end with the namespace:
    # deleting an unfinished folder can then never reach into the machine's /proc or /dev.
    wrapped = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork"]
    last: list[str] = []
    with subprocess.Popen(
        [*wrapped, "--kill-child", "--", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=process.environment(_proxy()),
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            last = [*last[-15:], line.rstrip()]
            say("  " + line.rstrip()[:120])
    if child.returncode:
        raise namespace.LabError(f"{argv[0]} failed:\n" + "\n".join(last))


def _discard_unfinished() -> None:
    for directory in CACHE.glob("docker-*"):
        if directory.suffix == ".building" or directory != root():
            _delete(directory)


def _delete(directory: Path) -> None:
    if directory.exists():
        # One file system: whatever somebody may have mounted in there is not ours to delete.
        process.run(["rm", "-rf", "--one-file-system", str(directory)], timeout=300)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> None:
    """`python -m lab.newdocker [--remove]`."""
    parser = argparse.ArgumentParser(description="Build the folder with the newer Docker.")
    parser.add_argument("--remove", action="store_true", help="take it away instead")
    if parser.parse_args().remove:
        remove()
        return
    try:
        ensure(lambda line: print(line, flush=True))
    except (namespace.LabError, process.CommandError) as error:
        sys.exit(f"The newer Docker could not be prepared: {error}")


if __name__ == "__main__":
    if shutil.which("debootstrap", path=process.PATH) is None:
        sys.exit("debootstrap is missing: run `make setup`")
    main()
