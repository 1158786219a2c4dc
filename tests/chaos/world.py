"""The hosts of the chaos test, who talks on them, and what happens to them.

    left (sender A, BIRD) ──eth1── us ──eth2── right (sender B)
                          void ══ twin

`twin` has the same links and addresses as `us`, and no daemon. Whatever somebody else does to
routes, links or addresses is done to both, so the twin has the foreign routes as they must be.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import ipaddress
import json
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bgp_ipvlan import model, state
from lab import agent, namespace
from tests.chaos import bird, sender

PATIENCE = 80.0
"""Seconds for everything; less than the time between two audits, which would repair anything."""
US = {
    "eth1": ("192.0.2.1/24", "2001:db8:1::1/64"),
    "eth2": ("198.51.100.1/24", "2001:db8:2::1/64"),
}
FAR = {
    "eth1": ("192.0.2.2/24", "192.0.2.3/24", "2001:db8:1::2/64", "2001:db8:1::3/64"),
    "eth2": ("198.51.100.2/24", "2001:db8:2::2/64"),
}
A, BIRD, B = "192.0.2.2", "192.0.2.3", "2001:db8:2::2"
OWN = tuple(map(ipaddress.ip_network, ("10.7.1.0/24", "2001:db8:700:1::/64")))
"""Subnets of a network of ours."""
_SENTINELS = ipaddress.IPv4Network("192.88.99.0/24")
_RESET_EVERY = 3.0


class World:
    """See the module."""

    def __init__(self, lab: namespace.Lab) -> None:
        self.us, self.twin = lab.host("us"), lab.host("twin")
        self.far = {"eth1": lab.host("left"), "eth2": lab.host("right")}
        self.void = lab.host("void")
        for wire, addresses in US.items():
            lab.wire(
                namespace.Port(self.us, wire, addresses),
                namespace.Port(self.far[wire], wire, FAR[wire]),
            )
            lab.wire(namespace.Port(self.twin, wire), namespace.Port(self.void, wire))
            self._liken(wire)
        left, right = self.far.values()
        self.a = sender.Sender(left, A, "192.0.2.1", router_id="10.255.0.1")
        self.b = sender.Sender(right, B, "2001:db8:2::1", router_id="10.255.0.2", add_path=True)
        self.bird = bird.BirdNeighbor(left, BIRD, "192.0.2.1")
        kept = self.us.directory / "state"
        asyncio.run(_keep_network(kept))
        hold = f"hold={sender.HOLD_TIME}"
        self.daemon = agent.Agent(
            self.us,
            *("--host-interface", "eth1", "--as", str(sender.AS), "--router-id", "192.0.2.1"),
            *("--neighbor", f"{A},passive,{hold}", "--neighbor", f"{B},passive,{hold}"),
            *("--neighbor", f"{BIRD},{hold}", "--state-dir", str(kept)),
        )
        self.running = False
        self.down: set[str] = set()
        """Wires that do not work."""
        self.missing: set[tuple[str, str]] = set()
        """Addresses of ours that are not there, with their link."""
        self.theirs: list[str] = []
        """Others' routes as they were made, in the words of `ip route`; some may be gone."""
        self.moving: dict[str, int] = {}
        """Counters of `status` that must be larger at rest."""
        self._sentinel = 0
        self._reset_at: dict[str, float] = defaultdict(float)

    @property
    def senders(self) -> tuple[sender.Sender, sender.Sender]:
        """Both."""
        return self.a, self.b

    @property
    def whole(self) -> bool:
        """Whether nothing keeps anybody from talking."""
        return not (self.down or self.missing or self.a.away or self.b.away)

    def start(self) -> None:
        """Start everything."""
        self.bird.start()
        self.start_daemon()

    def close(self) -> None:
        """End what does not end with the lab."""
        for one in self.senders:
            one.close()

    def _liken(self, wire: str) -> None:
        """Make the twin's link like ours, down to the addresses that the kernel makes itself."""
        mac = self.us.links()[wire]["address"]
        commands = [f"link set {wire} down", f"link set {wire} address {mac}"]
        commands += [f"link set {wire} up"]
        commands += [f"address add {one} dev {wire}{_nodad(one)}" for one in US[wire]]
        ip(self.twin, *commands)

    # --- everybody else's hands ---------------------------------------------------------

    def both(self, *commands: str) -> None:
        """`ip COMMAND` each on our host and its twin; what one refuses the other refuses too."""
        for host in (self.us, self.twin):
            ip(host, *commands)

    def by_hand(self, *commands: str) -> None:
        """The same on our host alone: hands on what is ours."""
        ip(self.us, *commands)

    def flap(self, wire: str) -> None:
        """Our end down and up again at once; IPv6 addresses do not come back."""
        self.both(f"link set {wire} down", f"link set {wire} up")
        self._moved(wire)

    def set_link(self, wire: str, *, up: bool) -> None:
        """Our end of a wire."""
        self.both(f"link set {wire} {'up' if up else 'down'}")
        (self.down.discard if up else self.down.add)(wire)
        if not up:
            self._moved(wire)

    def _moved(self, wire: str) -> None:
        self.missing |= {(wire, one) for one in US[wire] if ":" in one}
        # What goes with a link is not repaired, it is worked out anew.
        self.moving.clear()

    def set_far(self, wire: str, *, up: bool) -> None:
        """The far end: what we lose is the carrier."""
        commands = [f"link set {wire} {'up' if up else 'down'}"]
        if up:
            commands += [f"address replace {one} dev {wire}{_nodad(one)}" for one in FAR[wire]]
        for host in (self.far[wire], self.void):
            ip(host, *commands)
        (self.down.discard if up else self.down.add)(wire)
        self.moving.clear()

    def set_address(self, wire: str, address: str, *, there: bool) -> None:
        """One of our addresses."""
        verb = "replace" if there else "del"
        self.both(f"address {verb} {address} dev {wire}{_nodad(address) if there else ''}")
        (self.missing.discard if there else self.missing.add)((wire, address))
        self.moving.clear()

    # --- the daemon -----------------------------------------------------------------------

    def end_daemon(self, how: str) -> None:
        """`kill` or `stop`."""
        getattr(self.daemon, how)()
        self.running = False
        self.moving.clear()
        for one in self.senders:
            one.forgotten()
        self.bird.held = {}

    def start_daemon(self) -> None:
        """Again, or the first time."""
        self.daemon.start()
        self.running = True

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP, and in the end SIGCONT."""
        self.daemon.process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.daemon.process.signal(signal.SIGCONT)

    def counters(self) -> dict[str, int]:
        """Of `status --json`."""
        found: dict[str, int] = self.daemon.ask("status")["counters"]
        return found

    # --- sessions -------------------------------------------------------------------------

    def feasible(self, address: str) -> bool:
        """Whether a session with that neighbour is possible now."""
        wire, own = ("eth2", US["eth2"][1]) if address == B else ("eth1", US["eth1"][0])
        return self.running and wire not in self.down and (wire, own) not in self.missing

    @contextlib.contextmanager
    def losing(self) -> Iterator[None]:
        """Sessions may go with what happens inside; then it is known what the daemon has."""
        before = [one for one in self.senders if self.feasible(str(one.address)) and not one.away]
        for one in before:
            self.barrier(one)
        self.wait_bird()
        yield
        for one in before:
            if not self.feasible(str(one.address)):
                self._wait_lost(str(one.address))
                one.cut()
        if not self.feasible(BIRD):
            self._wait_lost(BIRD)

    def _wait_lost(self, address: str) -> None:
        namespace.wait_until(
            lambda: not self.established(address), f"the end of {address}", timeout=PATIENCE
        )

    def neighbor(self, address: str) -> dict[str, Any]:
        """One of `neighbors --json`."""
        found: dict[str, Any] = self.daemon.ask(f"neighbors?address={address}")["neighbors"][0]
        return found

    def established(self, address: str) -> bool:
        """Whether the daemon says so."""
        return bool(self.neighbor(address)["state"] == "Established")

    def barrier(self, one: sender.Sender) -> None:
        """Wait until the daemon has taken in all that a sender said, on a new session if need be.

        Raises:
            namespace.LabError: it does not.
        """
        self._sentinel = self._sentinel % 250 + 1
        key = ipaddress.ip_network(_SENTINELS[self._sentinel]), 0
        one.announce([key], sender.Saying(ipaddress.ip_address(A)))
        self._wait_all(one)
        one.withdraw([key])
        self._wait_all(one)

    def _wait_all(self, one: sender.Sender) -> None:
        has_all = functools.partial(self.has_all, one)
        namespace.wait_until(has_all, f"the table of {one.address}", timeout=PATIENCE)

    def has_all(self, one: sender.Sender) -> bool:
        """Whether the daemon has all that a sender says; connects it where there is no session."""
        now = self.neighbor(str(one.address))
        if not one.up:
            if not one.connect():
                self._have_it_tried(str(one.address), now["state"])
            return False
        if now["state"] != "Established":
            # It may not know yet that the session is no more: then this tells.
            one.probe()
            return False
        return bool(now["received"] == len(one.table) and now["end_of_rib"] and not now["stale"])

    def bird_has_all(self) -> bool:
        """Whether the daemon has all that BIRD says."""
        now = self.neighbor(BIRD)
        if now["state"] != "Established":
            self._have_it_tried(BIRD, now["state"])
            return False
        if now["received"] != len(self.bird.table) or not now["end_of_rib"] or now["stale"]:
            return False
        self.bird.held = dict(self.bird.table)
        return True

    def wait_bird(self) -> None:
        """Wait for that, where BIRD can be heard.

        Raises:
            namespace.LabError: it is not so.
        """
        if self.feasible(BIRD):
            namespace.wait_until(self.bird_has_all, "BIRD's table", timeout=PATIENCE)

    def _have_it_tried(self, address: str, state: str) -> None:
        """`bgp-ipvlan neighbor reset` now and then, as an operator would: flaps are damped."""
        if state in {"Idle", "Active"} and time.monotonic() > self._reset_at[address]:
            self._reset_at[address] = time.monotonic() + _RESET_EVERY
            order(self.us, "neighbors/reset", neighbor=address)


def ip(host: namespace.Host, *commands: str) -> None:
    """`ip COMMAND` each, whatever comes of it."""
    text = "\n".join(commands) + "\n"
    host.run("ip", "-force", "-batch", "-", stdin=text, check=False)


def order(host: namespace.Host, resource: str, **body: str) -> None:
    """What a `bgp-ipvlan` command has the daemon do, without starting a command."""
    connection = http.client.HTTPConnection("bgp-ipvlan", timeout=60)
    with contextlib.closing(connection):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60)
        connection.sock.connect(str(host.root / "run/bgp-ipvlan/control.sock"))
        connection.request("POST", f"/{resource}", json.dumps(body))
        connection.getresponse().read()


async def _keep_network(directory: Path) -> None:
    """A network as Docker made it in an earlier life; no link is needed to announce it."""
    opened = await state.State.open(directory)
    subnets = tuple(map(model.Subnet, OWN))
    await opened.put_network(model.Network(id=64 * "a", parent="eth1", subnets=subnets))
    await opened.close()


def _nodad(address: str) -> str:
    return " nodad" if ":" in address else ""
