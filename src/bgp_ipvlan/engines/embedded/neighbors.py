"""The set of neighbours: which there are, what changes when they are configured anew, who may connect."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import logging
from collections.abc import Iterable, Iterator

from bgp_ipvlan import errors, model
from bgp_ipvlan.bgp import message
from bgp_ipvlan.engines.embedded import peer as peer_
from bgp_ipvlan.engines.embedded import sockets, transport

log = logging.getLogger("bgp_ipvlan")

_IN_PLACE = frozenset(("description", "max_prefixes", "max_prefixes_warn", "max_prefixes_restart"))
"""What may change under a session without its noticing."""
_BY_REFRESH = _IN_PLACE | {"allow_own_as", "import_rules"}
"""What may change with the neighbour's routes asked for again."""


class Neighbors:
    """See the module.

    Args:
        config: this speaker, with the first configuration of neighbours.
        owner: the engine, for each peer.
    """

    def __init__(self, config: model.SpeakerConfig, owner: peer_.Owner) -> None:
        self._config = config
        self._owner = owner
        self._peers = {n.address: peer_.Peer(config, n, owner) for n in config.neighbors}
        self._dynamic = config.dynamic
        self._listener = transport.Listener(config, self._accept)
        self._started = False
        self._idle = ""
        self._ending: set[asyncio.Task[None]] = set()
        self._refused: set[model.Address] = set()

    def __iter__(self) -> Iterator[peer_.Peer]:
        return iter(tuple(self._peers.values()))

    def get(self, address: model.Address) -> peer_.Peer | None:
        """One of them."""
        return self._peers.get(address)

    @property
    def configured(self) -> list[peer_.Peer]:
        """Those that did not come from a range."""
        return [peer for peer in self._peers.values() if not peer.dynamic]

    async def start(self) -> None:
        """Listen and connect.

        Raises:
            errors.EngineError: `port-in-use`, `cannot-listen`, `password-unusable`.
        """
        self._check(self._config.neighbors, self._config.dynamic)
        if (self._peers or self._dynamic) and self._config.listen_port:
            await self._listener.start(six=self._has_six())
            self._set_passwords(self._config.neighbors, self._config.dynamic)
        self._started = True
        for peer in self:
            peer.start()

    async def stop(self, *, cease: int, data: bytes) -> None:
        """End all; see `peer.Peer.stop`."""
        self._listener.close()
        await asyncio.gather(*self._ending, *(peer.stop(cease=cease, data=data) for peer in self))

    def configure(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: Iterable[model.DynamicNeighbors],
    ) -> list[peer_.Peer]:
        """Have exactly these; see `ports.Engine.configure`.

        Returns:
            The peers that are no more, whose routes are to be forgotten.
        """
        wanted = {one.address: one for one in neighbors}
        ranges = tuple(dynamic)
        self._check(wanted.values(), ranges)
        gone = [peer for peer in self if self._leaves(peer, wanted, ranges)]
        for peer in gone:
            changed = peer.config.address in wanted
            subcode = message.CONFIGURATION_CHANGE if changed else message.PEER_DECONFIGURED
            self._end(peer, subcode)
        for prefix in {one.prefix for one in self._dynamic} - {one.prefix for one in ranges}:
            self._listener.set_password(prefix, "")
        self._dynamic = ranges
        self._set_passwords(wanted.values(), ranges)
        for address, config in wanted.items():
            there = self._peers.get(address)
            if there is None:
                self._add(peer_.Peer(self._config, config, self._owner))
            elif there.config != config:
                self._change(there, config)
        if self._started and not self._listener.listening and self._config.listen_port:
            self._ending.add(task := asyncio.create_task(self._listen_late()))
            task.add_done_callback(self._ending.discard)
        return gone

    def _leaves(
        self,
        peer: peer_.Peer,
        wanted: dict[model.Address, model.NeighborConfig],
        ranges: tuple[model.DynamicNeighbors, ...],
    ) -> bool:
        """Whether a peer ends: it is no longer wanted, or what it is cannot change in place."""
        address = peer.config.address
        config = wanted.get(address)
        if peer.dynamic:
            found = _range_of(address, ranges)
            return config is not None or found is None or _as_peer(address, found) != peer.config
        return config is None or not _differences(peer.config, config) <= _BY_REFRESH

    def _add(self, peer: peer_.Peer) -> None:
        self._peers[peer.config.address] = peer
        if self._idle:
            peer.hold_idle(self._idle)
        if self._started:
            peer.start()

    def _change(self, peer: peer_.Peer, config: model.NeighborConfig) -> None:
        differences = _differences(peer.config, config)
        peer.config = config
        if peer.link is None:
            return
        peer.link.session.neighbor = config
        if differences <= _IN_PLACE:
            return
        try:
            peer.ask_again()
        except errors.EngineError:
            peer.close(message.CONFIGURATION_CHANGE)

    def _end(self, peer: peer_.Peer, subcode: int) -> None:
        del self._peers[peer.config.address]
        if peer.config.password and not peer.dynamic:
            self._listener.set_password(ipaddress.ip_network(peer.config.address), "")
        task = asyncio.create_task(peer.stop(cease=subcode))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # --- idleness of all ----------------------------------------------------------------

    def hold_idle(self, reason: str) -> None:
        """All of them, those to come too, until `wake`."""
        self._idle = reason
        for peer in self:
            peer.hold_idle(reason)

    def wake(self) -> None:
        """Talk again."""
        self._idle = ""
        for peer in self:
            peer.wake()

    # --- who may connect ------------------------------------------------------------------

    def _accept(self, connection: transport.Connection) -> transport.Receiver | None:
        address = connection.remote
        peer = self._peers.get(address) or self._from_range(address)
        if peer is None:
            # Once per address: a scanner must not fill the disk.
            if address not in self._refused and len(self._refused) < 1000:
                self._refused.add(address)
                log.warning("connection refused address=%s reason=unknown-neighbor", address)
            return None
        try:
            sockets.set_ttl(connection.socket, peer.config, ebgp=peer.ebgp)
        except OSError:
            return None  # it is gone already
        return peer.accept(connection)

    def _from_range(self, address: model.Address) -> peer_.Peer | None:
        """A neighbour that nobody named, from a range that may connect."""
        found = _range_of(address, self._dynamic)
        if found is None or self._idle:
            return None
        there = [p for p in self if p.dynamic and p.config.address in found.prefix]
        if len(there) >= found.limit:
            log.warning(
                "connection refused address=%s reason=dynamic-limit limit=%d range=%s",
                address,
                found.limit,
                found.prefix,
            )
            return None
        config = _as_peer(address, found)
        peer = self._peers[address] = peer_.Peer(self._config, config, self._owner, dynamic=True)
        return peer

    def drop_dynamic(self, peer: peer_.Peer) -> bool:
        """Forget a dynamic neighbour that has gone; False for others."""
        if not peer.dynamic or self._peers.get(peer.config.address) is not peer:
            return False
        del self._peers[peer.config.address]
        return True

    # --- passwords ----------------------------------------------------------------------

    def _check(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: Iterable[model.DynamicNeighbors],
    ) -> None:
        for one in neighbors:
            sockets.check_password(one, ipaddress.ip_network(one.address))
        for found in dynamic:
            sockets.check_password(found.template, found.prefix)

    def _set_passwords(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: Iterable[model.DynamicNeighbors],
    ) -> None:
        for found in dynamic:
            self._listener.set_password(found.prefix, found.template.password)
        for one in neighbors:
            self._listener.set_password(ipaddress.ip_network(one.address), one.password)

    def _has_six(self) -> bool:
        return any(a.version == 6 for a in self._peers) or any(
            found.prefix.version == 6 for found in self._dynamic
        )

    async def _listen_late(self) -> None:
        """The first neighbour came when we ran already."""
        try:
            await self._listener.start(six=self._has_six())
            configs = [peer.config for peer in self.configured]
            self._set_passwords(configs, self._dynamic)
        except errors.EngineError as error:
            log.error("not listening reason=%s error=%s", error.reason, error)


def _range_of(
    address: model.Address, ranges: Iterable[model.DynamicNeighbors]
) -> model.DynamicNeighbors | None:
    """The narrowest range that an address is in."""
    found = [one for one in ranges if address in one.prefix]
    return max(found, key=lambda one: one.prefix.prefixlen, default=None)


def _as_peer(address: model.Address, found: model.DynamicNeighbors) -> model.NeighborConfig:
    return dataclasses.replace(found.template, address=address, passive=True)


def _differences(one: model.NeighborConfig, other: model.NeighborConfig) -> frozenset[str]:
    names = (field.name for field in dataclasses.fields(model.NeighborConfig))
    return frozenset(name for name in names if getattr(one, name) != getattr(other, name))
