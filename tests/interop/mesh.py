"""Three of our hosts on one wire, each with another engine: embedded, gobgp attached, gobgp spawned.

On each the whole daemon, as a user runs it, and a network of both families; every host is every
other's neighbour. `ip` is the witness.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab import agent, namespace, process

AS = 64512
ENGINES: dict[str, tuple[str, ...]] = {
    "embedded": (),
    "attached": ("--engine", "gobgp"),
    "spawned": ("--engine", "gobgp", "--gobgp-spawn"),
}
NAMES = tuple(ENGINES)
_WITHOUT_LINKS = (
    *("env", f"PYTHONPATH={Path(__file__).parents[2]}"),
    *(sys.executable, "-m", "bench.withoutlinks"),
)
"""Networks can be made where the kernel has no ipvlan."""


class Node:
    """One host.

    Args:
        host: where.
        name: which engine.
        number: in all its addresses.
        local_as: its AS number.
        others: its neighbours: number → AS number.
    """

    def __init__(
        self, host: namespace.Host, name: str, number: int, local_as: int, others: dict[int, int]
    ) -> None:
        self.host = host
        self.name = name
        self.number = number
        self.local_as = local_as
        self.address, self.address6 = f"192.0.2.{number}", f"2001:db8::{number}"
        self.subnets = f"10.1.{number}.0/24", f"2001:db8:{number}::/64"
        self.neighbors = [f"192.0.2.{n},as={remote}" for n, remote in others.items()]
        flags = ["--host-interface", "eth1", "--as", str(local_as), *ENGINES[name]]
        flags += [word for one in self.neighbors for word in ("--neighbor", one)]
        self.daemon = agent.Agent(host, *flags, wrapper=_WITHOUT_LINKS)
        self.plugin = agent.Plugin(host)
        self.gobgpd: process.Process

    def up(self) -> None:
        """Start all that runs here, with a network."""
        if self.name == "attached":
            self.start_gobgpd()
        self.daemon.start()
        self.network = self.create(*self.subnets)

    def start_gobgpd(self, *more: str) -> None:
        """The administrator's, which knows who it is and nobody else."""
        file = self.host.directory / "gobgpd.toml"
        file.write_text(f'[global.config]\nas = {self.local_as}\nrouter-id = "{self.address}"\n')
        self.gobgpd = self.host.start(
            *(
                "gobgpd",
                "-f",
                str(file),
                "--api-hosts",
                "127.0.0.1:50051",
                "--pprof-disable",
                *more,
            ),
            log="gobgpd.log",
        )

    def create(self, *subnets: str, advertise: str = "subnet") -> str:
        """`docker network create`; nothing but routes and announcements comes of it."""
        options: Any = {"host_access": "off", "bgp.advertise": advertise}
        return self.plugin.create_network(*subnets, **options)

    def learned(self) -> dict[str, str]:
        """By its kernel: prefix → next hops, one after the other."""
        found = {}
        for family in (4, 6):
            for route in self.host.routes("proto", "179", family=family):
                hops = [h["gateway"] for h in (route, *route.get("nexthops", ())) if "gateway" in h]
                if hops:
                    found[route["dst"]] = " ".join(hops)
        return found

    def wait(self, condition: Callable[[], object], what: str, *, timeout: float = 30.0) -> None:
        """Wait; fails with what it has and with its log."""
        try:
            namespace.wait_until(condition, f"{what} on {self.name}", timeout=timeout)
        except namespace.LabError as error:
            raise namespace.LabError(
                f"{error}\n{self.learned()}\n{self.daemon.log()[-4000:]}"
            ) from None

    def neighbor(self, other: Node) -> dict[str, Any]:
        """Another host, as this one has it as neighbour; empty if it has not."""
        found = self.daemon.ask("neighbors")["neighbors"]
        return next((one for one in found if one["address"] == other.address), {})

    def warnings(self) -> list[str]:
        """Those of `status`, but for one of all these hosts: they have no default route."""
        return [one for one in self.daemon.warnings() if "[no-default-route]" not in one]


class Mesh:
    """All three.

    Args:
        lab: makes them.
        external: each is in an AS of its own; else all are in one.
    """

    def __init__(self, lab: namespace.Lab, *, external: bool) -> None:
        ases = {n: AS + n * external for n, _ in enumerate(NAMES, 1)}
        hosts = [lab.host(name) for name in NAMES]
        lab.segment(
            *(
                namespace.Port(host, "eth1", (f"192.0.2.{n}/24", f"2001:db8::{n}/64"))
                for n, host in enumerate(hosts, 1)
            )
        )
        self.nodes = [
            Node(host, name, n, ases[n], {o: a for o, a in ases.items() if o != n})
            for n, (host, name) in enumerate(zip(hosts, NAMES, strict=True), 1)
        ]
        self.external = external

    def up(self) -> None:
        """Start all; all know all."""
        for node in self.nodes:
            node.up()
        self.whole()

    def mend(self) -> None:
        """Undo what a test that failed has left."""
        for node in self.nodes:
            if not node.daemon.process.alive:
                node.daemon.start()
            if node.daemon.ask("status")["drain"]:
                node.daemon.run("undrain")
            for network in node.daemon.ask("networks")["networks"]:
                if network["id"] != node.network:
                    node.plugin.delete_network(network["id"])
            for said, other in zip(node.neighbors, self.others(node), strict=True):
                if not node.neighbor(other):
                    node.daemon.run("neighbor", "add", said)

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def others(self, node: Node) -> list[Node]:
        """The two that are not this one."""
        return [one for one in self.nodes if one is not node]

    def wanted(self, node: Node) -> dict[str, str]:
        """What a host's kernel has while all is as it should be."""
        others = self.others(node)
        return {o.subnets[0]: o.address for o in others} | {
            o.subnets[1]: o.address6 for o in others
        }

    def whole(self, *, timeout: float = 30.0) -> None:
        """Wait until every session stands, and every kernel has the others' routes and no more."""
        for node in self.nodes:
            node.wait(lambda: self._is_whole(node), "all as it should be", timeout=timeout)  # noqa: B023

    def _is_whole(self, node: Node) -> bool:
        found = [node.neighbor(other) for other in self.others(node)]
        said = all(one.get("end_of_rib") and not one["stale"] for one in found)
        synced = node.daemon.ask("status")["synced"]
        return said and synced and node.learned() == self.wanted(node)

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """No route of all this leaves a kernel meanwhile, on no host."""
        watches = [(node, _Watch(node.host)) for node in self.nodes]
        yield
        for node, watch in watches:
            gone = watch.deleted()
            lost = [
                line
                for line in gone
                if any(line.split()[1] in (prefix, "id") for prefix in self.wanted(node))
            ]
            assert not lost, f"on {node.name}: {lost}"


class _Watch:
    """What goes from a kernel, routes and nexthop objects: with the latter routes go untold.

    Args:
        host: whose.
    """

    _count = 0

    def __init__(self, host: namespace.Host) -> None:
        self._host = host
        _Watch._count += 1
        name = f"monitor-{_Watch._count}.log"
        self._monitor = host.start("ip", "monitor", "route", "nexthop", log=name)
        namespace.wait_until(lambda: self._mark() > 0, "the monitor to watch")

    def _mark(self) -> int:
        """Make something be shown; how often it has been."""
        marker = ("blackhole", "198.51.100.1", "proto", "static")
        for verb in ("add", "del"):
            self._host.run("ip", "route", verb, *marker)
        return self._monitor.output().count("Deleted blackhole")

    def deleted(self) -> list[str]:
        """All that went until now; ends the watching."""
        # It tells in order: with a new mark, all before has been shown.
        before = self._monitor.output().count("Deleted blackhole")
        namespace.wait_until(lambda: self._mark() > before, "all to be shown")
        self._monitor.stop()
        lines = self._monitor.output().splitlines()
        return [line for line in lines if line.startswith("Deleted") and "blackhole" not in line]
