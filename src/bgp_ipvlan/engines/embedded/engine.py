"""The embedded speaker as `ports.Engine`: what we announce, the tables, whom to tell."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import defaultdict
from collections.abc import Iterable

from bgp_ipvlan import model, ports
from bgp_ipvlan.bgp import attributes, capability, rib, session, update
from bgp_ipvlan.engines.embedded import peer as peer_
from bgp_ipvlan.engines.embedded import transport

log = logging.getLogger("bgp_ipvlan")

_LOCAL_PREF = 100


class EmbeddedEngine:
    """See the module.

    Args:
        config: this speaker and its neighbours.
        events: whom to tell.
    """

    def __init__(self, config: model.SpeakerConfig, events: ports.EngineEvents) -> None:
        self._config = config
        self._events = events
        self._rib = rib.Rib()
        self._peers = {n.address: peer_.Peer(config, n, self) for n in config.neighbors}
        self._announced: dict[model.Family, dict[model.Nlri, model.Announcement]] = {
            family: {} for family in model.Family
        }
        self._servers: list[asyncio.Server] = []
        self._restarted = self._preserved = False
        self._synced = False
        self._deadline: asyncio.TimerHandle | None = None
        self._refused: set[model.Address] = set()

    # --- ports.Engine ----------------------------------------------------------------

    async def start(self, *, restarted: bool, forwarding_preserved: bool) -> None:
        """Listen and connect; see `ports.Engine`."""
        self._restarted, self._preserved = restarted, forwarding_preserved
        if self._peers:
            self._servers = await transport.listen(self._config, self._accept)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._config.sync_deadline, self._sync, "deadline")
        for peer in self._peers.values():
            peer.start()
        if not self._peers:
            loop.call_soon(self._sync, "no neighbors")

    def announce(self, announcements: Iterable[model.Announcement]) -> None:
        """Announce to every neighbour at once."""
        fresh: dict[model.Family, list[model.Announcement]] = defaultdict(list)
        for one in announcements:
            family = model.Family.of(one.prefix)
            self._announced[family][model.nlri(one.prefix)] = one
            fresh[family].append(one)
        for peer in self._up():
            for family, ones in fresh.items():
                self._send(peer, family, ones)

    def withdraw(self, prefixes: Iterable[model.Prefix]) -> None:
        """Withdraw from every neighbour at once."""
        gone: dict[model.Family, list[model.Nlri]] = defaultdict(list)
        for prefix in prefixes:
            family, key = model.Family.of(prefix), model.nlri(prefix)
            if self._announced[family].pop(key, None) is not None:
                gone[family].append(key)
        for peer in self._up():
            for family, keys in gone.items():
                self._send_withdraw(peer, family, keys)

    def best(self, family: model.Family, prefix: model.Nlri) -> tuple[model.Path, ...]:
        """Paths in use."""
        return self._rib.best[family].get(prefix, ())

    def prefixes(self, family: model.Family) -> Iterable[model.Nlri]:
        """All prefixes with a path."""
        return self._rib.best[family]

    def neighbors(self) -> tuple[model.NeighborStatus, ...]:
        """All neighbours, as configured."""
        return tuple(map(self._status, self._peers.values()))

    async def stop(self, *, withdraw: bool) -> None:
        """Close; see `ports.Engine`."""
        for server in self._servers:
            server.close()
        if self._deadline is not None:
            self._deadline.cancel()
        if withdraw:
            self.withdraw([one.prefix for t in self._announced.values() for one in t.values()])
        await asyncio.gather(*(p.stop(cease=withdraw) for p in self._peers.values()))

    # --- peer_.Owner --------------------------------------------------------------------

    def restart_capability(self, peer: peer_.Peer) -> capability.GracefulRestart:
        """RFC 4724 section 3.

        The Restart State bit is for the first session only. In later ones only the
        connection was lost: links and routes are as they were, whatever was found at start.
        """
        return capability.GracefulRestart(
            restarted=self._restarted and not peer.met and not self._synced,
            time=self._config.restart_time,
            families=dict.fromkeys(model.Family, self._preserved or peer.met),
        )

    def established(self, peer: peer_.Peer) -> None:
        """The whole table, then End-of-RIB for each family.

        We pass nothing on, so there is nothing to wait for before (RFC 4724 section 4.1).
        """
        link = peer.link
        assert link is not None
        for family in sorted(link.session.families):
            self.refresh(peer, family)
            if link.session.restart is not None:
                link.session.send(update.end_of_rib(family))
        link.flush()

    def refresh(self, peer: peer_.Peer, family: model.Family) -> None:
        """One family, all of it."""
        self._send(peer, family, self._announced[family].values())

    def learned(self, peer: peer_.Peer, event: session.Learned) -> None:
        """Into the tables, and tell what changed."""
        if event.problem:
            log.warning(
                "routes not used neighbor=%s count=%d first_prefix=%s reason=%s",
                peer.config.address,
                len(event.prefixes),
                model.prefix(event.family, event.prefixes[0]),
                event.problem.replace(" ", "-"),
            )
        changes = self._rib.learn(peer.config.address, event.family, event.path, event.prefixes)
        self._tell(changes)

    def lost(self, peer: peer_.Peer, *, keep: frozenset[model.Family]) -> None:
        """Forget its routes, or keep them for its return."""
        for family in keep:
            # Not heard of since its last restart (RFC 4724 section 4.2).
            self.flush_stale(peer, family)
        self._rib.mark_stale(peer.config.address, keep)
        self._tell(self._rib.forget(peer.config.address, keep=keep))

    def flush_stale(self, peer: peer_.Peer, family: model.Family) -> None:
        """It has not announced these again."""
        self._tell(self._rib.flush_stale(peer.config.address, family))

    def said_all(self, peer: peer_.Peer) -> None:  # noqa: ARG002 - which one does not matter
        """When the last has, all is known."""
        if all(one.initial_done for one in self._peers.values()):
            self._sync("all neighbors")

    def changed(self, peer: peer_.Peer, detail: str) -> None:
        """Tell of a session."""
        self._events.neighbor_changed(self._status(peer), detail)

    # --- inside -------------------------------------------------------------------------

    def _up(self) -> list[peer_.Peer]:
        return [peer for peer in self._peers.values() if peer.link is not None]

    def _tell(self, changes: list[model.BestPaths]) -> None:
        for change in changes:
            self._events.best_paths(change)

    def _sync(self, why: str) -> None:
        if not self._synced:
            self._synced = True
            log.info("tables complete why=%s", why.replace(" ", "-"))
            self._events.synced()

    def _accept(self, connection: transport.Connection) -> transport.Receiver | None:
        peer = self._peers.get(connection.remote)
        if peer is None:
            # Once per address: a scanner must not fill the disk.
            if connection.remote not in self._refused and len(self._refused) < 1000:
                self._refused.add(connection.remote)
                log.warning(
                    "connection refused address=%s reason=unknown-neighbor", connection.remote
                )
            return None
        return peer.accept(connection)

    def _send(
        self,
        peer: peer_.Peer,
        family: model.Family,
        announcements: Iterable[model.Announcement],
    ) -> None:
        """Pack announcements that share their attributes into as few UPDATEs as hold them."""
        link = peer.link
        if link is None or family not in link.session.families:
            return
        groups: dict[tuple[model.Address, bytes], list[model.Nlri]] = defaultdict(list)
        for one in announcements:
            common = self._attributes(link.session, one)
            groups[one.next_hop_for(peer.config.address), common].append(model.nlri(one.prefix))
        for (next_hop, common), keys in groups.items():
            link.session.send(*update.announce(family, keys, next_hop=next_hop, common=common))
        peer.sent = sum(len(self._announced[f]) for f in link.session.families)
        link.flush()

    def _send_withdraw(
        self, peer: peer_.Peer, family: model.Family, keys: list[model.Nlri]
    ) -> None:
        link = peer.link
        if link is None or family not in link.session.families:
            return
        link.session.send(*update.withdraw(family, keys))
        peer.sent = sum(len(self._announced[f]) for f in link.session.families)
        link.flush()

    def _attributes(self, to: session.Session, one: model.Announcement) -> bytes:
        """Everything but the next hop, in the order of the codes (RFC 4271 section 5)."""
        path = (self._config.local_as,) if to.ebgp else ()
        encoded = attributes.encode(attributes.ORIGIN, b"\0", attributes.TRANSITIVE)
        encoded += attributes.encode_as_path(path, four_octet_as=to.four_octet_as)
        if not to.ebgp:
            preference = _LOCAL_PREF.to_bytes(4)
            encoded += attributes.encode(attributes.LOCAL_PREF, preference, attributes.TRANSITIVE)
        if one.large_communities:
            value = b"".join(n.to_bytes(4) for triple in one.large_communities for n in triple)
            flags = attributes.OPTIONAL | attributes.TRANSITIVE
            encoded += attributes.encode(attributes.LARGE_COMMUNITIES, value, flags)
        return encoded

    def _status(self, peer: peer_.Peer) -> model.NeighborStatus:
        link = peer.link
        known = self._rib.neighbors[peer.config.address]
        return model.NeighborStatus(
            address=peer.config.address,
            remote_as=peer.config.remote_as,
            state=peer.state,
            since=peer.since,
            router_id=ipaddress.IPv4Address(link.session.identifier) if link else None,
            hold_time=link.session.hold_time if link else 0,
            received=len(known),
            sent=peer.sent,
            end_of_rib=link is not None and peer.ended >= link.session.families,
            graceful_restart=link is not None and link.session.restart is not None,
            stale=sum(map(len, known.stale.values())),
            last_error=peer.last_error,
            description=peer.config.description,
        )
