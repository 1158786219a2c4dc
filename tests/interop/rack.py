"""A host with its daemon, and two BIRDs on the same wire: one is meant, one must not notice."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bgp_ipvlan import model, state
from lab import agent, namespace, peers

US, LEFT, RIGHT = "192.0.2.1", "192.0.2.2", "192.0.2.3"
AS, LEFT_AS, RIGHT_AS = 64512, 64513, 64514
OF_LEFT, OF_RIGHT, OURS = "10.2.0.0/16", "10.3.0.0/16", "10.1.1.0/24"
GLOBAL = f"[global.config]\nas = {AS}\n"
TO_LEFT = f"""
[[neighbors]]
[neighbors.config]
neighbor-address = "{LEFT}"
peer-as = {LEFT_AS}
"""
TO_RIGHT = TO_LEFT.replace(LEFT, RIGHT).replace(str(LEFT_AS), str(RIGHT_AS))


class Rack:
    """Our host, whose daemon has a file and one network, and two neighbours on the same wire."""

    def __init__(self, lab: namespace.Lab, file: str) -> None:
        hosts = [lab.host(name) for name in ("us", "left", "right")]
        addresses = (US, LEFT, RIGHT)
        lab.segment(
            *(
                namespace.Port(host, "eth1", (f"{address}/24",))
                for host, address in zip(hosts, addresses, strict=True)
            )
        )
        self.host = hosts[0]
        self.left = _bird(hosts[1], LEFT_AS, LEFT, OF_LEFT)
        self.right = _bird(hosts[2], RIGHT_AS, RIGHT, OF_RIGHT)
        self.file = self.host.directory / "config.toml"
        self.write(file)
        kept = self.host.directory / "state"
        asyncio.run(_keep_network(kept))
        flags = ("--host-interface", "eth1", "--config-file", str(self.file))
        self.daemon = agent.Agent(self.host, *flags, "--state-dir", str(kept))

    def write(self, text: str) -> None:
        """The daemon's file."""
        self.file.write_text(text)
        self.file.chmod(0o600)

    def up(self) -> None:
        """Start all three; the left neighbour's session stands."""
        self.left.start()
        self.right.start()
        self.daemon.start()
        self.wait(lambda: OF_LEFT in self.kernel(), "the left neighbour's route")

    def kernel(self) -> set[str]:
        """Learned routes, by `ip route`."""
        return {r["dst"] for r in self.host.routes("proto", "179") if "gateway" in r}

    def neighbor(self, address: str) -> dict[str, Any]:
        """One of `neighbors --json`."""
        found: dict[str, Any] = self.daemon.ask(f"neighbors?address={address}")["neighbors"][0]
        return found

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait; fails with the daemon's log."""
        try:
            namespace.wait_until(condition, what)
        except namespace.LabError as error:
            raise namespace.LabError(f"{error}\n{self.daemon.log()[-3000:]}") from None

    def warnings(self) -> list[str]:
        """Those of `status`, but for one of all these hosts: they have no default route."""
        found = self.daemon.warnings()
        return [text for text in found if not text.endswith("[no-default-route]")]

    def refused(self, *argv: str) -> str:
        """A command that must fail; its one line."""
        done = self.host.run(agent.COMMAND, *argv, check=False)
        assert done.returncode == 1, done.stdout
        (line,) = done.stderr.splitlines()
        return line


def _bird(host: namespace.Host, local_as: int, address: str, prefix: str) -> peers.Bird:
    neighbor = peers.Neighbor(address=US, remote_as=AS)
    speaker = peers.Speaker(
        local_as=local_as, router_id=address, neighbors=(neighbor,), originate=(prefix,)
    )
    return peers.Bird(host, speaker)


async def _keep_network(directory: Path) -> None:
    """A network as Docker made it in an earlier life; no link is needed to announce it."""
    opened = await state.State.open(directory)
    subnet = model.Subnet(ipaddress.ip_network(OURS))
    await opened.put_network(model.Network(id=64 * "a", parent="eth1", subnets=(subnet,)))
    await opened.close()


def sessions(bird: peers.Bird) -> int:
    """How often BIRD has logged that its session came up."""
    return bird.process.output().count("BGP session established")
