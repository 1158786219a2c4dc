"""The embedded speaker as `ports.Engine`: what we announce, whom to tell, what was learned."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from bgp_ipvlan import errors, model, ports
from bgp_ipvlan.bgp import capability, session
from bgp_ipvlan.bgp import message as wire
from bgp_ipvlan.engines.embedded import initial, learning, neighbors, outbox
from bgp_ipvlan.engines.embedded import link as link_
from bgp_ipvlan.engines.embedded import peer as peer_

log = logging.getLogger("bgp_ipvlan")


class EmbeddedEngine:
    """See the module.

    Args:
        config: this speaker and its neighbours.
        events: whom to tell.
        room: while it is not set nothing more is read from neighbours, so that TCP holds back
            what nobody can take (back-pressure); by default there is always room.
    """

    def __init__(
        self,
        config: model.SpeakerConfig,
        events: ports.EngineEvents,
        *,
        room: ports.Room | None = None,
    ) -> None:
        if room is None:
            always = asyncio.Event()
            always.set()
            room = always
        self.room = room
        self._config = config
        self._events = events
        self._tables: dict[model.Family, dict[model.Nlri, model.Announcement]] = {
            family: {} for family in model.Family
        }
        self._learning = learning.Learning(config, events)
        self._neighbors = neighbors.Neighbors(config, self)
        self._restarted = self._preserved = False
        self._synced = False
        self._marks_shutdown = False
        self._is_shut = False
        self._deadline: asyncio.TimerHandle | None = None
        self._flush: asyncio.Handle | None = None
        self._counted: Counter[tuple[model.Family, model.Family]] | None = None

    # --- ports.Engine: life ------------------------------------------------------------

    async def start(self, *, restarted: bool, forwarding_preserved: bool) -> None:
        """Listen and connect; see `ports.Engine`."""
        self._restarted, self._preserved = restarted, forwarding_preserved
        await self._neighbors.start()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._config.sync_deadline, self._sync, "deadline")
        if self._is_shut or not self._neighbors.configured:
            loop.call_soon(self._sync, "no neighbors")

    async def stop(self, *, withdraw: bool, message: str = "") -> None:
        """Close; see `ports.Engine`."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._learning.stop()
        if withdraw:
            self._withdraw_all()
        else:
            self._flush_all()
        cease = wire.ADMINISTRATIVE_SHUTDOWN if withdraw else 0
        await self._neighbors.stop(cease=cease, data=wire.shutdown_communication(message))

    # --- ports.Engine: what we announce -----------------------------------------------

    def announce(self, announcements: Iterable[model.Announcement]) -> None:
        """Announce to every neighbour; see `ports.Engine`."""
        fresh: dict[model.Family, list[model.Nlri]] = defaultdict(list)
        for one in announcements:
            family, key = model.Family.of(one.prefix), model.nlri(one.prefix)
            self._tables[family][key] = one
            fresh[family].append(key)
        self._mark(fresh)

    def withdraw(self, prefixes: Iterable[model.Prefix]) -> None:
        """Withdraw from every neighbour."""
        gone: dict[model.Family, list[model.Nlri]] = defaultdict(list)
        for prefix in prefixes:
            family, key = model.Family.of(prefix), model.nlri(prefix)
            if self._tables[family].pop(key, None) is not None:
                gone[family].append(key)
        self._mark(gone)

    def withheld(self) -> Mapping[model.Prefix, str]:
        """Nothing ever."""
        return {}

    async def delivered(
        self, prefixes: Collection[model.Prefix], *, timeout: float
    ) -> model.Delivery:
        """Wait for the sockets; see `ports.Engine`."""
        self._flush_all()
        wanted: dict[model.Family, list[model.Nlri]] = defaultdict(list)
        for prefix in prefixes:
            wanted[model.Family.of(prefix)].append(model.nlri(prefix))
        takers = [link for link in self._up() if self._takes(link, wanted)]
        if takers:
            waits = [asyncio.create_task(link.idle.wait()) for link in takers]
            try:
                await asyncio.wait(waits, timeout=timeout)
            finally:
                for task in waits:
                    task.cancel()
        takers = [link for link in takers if not link.session.closed]
        waiting = [link.session.neighbor.address for link in takers if not link.idle.is_set()]
        return model.Delivery(len(takers), tuple(waiting))

    def _takes(self, link: link_.Link, wanted: dict[model.Family, list[model.Nlri]]) -> bool:
        """Whether a neighbour can be told one of some prefixes."""
        return any(
            (one := self._tables[family].get(key)) is not None and link.outbox.takes(family, one)
            for family, keys in wanted.items()
            for key in keys
        )

    def _mark(self, changed: dict[model.Family, list[model.Nlri]]) -> None:
        self._counted = None
        for link in self._up():
            for family, keys in changed.items():
                link.outbox.mark(family, keys)
        self._flush_soon()

    def _flush_soon(self) -> None:
        """At the end of this turn of the loop, so that its changes leave together."""
        if self._flush is None and any(self._up()):
            self._flush = asyncio.get_running_loop().call_soon(self._flush_all)

    def _flush_all(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        for link in self._up():
            if not link.outbox.empty:
                link.flush()

    def _withdraw_all(self) -> None:
        for link in self._up():
            link.outbox.withdraw_all()
            link.flush()

    # --- ports.Engine: what was learned -----------------------------------------------

    def best(self, family: model.Family, prefix: model.Nlri) -> tuple[model.Path, ...]:
        """Paths in use."""
        return self._learning.rib.best[family].get(prefix, ())

    def prefixes(self, family: model.Family) -> Iterable[model.Nlri]:
        """All prefixes with a path."""
        return self._learning.rib.best[family]

    def refusals(self, family: model.Family) -> Iterable[model.Refusal]:
        """Paths that take no part."""
        return self._learning.rib.refusals(family)

    def surroundings_changed(
        self,
        addresses: Collection[model.Address],
        usable: Callable[[model.Path], bool],
    ) -> None:
        """End sessions whose address is gone, decide anew; see `ports.Engine`."""
        for peer in self._neighbors:
            for address in peer.own_addresses() - set(addresses):
                peer.lose(address)
        self._learning.next_hops_changed(usable)

    # --- ports.Engine: neighbours ---------------------------------------------------------

    def neighbors(self) -> tuple[model.NeighborStatus, ...]:
        """All neighbours."""
        return tuple(map(self._status, self._neighbors))

    def about(self) -> Mapping[str, object]:
        """Nothing particular."""
        return {}

    def warnings(self) -> Iterable[str]:
        """All that is wrong is some neighbour's."""
        return ()

    def configure(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: Iterable[model.DynamicNeighbors],
    ) -> None:
        """Have exactly these; see `ports.Engine`."""
        gone = self._neighbors.configure(neighbors, dynamic)
        ends = [(peer, peer.link) for peer in gone]
        for peer in gone:
            self._neighbors.end(peer)
        for peer, link in ends:
            there = self._neighbors.get(peer.config.address)
            self._leave(peer, link, there)
            self.changed(peer, "configured anew" if there else "removed")
        for peer in self._neighbors:
            for family in model.Family:
                self._limit(peer, family)
        self.said_all()

    def _leave(self, peer: peer_.Peer, link: link_.Link | None, there: peer_.Peer | None) -> None:
        """What becomes of the routes of a peer that is no more.

        Args:
            peer: that one.
            link: the session it had.
            there: the same neighbour with other settings. Where the Cease was soft (RFC 8538) it
                keeps our routes, and we its; also those kept already for its return.
        """
        address = peer.config.address
        keep: frozenset[model.Family] = frozenset()
        if there is not None and there.config.remote_as == peer.config.remote_as:
            if link is None:
                there.initial.hold_stale(initial.STALE_TIME, model.Family)
                return
            if link.session.agreed.notification_restart:
                keep, seconds = link.kept()
                there.initial.lost(seconds)
        refreshing = frozenset(peer.initial.refreshing)
        self._learning.lost(address, keep=keep, refreshing=refreshing)

    def reset(self, neighbor: model.Address, *, soft: bool, message: str = "") -> None:
        """End a session, or ask for its routes again; see `ports.Engine`."""
        peer = self._neighbors.get(neighbor)
        if peer is None:
            raise errors.EngineError(
                "unknown-neighbor", f"there is no neighbor {neighbor}: see bgp-ipvlan neighbors"
            )
        if soft:
            peer.ask_again()
            return
        peer.close(wire.ADMINISTRATIVE_RESET, wire.shutdown_communication(message), message)
        if not self._is_shut:
            peer.wake()

    def graceful_shutdown(self, *, on: bool) -> None:
        """Mark what goes out; see `ports.Engine`."""
        if self._marks_shutdown is on:
            return
        self._marks_shutdown = on
        for link in self._up():
            link.outbox.graceful_shutdown = on
            link.outbox.mark_all()
        self._flush_soon()

    async def shutdown(self, *, message: str = "") -> None:
        """Withdraw, Cease, stay idle; see `ports.Engine`."""
        self._is_shut = True
        self._neighbors.hold_idle("shutdown")
        self._withdraw_all()
        for peer in self._neighbors:
            peer.close(wire.ADMINISTRATIVE_SHUTDOWN, wire.shutdown_communication(message), message)
        self._sync("shutdown")
        await self._neighbors.closed()

    def resume(self) -> None:
        """Talk again; see `ports.Engine`."""
        self.graceful_shutdown(on=False)
        if self._is_shut:
            self._is_shut = False
            self._neighbors.wake()

    # --- peer_.Owner --------------------------------------------------------------------

    @property
    def table(self) -> outbox.Table:
        """Everything we announce."""
        return self._tables

    @property
    def marks_shutdown(self) -> bool:
        """Whether it goes out marked."""
        return self._marks_shutdown

    def restart_capability(self, peer: peer_.Peer) -> capability.GracefulRestart | None:
        """RFC 4724 section 3, with RFC 8538.

        The Restart State bit is for the first session only. In later ones only the
        connection was lost: links and routes are as they were, whatever was found at start.
        """
        if not peer.config.graceful_restart:
            return None
        return capability.GracefulRestart(
            restarted=self._restarted and not peer.met and not self._synced,
            notification=True,
            time=self._config.restart_time,
            families=dict.fromkeys(sorted(peer.config.families), self._preserved or peer.met),
        )

    def learned(self, peer: peer_.Peer, event: session.Learned) -> None:
        """Into the tables; too much of it ends the session."""
        self._learning.learned(peer.config, event)
        self._limit(peer, event.family)

    def _limit(self, peer: peer_.Peer, family: model.Family) -> None:
        if peer.link is None or not self._learning.exceeds(peer.config, family):
            return
        limit, seconds = peer.config.max_prefixes, peer.config.max_prefixes_restart
        peer.hold_idle("max-prefixes", seconds or float("inf"))
        again = f"again in {seconds} s" if seconds else "until bgp-ipvlan neighbor reset"
        log.warning(
            "neighbor idle neighbor=%s max_prefixes=%d reason=max-prefixes (%s)",
            peer.config.address,
            limit,
            again,
        )
        peer.link.end(peer.link.session.exceeded(family))

    def lost(self, peer: peer_.Peer, *, keep: frozenset[model.Family]) -> None:
        """Forget its routes, or keep them for its return."""
        refreshing = frozenset(peer.initial.refreshing)
        self._learning.lost(peer.config.address, keep=keep, refreshing=refreshing)

    def mark_stale(self, peer: peer_.Peer, family: model.Family) -> None:
        """It will say all of a family again."""
        self._learning.mark_stale(peer.config.address, family)

    def flush_stale(self, peer: peer_.Peer, family: model.Family) -> None:
        """It has not announced these again."""
        self._learning.flush_stale(peer.config.address, family)

    def said_all(self, peer: peer_.Peer | None = None) -> None:  # noqa: ARG002 - whichever
        """When the last has, all is known."""
        if all(one.initial.complete for one in self._neighbors.configured):
            self._sync("all neighbors")

    def changed(self, peer: peer_.Peer, detail: str) -> None:
        """Tell of a session."""
        if peer.link is not None:
            self._learning.begin(peer.config.address)
        self._events.neighbor_changed(self._status(peer), detail)

    def ended(self, peer: peer_.Peer) -> None:
        """A dynamic neighbour goes with its last connection."""
        if not peer.own_addresses():
            self._neighbors.expire(peer)

    def has_routes(self, peer: peer_.Peer) -> bool:
        """Whether it is in the tables, as when its routes are kept for its return."""
        return self._learning.rib.received(peer.config.address) > 0

    # --- inside -------------------------------------------------------------------------

    def _up(self) -> Iterator[link_.Link]:
        """Established connections."""
        return (peer.link for peer in self._neighbors if peer.link is not None)

    def _sync(self, why: str) -> None:
        if not self._synced:
            self._synced = True
            log.info("tables complete why=%s", why.replace(" ", "-"))
            self._events.synced()

    def _hops(self) -> Counter[tuple[model.Family, model.Family]]:
        """How many announcements there are, by their family and that of their next hop."""
        if self._counted is None:
            self._counted = Counter(
                (family, model.Family.of(one.fixed_next_hop or one.next_hop))
                for family, table in self._tables.items()
                for one in table.values()
            )
        return self._counted

    def _status(self, peer: peer_.Peer) -> model.NeighborStatus:
        link, tables, address = peer.link, self._learning.rib, peer.config.address
        at = link.session if link is not None else None
        sent = 0
        if link is not None:
            hops = self._hops()
            sent = sum(n for (family, hop), n in hops.items() if link.outbox.can(family, hop))
        return model.NeighborStatus(
            address=address,
            remote_as=at.remote_as if at else peer.config.remote_as,
            state=peer.state,
            since=peer.since,
            local_as=peer.config.local_as or self._config.local_as,
            local_address=link.connection.local if link else None,
            router_id=ipaddress.IPv4Address(at.identifier) if at else None,
            hold_time=at.hold_time if at else 0,
            received=tables.received(address),
            refused=tables.refused(address),
            sent=sent,
            end_of_rib=at is not None and peer.initial.ended >= at.families,
            graceful_restart=at is not None and at.agreed.restart is not None,
            capabilities=at.agreed.names if at else (),
            families=tuple(sorted(at.families)) if at else (),
            stale=tables.stale(address),
            last_error=peer.last_error,
            idle_reason=peer.idle_reason,
            password=bool(peer.config.password),
            dynamic=peer.dynamic,
            description=peer.config.description,
        )
