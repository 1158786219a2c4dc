"""A real dockerd on a lab host, as if the host were a machine of its own.

Docker's data, its sockets and its plugin folder are the host's own, at the
default paths: `docker …` typed there means this dockerd and no other. Nothing
of a Docker that runs on the machine is touched or seen.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import socket
import tarfile
from pathlib import Path
from typing import Any

from lab import namespace, newdocker, process

IMAGE = "busybox"
_APPLETS = (
    "sh",
    "sleep",
    "ping",
    "ip",
    "cat",
    "ls",
    "hostname",
    "nc",
    "true",
    "wget",
    "ps",
    "kill",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """A Docker Engine that can be run: Debian's own, or one in a folder to chroot into."""

    name: str
    """Short, for test ids."""
    root: Path | None = None


DEBIAN = Engine("debian")
"""Debian 12's: 20.10."""
NEW = Engine("new", newdocker.root())
"""Debian sid's: 28.5 when this was written. `newdocker.ensure` builds it."""

# The folder is shared and read-only; what dockerd writes is the host's own. /run is the same mount
# as outside the chroot (shared within the host), so sockets and sandboxes are seen on both sides.
_CHROOT = """
set -eu
root=$1 mount=$2
mkdir "$mount"
mount --rbind "$root" "$mount"
mount -o remount,bind,ro "$mount"
mount --rbind /proc "$mount/proc"
mount --rbind /sys "$mount/sys"
mount --rbind /dev "$mount/dev"
mount --rbind /run "$mount/run"
mount --bind /tmp "$mount/tmp"
mount --bind /var/lib/docker "$mount/var/lib/docker"
"""


class Docker:
    """Dockerd on one lab host.

    Args:
        host: where.
        engine: which.
        options: more options for dockerd, e.g. `--live-restore`.
    """

    def __init__(
        self, host: namespace.Host, engine: Engine = DEBIAN, *, options: tuple[str, ...] = ()
    ) -> None:
        self.host = host
        self.engine = engine
        self._options = options
        self._chroot: list[str | Path] = []
        self._prepared = False
        self.process: process.Process

    def start(self, *, timeout: float = 60.0) -> None:
        """Start dockerd, wait until its API answers, and have the image there.

        Raises:
            namespace.LabError: it does not come up; with the end of its log.
        """
        first = not self._prepared
        if first:
            self._prepare()
        self._launch()
        try:
            namespace.wait_until(self._answers, f"dockerd on {self.host.name}", timeout=timeout)
        except namespace.LabError as error:
            raise namespace.LabError(f"{error}\n{self.process.tail()}") from None
        if first:
            self._import_image()

    def command(self, *argv: str) -> list[str | Path]:
        """The `docker` command line as it must be run on the host."""
        return [
            *("env", f"DOCKER_CONFIG={self.host.directory}/docker-cli"),
            *self._chroot,
            *("docker", *argv),
        ]

    def run(self, *argv: str, timeout: float = 120.0) -> str:
        """One docker command; its output, stripped.

        Raises:
            namespace.LabError: it failed; docker's message is in it.
        """
        return self.host.run(*self.command(*argv), timeout=timeout).stdout.strip()

    def refused(self, *argv: str, timeout: float = 120.0) -> str:
        """One docker command that must fail; what docker tells the user.

        Raises:
            namespace.LabError: it did not fail.
        """
        done = self.host.run(*self.command(*argv), check=False, timeout=timeout)
        if done.returncode == 0:
            raise namespace.LabError(f"docker {' '.join(argv)} was not refused: {done.stdout}")
        return done.stderr.strip()

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """`docker KIND inspect NAME`."""
        found: list[dict[str, Any]] = json.loads(self.run(kind, "inspect", name))
        return found[0]

    def version(self) -> str:
        """Of the server."""
        return self.run("version", "--format", "{{.Server.Version}}")

    def stop(self) -> None:
        """SIGTERM, as systemd would: containers are stopped unless live-restore is on."""
        self.process.stop(timeout=30)

    def kill(self) -> None:
        """SIGKILL, as in a crash: containers go on."""
        self.process.kill()

    def _answers(self) -> bool:
        if not self.process.alive:
            raise namespace.LabError("dockerd has ended")
        with socket.socket(socket.AF_UNIX) as api:
            api.settimeout(2)
            try:
                api.connect(str(self.host.root / "run/docker.sock"))
                api.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 OK" in api.recv(4096)
            except OSError:
                return False

    def _prepare(self) -> None:
        host = self.host
        host.run("mkdir", "-p", "/var/lib/docker", host.directory / "docker-cli")
        host.run("mount", "-t", "tmpfs", "-o", "mode=710", "docker", "/var/lib/docker")
        # Dockerd 20.10 writes a key there: not to be left on the machine, whose /etc may be
        # read-only besides.
        host.run("sh", "-c", "[ ! -d /etc/docker ] || mount -t tmpfs docker /etc/docker")
        # Not the machine's /etc/docker/daemon.json.
        (host.directory / "daemon.json").write_text("{}\n")
        if self.engine.root is not None:
            mount = host.directory / "engine"
            host.run("bash", "-c", _CHROOT, "chroot", self.engine.root, mount)
            self._chroot = ["chroot", mount]
        self._prepared = True

    def _launch(self) -> None:
        # A crash leaves the pid file, and in the host's small pid namespace that number may well
        # be in use again, at which dockerd refuses to start.
        self.host.run("rm", "-f", "/run/docker.pid")
        cgroup = self.host.directory.parent.name
        self.process = self.host.start(
            *self._chroot,
            *("dockerd", f"--config-file={self.host.directory / 'daemon.json'}"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", f"--cgroup-parent=/{cgroup}"),
            *("--storage-driver=overlay2", *self._options),
            log="dockerd.log",
        )

    def _import_image(self) -> None:
        tar = self.host.directory / "image.tar"
        tar.write_bytes(_image())
        self.run("import", str(tar), IMAGE)
        tar.unlink()


@functools.cache
def _image() -> bytes:
    """A root file system that is busybox and nothing else, as a tar for `docker import`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for folder in ("etc", "tmp", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
    return buffer.getvalue()
