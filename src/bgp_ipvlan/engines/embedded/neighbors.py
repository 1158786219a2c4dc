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

_REMEMBER = 30.0
"""Seconds for which a dynamic neighbour is remembered."""
_IN_PLACE = frozenset(("description", "max_prefixes", "max_prefixes_warn", "max_prefixes_restart"))
"""What may change under a session without its noticing."""
_BY_REFRESH = _IN_PLACE | {"allow_own_as", "import_rules", "recursive"}
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
        self._passwords: dict[model.Prefix, str] = {}
        self._listening: asyncio.Task[None] | None = None
        self._ending: list[transport.Connection] = []
        """Closed, and not quite gone."""
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
        configs = [peer.config for peer in self]
        self._check(configs, self._dynamic)
        self._passwords = _passwords(configs, self._dynamic)
        if (configs or self._dynamic) and self._config.listen_port:
            await self._listener.start(six=self._has_six(), passwords=self._passwords)
        self._started = True
        for peer in self:
            peer.start()

    async def stop(self, *, cease: int, data: bytes) -> None:
        """End all; see `peer.Peer.stop`."""
        self._started = False
        if self._listening is not None:
            self._listening.cancel()
        self._listener.close()
        for peer in self:
            self._ending += peer.stop(cease=cease, data=data)
        await asyncio.gather(*(connection.closed() for connection in self._ending))

    def configure(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: Iterable[model.DynamicNeighbors],
    ) -> list[peer_.Peer]:
        """Have exactly these; see `ports.Engine.configure`.

        Returns:
            The peers that are no more.
        """
        wanted = {one.address: one for one in neighbors}
        ranges = tuple(dynamic)
        self._check(wanted.values(), ranges)
        passwords = _passwords(wanted.values(), ranges)
        # All keys or none: those to come before anything else changes, then those to go.
        self._listener.set_passwords({**self._passwords, **passwords}, before=self._passwords)
        gone = [peer for peer in self if self._leaves(peer, wanted, ranges)]
        for peer in gone:
            del self._peers[peer.config.address]
        self._listener.set_passwords(
            {**dict.fromkeys(self._passwords.keys() - passwords.keys(), ""), **passwords}
        )
        self._passwords, self._dynamic = passwords, ranges
        for address, config in wanted.items():
            there = self._peers.get(address)
            if there is None:
                self._add(config, [peer for peer in gone if peer.config.address == address])
            elif there.config != config:
                self._change(there, config)
        for peer in [peer for peer in self if peer.dynamic]:
            found = _range_of(peer.config.address, ranges)
            assert found is not None
            self._change(peer, _as_peer(peer.config.address, found))
        self._listen_late()
        return gone

    def _leaves(
        self,
        peer: peer_.Peer,
        wanted: dict[model.Address, model.NeighborConfig],
        ranges: tuple[model.DynamicNeighbors, ...],
    ) -> bool:
        """Whether a peer ends: it is no longer wanted, or what it is cannot change in place."""
        config = wanted.get(peer.config.address)
        if peer.dynamic:
            found = _range_of(peer.config.address, ranges)
            if config is not None or found is None:
                return True
            config = _as_peer(peer.config.address, found)
        return config is None or not _differences(peer.config, config) <= _BY_REFRESH

    def end(self, peer: peer_.Peer) -> None:
        """Say the last word to a peer that `configure` gave back."""
        changed = peer.config.address in self._peers
        subcode = message.CONFIGURATION_CHANGE if changed else message.PEER_DECONFIGURED
        self._ending = [one for one in self._ending if one.open]
        self._ending += peer.stop(cease=subcode)

    def _add(self, config: model.NeighborConfig, before: list[peer_.Peer]) -> None:
        peer = self._peers[config.address] = peer_.Peer(self._config, config, self._owner)
        # With another configuration it is the same neighbour, which we have met.
        peer.met = any(one.met for one in before)
        if before:
            peer.backoff.pause(asyncio.get_running_loop().time())
        if self._idle:
            peer.hold_idle(self._idle)
        if self._started:
            peer.start()

    def _change(self, peer: peer_.Peer, config: model.NeighborConfig) -> None:
        differences = _differences(peer.config, config)
        peer.configure(config)
        if peer.link is None or differences <= _IN_PLACE:
            return
        try:
            peer.ask_again()
        except errors.EngineError:
            peer.close(message.CONFIGURATION_CHANGE)

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
        if not self._started:
            return None  # it came while we were stopping
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
        here = [p for p in self if p.dynamic and p.own_addresses()]
        there = [peer for peer in here if peer.config.address in found.prefix]
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

    def expire(self, peer: peer_.Peer) -> None:
        """A dynamic neighbour has no connection any more: forget it in a while.

        Not at once, so that one that comes and goes is held off like any other.
        """
        if peer.dynamic and self._started:
            asyncio.get_running_loop().call_later(_REMEMBER, self._expire, peer)

    def _expire(self, peer: peer_.Peer) -> None:
        if self._peers.get(peer.config.address) is not peer or peer.own_addresses():
            return
        held = peer.backoff.held(asyncio.get_running_loop().time())
        if held or self._owner.has_routes(peer):
            self.expire(peer)
            return
        del self._peers[peer.config.address]
        peer.stop()

    async def closed(self) -> None:
        """Return when every connection that was closed is gone."""
        closing = [one for peer in self for one in peer.closing()]
        await asyncio.gather(*(one.closed() for one in closing))

    # --- passwords ----------------------------------------------------------------------

    def _check(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: Iterable[model.DynamicNeighbors],
    ) -> None:
        ranges = tuple(dynamic)
        for found in ranges:
            sockets.check_password(found.template, found.prefix)
        for one in neighbors:
            sockets.check_password(one, ipaddress.ip_network(one.address))
            around = _range_of(one.address, (r for r in ranges if r.template.password))
            if around is not None and not one.password:
                raise errors.EngineError(
                    "password-missing",
                    f"neighbor {one.address} has no password, and the range {around.prefix} around "
                    f"it has one, which the kernel would demand: give it a password too",
                )

    def _has_six(self) -> bool:
        return any(a.version == 6 for a in self._peers) or any(
            found.prefix.version == 6 for found in self._dynamic
        )

    def _listen_late(self) -> None:
        """Listen, where the first neighbour came when we ran already."""
        needed = (self._peers or self._dynamic) and self._config.listen_port
        if self._started and needed and not self._listener.listening and self._listening is None:
            self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            await self._listener.start(six=self._has_six(), passwords=self._passwords)
        except errors.EngineError as error:
            log.error("not listening reason=%s error=%s", error.reason, error)
        finally:
            self._listening = None


def _passwords(
    neighbors: Iterable[model.NeighborConfig], dynamic: Iterable[model.DynamicNeighbors]
) -> dict[model.Prefix, str]:
    """Who has which password; the narrower of two prefixes wins in the kernel too."""
    found = {one.prefix: one.template.password for one in dynamic if one.template.password}
    found |= {ipaddress.ip_network(n.address): n.password for n in neighbors if n.password}
    return found


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
