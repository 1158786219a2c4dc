"""Our daemon, and gobgpd, in containers: started by the very commands of docs/containers.md."""

from __future__ import annotations

import contextlib
import shlex

from lab import agent, image, namespace, uml

_DOCUMENT = uml.REPOSITORY / "docs/containers.md"


def documented(name: str) -> list[str]:
    """The words of the documented `docker run … --name NAME …`, without `docker`.

    What is mounted from outside /run is mounted from below it: hosts of the lab have the machine's
    own /etc.

    Raises:
        ValueError: there is no such command, or there are several.
    """
    text = _DOCUMENT.read_text().replace("\\\n", " ")
    commands = [
        shlex.split(line) for line in text.splitlines() if line.startswith("    docker run")
    ]
    (found,) = [words for words in commands if words[words.index("--name") + 1] == name]
    words = found[1:]
    for here, word in enumerate(words):
        if words[here - 1] == "-v" and not word.startswith("/run/"):
            words[here] = "/run" + word
    return words


class Agent(agent.Agent):
    """Our daemon in a container on a host.

    Args:
        docker: of the host.
        neighbor: whom it speaks BGP with, in its own AS.
        options: more of `docker run`.
    """

    def __init__(self, docker: image.Docker, neighbor: str, *options: str) -> None:
        super().__init__(docker.host)
        self.docker = docker
        self._neighbor = neighbor
        self._options = options

    def start(self, *, timeout: float = 90.0) -> None:
        """Make the container, and wait until the daemon serves.

        Raises:
            namespace.LabError: it does not; with what it has said.
        """
        words = [
            f"BGP_IPVLAN_NEIGHBORS={self._neighbor}" if "_NEIGHBORS=" in word else word
            for word in documented(image.AGENT)
        ]
        code = ("-v", f"{image.SEEN}:{image.PACKAGE}:ro")
        self.docker.run(*words[:-1], *code, *self._options, words[-1], timeout=timeout)
        self.serves(timeout=timeout)

    def serves(self, *, timeout: float = 90.0) -> None:
        """Wait until it answers.

        Raises:
            namespace.LabError: it does not; with what it has said.
        """

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return bool(self.ask("status"))
            return False

        try:
            namespace.wait_until(answers, f"bgp-ipvlan on {self.host.name}", timeout=timeout)
        except namespace.LabError as error:
            raise namespace.LabError(f"{error}\n{self.log()}") from None

    def log(self) -> str:
        """The end of what it has logged."""
        done = self.host.run(*self.docker.command("logs", "--tail=40", image.AGENT), check=False)
        return done.stdout + done.stderr

    def run(self, *argv: str, check: bool = True) -> str:
        """One `bgp-ipvlan` command, in the container; what it printed."""
        inside = self.docker.command("exec", image.AGENT, "bgp-ipvlan", *argv)
        done = self.host.run(*inside, check=check)
        return done.stdout + done.stderr

    def stop(self) -> int:
        """`docker stop`; returns the exit status."""
        self.docker.run("stop", image.AGENT)
        return int(self.docker.inspect("container", image.AGENT)["State"]["ExitCode"])

    def kill(self) -> None:
        """`docker rm -f`: SIGKILL, and the container is gone."""
        self.docker.run("rm", "-f", image.AGENT)


class Gobgpd:
    """A gobgpd in a container on a host, for its `Agent`.

    Args:
        docker: of the host.
        router_id: its BGP identifier.
        options: more of `docker run`.
    """

    FOR_AGENT = (
        *("-v", "/run/gobgp:/run/gobgp", "-e", "BGP_IPVLAN_ENGINE=gobgp"),
        *("-e", "BGP_IPVLAN_GOBGP_API=unix:/run/gobgp/api.sock"),
    )
    """Options of the daemon's container, as docs/containers.md has them."""

    def __init__(self, docker: image.Docker, router_id: str, *options: str) -> None:
        self.docker = docker
        self._router_id = router_id
        self._options = options

    def start(self) -> None:
        """Make the container."""
        folder = self.docker.host.root / "run/etc/gobgp"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gobgpd.conf").write_text(
            f'[global.config]\nas = 64512\nrouter-id = "{self._router_id}"\n'
        )
        words = documented(image.GOBGPD)
        self.docker.run(*words[:-1], *self._options, words[-1])

    def kill(self) -> None:
        """SIGKILL; its socket stays, and Docker does not start it again."""
        self.docker.run("kill", image.GOBGPD)


def health(docker: image.Docker, name: str) -> str:
    """What Docker thinks of a container: `starting`, `healthy`, `unhealthy`."""
    return str(docker.inspect("container", name)["State"]["Health"]["Status"])
