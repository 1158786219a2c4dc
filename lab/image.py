"""Our images as a user without a registry builds them, kept for the lab's dockerds.

A real dockerd of this machine, in namespaces of its own, runs `packaging/container/build
--without-registry` once; what it stored is kept under /var/cache/bgp-ipvlan-lab. Importing that
much into a tmpfs in a guest would take minutes and most of its memory, so a lab host's dockerd
is given the layers where they are, read-only, and copies of the few files that tell of them.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lab import dockerhost, namespace, newdocker, process, uml

AGENT, GOBGPD = "bgp-ipvlan", "bgp-ipvlan-gobgpd"
CODE = uml.REPOSITORY / "src/bgp_ipvlan"
SEEN = Path("/run/bgp-ipvlan-code")
"""Where a host's dockerd sees it. It is mounted over the image's own copy, which is that of the day
the image was built: a change of our code needs no new image."""
PACKAGE = "/opt/bgp-ipvlan/lib/python3.11/site-packages/bgp_ipvlan"
"""Where our code is in the image."""

_RECIPE = tuple(f"packaging/container/{n}" for n in ("Dockerfile", "Dockerfile.gobgpd", "build"))
_CONTEXT = ("packaging", "src", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE")
_LOCK = "packaging/requirements.lock"
_WHEELS = "packaging/container/wheels"
_PYTHON = "3.11"
"""Of the Debian that the images are made of."""

# /run is private, so nothing of a Docker that runs here is met; what resolves names may live there.
# A dockerd that dies ends the wait; all processes end with the namespace.
_BUILD = """
set -eu
cd "$1"
resolv=$(readlink -f /etc/resolv.conf)
cp "$resolv" resolv.conf
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs run /run
[ -e "$resolv" ] || install -D resolv.conf "$resolv"
export DOCKER_CONFIG=$PWD/cli DOCKER_BUILDKIT=0 DOCKER_HOST=unix:///run/docker.sock
echo '{}' >daemon.json
dockerd --config-file=daemon.json --data-root="$PWD/docker" --pidfile=/run/docker.pid \
    --bridge=none --iptables=false --ip6tables=false --storage-driver=overlay2 \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent="/$2" >dockerd.log 2>&1 &
until docker version >/dev/null 2>&1; do
    kill -0 $! || { tail dockerd.log; exit 1; }
    sleep 0.2
done
context/packaging/container/build --without-registry
docker image prune --force >/dev/null
docker image ls
kill $!
wait $! || true
"""

# Docker's own layout, of overlay2. `diff` is a layer's files: here a link to them, since dockerd
# unmounts whatever it finds below its folder when it ends. Below /run a chroot sees them too.
_PRELOAD = """
set -eu
layers=/run/bgp-ipvlan-images
mkdir -p $layers "$3" /var/lib/docker/image /var/lib/docker/overlay2
mount --bind "$1/overlay2" $layers
mount -o remount,bind,ro $layers
mount --bind "$2" "$3"
cp -a "$1/image/overlay2" /var/lib/docker/image/
cp -a $layers/l /var/lib/docker/overlay2/
cd /var/lib/docker/overlay2
for layer in $(ls $layers); do
    [ -d "$layers/$layer/diff" ] || continue
    mkdir "$layer" "$layer/work"
    ln -s "$layers/$layer/diff" "$layer/diff"
    for file in committed link lower; do
        [ ! -f "$layers/$layer/$file" ] || cp -a "$layers/$layer/$file" "$layer/"
    done
done
"""


class Docker(dockerhost.Docker):
    """A dockerd that has our images."""

    def _prepare(self) -> None:
        super()._prepare()
        self.host.run("bash", "-c", _PRELOAD, "preload", store() / "docker", CODE, SEEN)


def store() -> Path:
    """Where they are, whether or not they have been built."""
    digest = hashlib.sha256()
    for name in (*_RECIPE, _LOCK):
        digest.update((uml.REPOSITORY / name).read_bytes())
    return newdocker.CACHE / f"images-{digest.hexdigest()[:12]}"


def ensure(say: Callable[[str], None]) -> None:
    """Build them, unless they are there.

    Args:
        say: told each line of progress.

    Raises:
        namespace.LabError: no dockerd, no mirror, no network; with the end of what was printed.
    """
    with _locked():
        if store().exists():
            return
        for old in newdocker.CACHE.glob("images-*"):
            _delete(old)
        say(f"Building our images in {store()}, once (2 minutes)")
        work = newdocker.CACHE / f"{store().name}.building"
        try:
            _build(work, say)
            # The rename is what makes it whole.
            work.rename(store())
        except BaseException:
            _delete(work)
            raise
    say("The images are ready")


def _build(work: Path, say: Callable[[str], None]) -> None:
    context = work / "context"
    for name in (*_CONTEXT, ".dockerignore"):
        _copy(uml.REPOSITORY / name, context / name)
    # By this machine's pip: in the build nobody knows its proxies and certificates.
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    only = ["--python-version", _PYTHON, "--only-binary", ":all:", "--require-hashes"]
    _run([*pip, *only, "-r", str(context / _LOCK), "-d", str(context / _WHEELS)], say)
    cgroup = namespace.PREFIX + work.name
    mirror = f"MIRROR={newdocker.debian_mirror()}"
    try:
        _run(["env", mirror, "bash", "-c", _BUILD, "build", str(work), cgroup], say, isolated=True)
    finally:
        namespace._remove_cgroups(cgroup)  # noqa: SLF001
    _delete(context)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copy2(source, target)
    else:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def _run(argv: list[str], say: Callable[[str], None], *, isolated: bool = False) -> None:
    wrapped = ["setpriv", "--pdeathsig", "KILL"]
    if isolated:
        wrapped += ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    last: list[str] = []
    with subprocess.Popen(
        [*wrapped, "--", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=None if not isolated else process.environment(newdocker._proxy()),  # noqa: SLF001
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            last = [*last[-25:], line.rstrip()]
            say("  " + line.rstrip()[:120])
    if child.returncode:
        raise namespace.LabError(f"{argv[0]} failed:\n" + "\n".join(last))


def _delete(directory: Path) -> None:
    if directory.exists():
        process.run(["rm", "-rf", "--one-file-system", str(directory)], timeout=300)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    newdocker.CACHE.mkdir(parents=True, exist_ok=True)
    with (newdocker.CACHE / "lock-images").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> None:
    """`python -m lab.image`."""
    argparse.ArgumentParser(description="Build our images for the lab.").parse_args()
    try:
        ensure(lambda line: print(line, flush=True))
    except (namespace.LabError, process.CommandError) as error:
        sys.exit(f"The images could not be built: {error}")


if __name__ == "__main__":
    main()
