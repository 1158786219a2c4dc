"""A daemon on a host with a real kernel, and neighbours that say what a test has them say.

Networks are put into the daemon's state before it starts: making one takes an ipvlan kernel,
having one without host access does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bgp_ipvlan import model, state
from lab import agent, namespace

AS, THEIR_AS = 64512, 64513
HERE, PEER, ROUTER = "192.0.2.1", "192.0.2.2", "192.0.2.3"
HERE6, PEER6 = "2001:db8::1", "2001:db8::2"
ROOT = Path(__file__).parents[2]
Route = dict[str, Any]


class Neighbor:
    """`tests.interop.speaker` on a host of the wire."""

    def __init__(self, host: namespace.Host, address: str) -> None:
        self.host = host
        self.address = address
        self._orders = host.directory / "orders"

    def start(self) -> None:
        """Begin to talk, with nothing to say."""
        self._orders.unlink(missing_ok=True)
        self._process = self.host.start(
            *(sys.executable, "-m", "tests.interop.speaker", "--as", str(THEIR_AS)),
            *("--router-id", self.address, "--neighbor", f"{HERE},{AS}"),
            *("--orders", str(self._orders)),
            log="speaker.log",
            env={"PYTHONPATH": f"{ROOT}:{ROOT}/src"},
        )
        namespace.wait_until(self._orders.exists, "the neighbour to listen")

    def stop(self) -> None:
        """Withdraw and Cease."""
        self._process.signal(signal.SIGINT)
        self._process.wait()

    def announce(self, *prefixes: str, next_hop: str = "", **attributes: Any) -> None:
        """Say some prefixes; by default by itself."""
        self._order("announce", routes=[self._said(p, next_hop, attributes) for p in prefixes])

    def _said(self, prefix: str, next_hop: str, attributes: dict[str, Any]) -> dict[str, Any]:
        default = PEER6 if ":" in prefix else self.address
        return {"prefix": prefix, "next_hop": default, **attributes} | (
            {"fixed_next_hop": next_hop} if next_hop else {}
        )

    def withdraw(self, *prefixes: str) -> None:
        """Take them back."""
        self._order("withdraw", prefixes=list(prefixes))

    def _order(self, do: str, **values: Any) -> None:
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rw") as file:
            connection.connect(str(self._orders))
            file.write(json.dumps({"do": do, **values}) + "\n")
            file.flush()
            file.readline()


class Scene:
    """The host with eth1 (the parent), eth2 and eth3, its daemon, and two neighbours.

    `peer` is a plain one, `router` has `recursive`.
    """

    def __init__(self, lab: namespace.Lab, *flags: str) -> None:
        self.host = lab.host("here")
        hosts = {"peer": lab.host("peer"), "router": lab.host("router")}
        lab.segment(
            namespace.Port(self.host, "eth1", (f"{HERE}/24", f"{HERE6}/64")),
            namespace.Port(hosts["peer"], "eth1", (f"{PEER}/24", f"{PEER6}/64")),
            namespace.Port(hosts["router"], "eth1", (f"{ROUTER}/24", "2001:db8::3/64")),
        )
        other = lab.host("other")
        lab.wire(
            namespace.Port(self.host, "eth2", ("198.51.100.1/24",)),
            namespace.Port(other, "eth1", ("198.51.100.2/24",)),
        )
        lab.wire(
            namespace.Port(self.host, "eth3", ("203.0.113.1/30",)), namespace.Port(other, "eth3")
        )
        self.peer = Neighbor(hosts["peer"], PEER)
        self.router = Neighbor(hosts["router"], ROUTER)
        self._state = self.host.directory / "state"
        self.daemon = agent.Agent(
            self.host,
            *("--host-interface", "eth1", "--as", str(AS)),
            *("--neighbor", f"{PEER},as={THEIR_AS}"),
            *("--neighbor", f"{ROUTER},as={THEIR_AS},recursive"),
            *("--state-dir", str(self._state)),
            *flags,
        )
        tentative = ("ip", "-6", "address", "show", "tentative")
        # Routes of an address come when it is known to be nobody else's.
        namespace.wait_until(lambda: not self.host.run(*tentative).stdout, "IPv6 addresses")

    def start(self, *networks: model.Network) -> None:
        """Everything, and wait for the sessions."""
        asyncio.run(self._put(networks))
        self.peer.start()
        self.router.start()
        self.daemon.start()
        self.established()

    def established(self) -> None:
        """Both sessions are up, and all is known."""

        def up() -> bool:
            status = self.daemon.ask("status")
            return bool(status["synced"] and status["neighbors"]["established"] == 2)

        self.until(up, "two sessions", timeout=60)

    async def _put(self, networks: tuple[model.Network, ...]) -> None:
        store = await state.State.open(self._state)
        for network in networks:
            await store.put_network(network)
        await store.close()

    def ip(self, command: str) -> None:
        """Somebody else's hand: `ip COMMAND`."""
        self.host.run("ip", *command.split())

    def ours(self) -> dict[str, Route]:
        """Our routes of the main tables, as `ip` shows them."""
        found = {}
        for family in (4, 6):
            for route in self.host.routes("proto", "179", "metric", "17900", family=family):
                found[str(ipaddress.ip_network(_full(route["dst"], family)))] = route
        return found

    def theirs(self) -> list[str]:
        """Everybody else's routes in all tables, as `ip -d` shows them, whole (not eth3's)."""
        found = []
        for family in (4, 6):
            for route in self.host.routes("table", "all", family=family):
                marks = route.get("protocol"), route.get("metric")
                if marks != ("179", 17900) and route.get("dev") != "eth3":
                    found.append(json.dumps(route, sort_keys=True))
        return sorted(found)

    def refused(self) -> dict[str, str]:
        """Why prefixes have no route: `routes --json`."""
        return {one["prefix"]: one["reason"] for one in self.daemon.ask("routes")["refused"]}

    def until(self, condition: Callable[[], object], what: str, *, timeout: float = 30.0) -> None:
        """Wait; fails with the daemon's log."""
        try:
            namespace.wait_until(condition, what, timeout=timeout)
        except namespace.LabError as error:
            shown = self.host.run("ip", "route").stdout
            raise namespace.LabError(f"{error}\n{shown}\n{self.daemon.process.tail(30)}") from None

    def repaired(self) -> int:
        """How many routes were put back."""
        return int(self.daemon.ask("status")["counters"]["repaired"])

    def audit(self) -> None:
        """Have the kernel read back, as every 90 s."""
        before = self.daemon.ask("status")["counters"]["audits"]
        # Down and up again drops IPv4 routes without a word, so it is looked at everything.
        self.ip("link set eth3 down")
        self.ip("link set eth3 up")
        self.ip("address replace 203.0.113.1/30 dev eth3")
        self.until(lambda: self.daemon.ask("status")["counters"]["audits"] > before, "an audit")


def _full(destination: str, family: int) -> str:
    return {4: "0.0.0.0/0", 6: "::/0"}[family] if destination == "default" else destination


def network(subnet: str, advertise: model.Advertise = model.Advertise.SUBNET) -> model.Network:
    """One of ours on eth1 that takes no link of the host's own."""
    prefix = ipaddress.ip_network(subnet)
    return model.Network(
        id=f"{int(prefix.network_address):064x}",
        parent="eth1",
        subnets=(model.Subnet(prefix, prefix[1]),),
        advertise=advertise,
        host_access=False,
    )


@contextlib.contextmanager
def scene(*networks: model.Network, flags: tuple[str, ...] = ()) -> Iterator[Scene]:
    """One that runs."""
    with namespace.Lab() as lab:
        found = Scene(lab, *flags)
        found.start(*networks)
        yield found
