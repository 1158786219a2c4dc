"""A real gobgpd with scripted neighbours, and our door to it: what the API's tests run on.

The neighbours say octets of the test's choosing, so that what gobgpd makes of an UPDATE can be
compared with what our own speaker makes of the same one. BIRD is the witness of what gobgpd says.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from bgp_ipvlan import errors, model
from bgp_ipvlan.bgp import attributes, capability, message, update
from bgp_ipvlan.engines.gobgp import api as api_
from lab import namespace, newgobgp, peers
from tests.chaos import sender, witness

AS, LEFT_AS, RIGHT_AS = 64512, 64513, 64514
US, LEFT, RIGHT, INSIDE, BIRD, ABSENT = (f"192.0.2.{number}" for number in range(1, 7))
US6, LEFT6, BIRD6 = "2001:db8::1", "2001:db8::2", "2001:db8::5"
NEIGHBORS = {LEFT: LEFT_AS, RIGHT: RIGHT_AS, INSIDE: AS, BIRD: AS, LEFT6: LEFT_AS, ABSENT: AS}
PROGRAMS = {"3": Path("/usr/bin/gobgpd"), "4": newgobgp.daemon()}
HOLD_TIME = 90
PATIENCE = 20.0
_SIMPLE = ("10.1.1.0/24", "2001:db8:1::/48")
"""What tests say in octets of their own."""
V4, V6 = model.Family.IPV4, model.Family.IPV6


@dataclasses.dataclass(frozen=True, slots=True)
class Gobgp:
    """Which gobgpd, and what it is told."""

    version: str
    multipath: bool = False

    @property
    def document(self) -> str:
        """Its configuration."""
        parts = [f'[global.config]\nas = {AS}\nrouter-id = "{US}"\n']
        if self.multipath:
            parts.append("[global.use-multiple-paths.config]\nenabled = true\n")
        for address, number in NEIGHBORS.items():
            parts.append(
                f'[[neighbors]]\n[neighbors.config]\nneighbor-address = "{address}"\n'
                f"peer-as = {number}\n[neighbors.transport.config]\npassive-mode = true\n"
                "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 30\n"
            )
            parts += (
                f"[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\n"
                f'afi-safi-name = "{family}"\n'
                "[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n"
                for family in ("ipv4-unicast", "ipv6-unicast")
            )
        return "".join(parts)


class Neighbor:
    """A scripted neighbour with a session."""

    def __init__(self, scene: Scene, address: str) -> None:
        self.address = ipaddress.ip_address(address)
        self.local_as = NEIGHBORS[address]
        self.ebgp = self.local_as != AS
        daemon = US if self.address.version == 4 else US6

        def dial() -> socket.socket:
            return socket.create_connection((daemon, 179), 5.0, source_address=(address, 0))

        def attempt() -> sender.Connection | None:
            with contextlib.suppress(OSError):
                made = sender.Connection(
                    witness.inside(scene.others, dial), self._opening(), HOLD_TIME
                )
                while not made.closed.is_set():  # gobgpd is quick to say no
                    if made.established.wait(0.02):
                        return made
                made.close(reset=True)
            return None

        found = namespace.wait_until(attempt, f"a session of {address} with gobgpd")
        assert found is not None
        self.connection = found
        self._said = set(_SIMPLE)

    @property
    def router_id(self) -> int:
        """Its BGP identifier."""
        return int(self.address) & 0xFFFFFFFF

    def _opening(self) -> bytes:
        offer = capability.Capabilities(
            families=frozenset(model.Family),
            four_octet_as=self.local_as,
            route_refresh=True,
            extended_next_hop=True,
            graceful_restart=capability.GracefulRestart(
                restarted=False, time=30, families=dict.fromkeys(model.Family, True)
            ),
        )
        return message.Open(
            my_as=self.local_as,
            hold_time=HOLD_TIME,
            identifier=self.router_id,
            parameters=offer.encode(),
        ).encode()

    def say(self, *updates: bytes) -> None:
        """Some messages."""
        self.connection.say(b"".join(updates))

    def announce(self, *prefixes: str, med: int | None = None, hop: str = "") -> None:
        """Prefixes of one family, with the least there can be."""
        self._said.update(prefixes)
        keys = [model.nlri(ipaddress.ip_network(prefix)) for prefix in prefixes]
        family = model.Family.of(ipaddress.ip_network(prefixes[0]))
        next_hop = ipaddress.ip_address(hop or (str(self.address) if family is V4 else LEFT6))
        self.say(*update.announce(family, keys, next_hop=next_hop, common=self.common(med=med)))

    def withdraw(self, *prefixes: str) -> None:
        """Take them back."""
        keys = [model.nlri(ipaddress.ip_network(prefix)) for prefix in prefixes]
        family = model.Family.of(ipaddress.ip_network(prefixes[0]))
        self.say(*update.withdraw(family, keys))

    def silence(self) -> None:
        """Take everything back."""
        for mark in ".", ":":
            prefixes = [one for one in self._said if mark in one]
            self.withdraw(*prefixes)
        self._said = set(_SIMPLE)

    def leave(self) -> None:
        """End the session with Cease."""
        self.say(message.notification(message.ProtocolError(message.CEASE, 3)))
        self.connection.close()

    def common(self, *, med: int | None = None) -> bytes:
        """Attributes but for the next hop."""
        return attributes.encode_common(
            as_path=(self.local_as,) if self.ebgp else (),
            four_octet_as=True,
            med=med,
            local_pref=None if self.ebgp else 100,
            communities=(),
            large_communities=(),
        )

    def end_of_rib(self) -> None:
        """All is said."""
        self.say(*map(update.end_of_rib, model.Family))

    def expected(self, octets: bytes) -> model.Path:
        """What our own speaker would make of an UPDATE of this neighbour's."""
        found = update.parse(octets[message.HEADER_SIZE :], four_octet_as=True, ebgp=self.ebgp)
        (block,) = found.announced
        said = found.attributes
        assert block.next_hop is not None
        return model.Path(
            neighbor=self.address,
            next_hop=block.next_hop,
            link_local=block.link_local,
            origin=said.origin or 0,
            as_path=said.as_path or (),
            as_path_length=said.as_path_length,
            med=said.med,
            local_pref=100 if said.local_pref is None else said.local_pref,
            communities=said.communities,
            large_communities=said.large_communities,
            extended_communities=said.extended_communities,
            originator_id=said.originator_id,
            cluster_list=said.cluster_list,
            ebgp=self.ebgp,
            router_id=self.router_id,
        )


class Scene:
    """A gobgpd, and the host of all its neighbours."""

    def __init__(self, lab: namespace.Lab, which: Gobgp) -> None:
        self.which = which
        self.us, self.others, bird = (lab.host(name) for name in ("us", "others", "bird"))
        addresses = (LEFT, RIGHT, INSIDE)
        lab.segment(
            namespace.Port(self.us, "eth1", (f"{US}/24", f"{US6}/64")),
            namespace.Port(
                self.others, "eth1", (*(f"{one}/24" for one in addresses), f"{LEFT6}/64")
            ),
            namespace.Port(bird, "eth1", (f"{BIRD}/24", f"{BIRD6}/64")),
        )
        self.bird = peers.Bird(
            bird,
            peers.Speaker(
                local_as=AS,
                router_id=BIRD,
                neighbors=(peers.Neighbor(address=US, remote_as=AS, extended_next_hop=True),),
                ipv6=True,
            ),
        )
        socket_ = self.us.directory / "gobgp.sock"
        self.target = f"unix:{socket_}"
        self._document = self.us.directory / "gobgpd.toml"
        self._neighbors: dict[str, Neighbor] = {}
        self.start()

    def start(self) -> None:
        """Start gobgpd."""
        self._document.write_text(self.which.document)
        program = PROGRAMS[self.which.version]
        # One that was killed leaves its socket, and the next cannot bind to it.
        (self.us.directory / "gobgp.sock").unlink(missing_ok=True)
        api = f"unix://{self.us.directory}/gobgp.sock"
        self.process = self.us.start(
            *(program, "-f", self._document, "--api-hosts", api, "--pprof-disable"),
            log="gobgpd.log",
        )

    def ctl(self, *words: str) -> Any:
        """One command of its own tool; its JSON."""
        tool = PROGRAMS[self.which.version].with_name("gobgp")
        return self.us.json(tool, "--target", self.target, "-j", *words)

    def neighbor(self, address: str) -> Neighbor:
        """One with a session: after one has ended gobgpd takes no other for five seconds."""
        made = self._neighbors.get(address)
        if made is None or made.connection.closed.is_set():
            if made is not None:
                made.connection.close()
            made = self._neighbors[address] = Neighbor(self, address)
        return made

    @contextlib.asynccontextmanager
    async def api(self) -> AsyncIterator[api_.Api]:
        """A door to it, when it has read its configuration."""
        api = api_.Api(self.target)
        try:
            end = time.monotonic() + PATIENCE
            while True:
                with contextlib.suppress(errors.EngineError):
                    await api.connect()
                    if len(await api.neighbors()) >= len(NEIGHBORS):
                        break
                assert time.monotonic() < end, "gobgpd does not answer\n" + self.process.tail()
                await asyncio.sleep(0.05)
            yield api
        finally:
            await api.close()

    def end(self) -> None:
        """The neighbours' sockets are closed; all else ends with the lab."""
        for one in self._neighbors.values():
            one.connection.close()

    def clear(self) -> None:
        """Have the scripted neighbours take back what they have said."""
        for one in self._neighbors.values():
            if not one.connection.closed.is_set():
                one.silence()
        families = ("ipv4", "ipv6")
        namespace.wait_until(
            lambda: not any(self.ctl("global", "rib", "-a", family) for family in families),
            "gobgpd's table to be empty",
        )


class Listener:
    """What gobgpd tells, kept."""

    def __init__(self, api: api_.Api) -> None:
        self.peers: list[api_.Peer] = []
        self.messages: list[api_.Rows] = []
        """All rows but those of the table at the beginning."""
        self.table: dict[tuple[model.Family, model.Nlri], tuple[model.Path, ...]] = {}
        """What it amounts to."""
        self.slices: list[int] = []
        """Rows in each slice of the table at the beginning."""
        self._api = api
        self._has_table = asyncio.Event()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        async with asyncio.timeout(PATIENCE):
            await self._has_table.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        async with contextlib.aclosing(self._api.watch()) as events:
            async for event in events:
                if isinstance(event, api_.Peer):
                    self.peers.append(event)
                else:
                    self._rows(event)
                self._changed.set()

    def _rows(self, event: api_.Rows) -> None:
        for family, key, paths in event.rows:
            self.table[family, key] = paths
            if not paths:
                del self.table[family, key]
        for family, key, came, gone in event.changes:
            known = {(one.neighbor, one.path_id) for one in (*came, *gone)}
            kept = self.table.pop((family, key), ())
            left = [one for one in kept if (one.neighbor, one.path_id) not in known]
            if left or came:
                self.table[family, key] = (*left, *came)
        if event.kind is not api_.Kind.SNAPSHOT:
            self.messages.append(event)
            return
        self.slices.append(len(event.rows))
        if not event.more:
            self._has_table.set()

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something to be so.

        Raises:
            AssertionError: it does not come to pass.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self._changed.clear()
                    done, _ = await asyncio.wait(
                        (self._task, asyncio.create_task(self._changed.wait())),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if self._task in done:
                        self._task.result()
        except TimeoutError:
            raise AssertionError(f"{what}: {self.table} {self.messages[-5:]}") from None

    def paths(self, prefix: str) -> tuple[model.Path, ...]:
        """Those of a prefix."""
        network = ipaddress.ip_network(prefix)
        return self.table.get((model.Family.of(network), model.nlri(network)), ())

    def hops(self, prefix: str) -> set[str]:
        """Their next hops."""
        return {str(one.next_hop) for one in self.paths(prefix)}


def many(number: int) -> Iterator[Sequence[str]]:
    """So many prefixes, in handfuls."""
    names = [
        f"{10 + (n >> 19)}.{n >> 8 & 0xFF}.{n & 0xFF}.{(n >> 16 & 7) * 32}/27"
        for n in range(number)
    ]
    for start in range(0, number, 1000):
        yield names[start : start + 1000]


class Gaps:
    """How long the loop was held up at most, seconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        gc.collect()
        gc.freeze()  # as the daemon does; pytest's own objects are no matter of the loop's
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        gc.unfreeze()

    async def _run(self) -> None:
        # CPU time of this thread: what others take meanwhile is no fault of ours.
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest = max(self.longest, now - before)
            before = now
