"""The recipes of docs/routing-daemon.md, on lab hosts: the very files that a reader copies."""

from __future__ import annotations

import re
from pathlib import Path

from lab import namespace, process

DOCUMENT = Path(__file__).parents[2] / "docs/routing-daemon.md"
_SWAPPED = {"192.0.2.1": "192.0.2.2", "2001:db8::1": "2001:db8::2"}


def configuration(daemon: str, *, other: bool = False) -> str:
    """The file of a daemon, for the first host or the `other` one."""
    [text] = re.findall(rf"```{daemon}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    if not other:
        return str(text)
    swap = _SWAPPED | {there: here for here, there in _SWAPPED.items()}
    words = "|".join(rf"{re.escape(word)}\b" for word in swap)
    return re.sub(words, lambda found: swap[found.group()], text)


def commands(daemon: str) -> list[list[str]]:
    """What is typed before our daemon starts: the rules, in FRR's chapter."""
    chapter = DOCUMENT.read_text().partition(f"\n## {daemon}")[2].partition("\n## ")[0]
    return [line.split() for line in re.findall(r"(?m)^    (ip .*)$", chapter)]


def flags(daemon: str) -> list[str]:
    """What our daemon is started with."""
    text = DOCUMENT.read_text()
    chapter = text.partition(f"\n## {daemon}")[2].partition("\n## ")[0]
    [line, *_] = re.findall(r"(?m)^    bgp-ipvlan run (.*)$", chapter + text)
    return str(line).split()


class Bird:
    """BIRD with the recipe."""

    def __init__(self, host: namespace.Host, *, other: bool = False) -> None:
        self.host = host
        self._file = host.directory / "bird.conf"
        # There is no syslog here.
        text = configuration("bird", other=other).replace("log syslog", "log stderr")
        self._file.write_text(text)
        self.process: process.Process

    def start(self, *, restarting: bool = False) -> None:
        """Start it and wait until it answers."""
        again = ["-R"] if restarting else []
        self.process = self.host.start(
            *("bird", "-f", "-c", str(self._file), "-s", "/run/bird.ctl", *again), log="bird.log"
        )
        show = ("birdc", "-s", "/run/bird.ctl", "show status")
        namespace.wait_until(
            lambda: not self.host.run(*show, check=False).returncode, "birdc to answer"
        )

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()


class Frr:
    """zebra and bgpd with the recipe."""

    def __init__(self, host: namespace.Host, *, other: bool = False) -> None:
        self.host = host
        directory = host.directory / "frr"
        host.run("install", "-d", "-o", "frr", "-g", "frr", "/run/frr", directory)
        self._file = directory / "bgpd.conf"
        self._file.write_text(configuration("frr", other=other))
        host.run("chown", "frr:frr", self._file)

        self.processes: list[process.Process] = []

    def start(self, *, restarting: bool = False) -> None:  # noqa: ARG002 - it always says so
        """Start both and wait until they answer."""
        self._daemon("zebra", "-K", "60")
        self._daemon("bgpd", "-f", str(self._file))

    def kill(self) -> None:
        """SIGKILL for both."""
        for one in self.processes:
            one.kill()
        self.processes.clear()

    def _daemon(self, name: str, *more: str) -> None:
        started = self.host.start(
            *(f"/usr/lib/frr/{name}", "-i", f"/run/frr/{name}.pid", "-z", "/run/frr/zserv.api"),
            *("--vty_socket", "/run/frr", "-A", "127.0.0.1", "--log", "stdout", *more),
            log=f"{name}.log",
        )
        self.processes.append(started)
        show = ("vtysh", "-d", name, "-c", "show version")
        namespace.wait_until(
            lambda: not self.host.run(*show, check=False).returncode, f"{name} to answer"
        )
