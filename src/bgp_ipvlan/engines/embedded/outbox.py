"""What one neighbour is still to be told of our announcements.

Adj-RIB-Out (RFC 4271 section 3.2) without a copy of its own: which prefixes are due is
noted, and what there is to say about each is looked up when it is said. So a neighbour
that reads slowly costs a set of keys at most, hears only the latest, and delays nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, session, update

Table = Mapping[model.Family, Mapping[model.Nlri, model.Announcement]]
_DEFAULT_LOCAL_PREF = 100
_BEGIN, _END = 1, 2


class Outbox:
    """See the module.

    Args:
        to: the established session.
        table: everything we announce.
    """

    def __init__(self, to: session.Session, table: Table) -> None:
        self._to = to
        self._table = table
        # Dictionaries for their order: what changed first leaves first.
        self._due: dict[model.Family, dict[model.Nlri, None]] = defaultdict(dict)
        self._refreshes: set[model.Family] = set()
        self._firsts: set[model.Family] = set()
        self.graceful_shutdown = False
        """Mark everything as about to go (RFC 8326)."""

    @property
    def empty(self) -> bool:
        """Whether nothing is due."""
        return not (any(self._due.values()) or self._refreshes or self._firsts)

    def due(self, family: model.Family, prefixes: Iterable[model.Nlri]) -> bool:
        """Whether one of some prefixes is still due."""
        return not self._due[family].keys().isdisjoint(prefixes)

    def mark(self, family: model.Family, prefixes: Iterable[model.Nlri]) -> None:
        """These changed."""
        if family in self._to.families:
            self._due[family].update(dict.fromkeys(prefixes))

    def mark_all(self) -> None:
        """All of them did."""
        for family in self._to.families:
            self.mark(family, self._table[family])

    def first(self, family: model.Family) -> None:
        """The whole table and End-of-RIB: the session is new."""
        self.mark(family, self._table[family])
        self._firsts.add(family)

    def refresh(self, family: model.Family) -> None:
        """The whole table again, because the neighbour asked (RFC 2918, RFC 7313)."""
        if family in self._firsts:
            return  # it is about to get it, and End-of-RIB must come first (RFC 7313 section 4)
        self.mark(family, self._table[family])
        self._refreshes.add(family)

    def withdraw_all(self) -> None:
        """Take everything back, now."""
        self._due.clear()
        for family in self._to.families:
            keys = self._table[family]
            self._to.send(*update.withdraw(family, keys, longest=self._to.longest))

    def send(self) -> None:
        """Say all that is due."""
        for family in sorted(self._to.families):
            due, self._due[family] = self._due[family], {}
            bounded = family in self._refreshes and self._to.agreed.enhanced_refresh
            if bounded:
                self._to.send(update.route_refresh(family, _BEGIN))
            if due:
                self._send_family(family, due)
            if bounded:
                self._to.send(update.route_refresh(family, _END))
            if family in self._firsts and self._to.agreed.restart is not None:
                # We pass nothing on, so there is nothing to wait for before (RFC 4724 section 4.1).
                self._to.send(update.end_of_rib(family))
        self._refreshes.clear()
        self._firsts.clear()

    def _send_family(self, family: model.Family, due: Iterable[model.Nlri]) -> None:
        """Announcements that share their attributes, packed into as few UPDATEs as hold them."""
        table, gone = self._table[family], []
        groups: dict[tuple[model.Address, model.Address | None, bytes], list[model.Nlri]]
        groups = defaultdict(list)
        for key in due:
            one = table.get(key)
            if one is None or not self.takes(family, one):
                gone.append(key)
                continue
            neighbor = self._to.neighbor.address
            hops = one.next_hop_for(neighbor), one.link_local_for(neighbor)
            groups[*hops, self._attributes(one)].append(key)
        longest = self._to.longest
        self._to.send(*update.withdraw(family, gone, longest=longest))
        for (next_hop, link_local, common), keys in groups.items():
            self._to.send(
                *update.announce(
                    family,
                    keys,
                    next_hop=next_hop,
                    link_local=link_local,
                    common=common,
                    longest=longest,
                )
            )

    def takes(self, family: model.Family, one: model.Announcement) -> bool:
        """Whether the neighbour can be told of an announcement."""
        return self.can(family, model.Family.of(one.fixed_next_hop or one.next_hop))

    def can(self, family: model.Family, hop: model.Family) -> bool:
        """Whether it can be told of prefixes with next hops of some family (RFC 8950)."""
        if family not in self._to.families:
            return False
        extended = family is model.Family.IPV4 and self._to.agreed.extended_next_hop
        return hop is family or extended

    def _attributes(self, one: model.Announcement) -> bytes:
        to, local_pref = self._to, one.local_pref
        if local_pref is None:
            local_pref = _DEFAULT_LOCAL_PREF
        communities = one.communities
        if self.graceful_shutdown:
            # RFC 8326 section 4: the community for those who know it, the preference for all
            # within our AS.
            local_pref, communities = 0, (*communities, model.GRACEFUL_SHUTDOWN)
        return attributes.encode_common(
            as_path=(to.local_as,) * (1 + one.prepend) if to.ebgp else (),
            four_octet_as=to.agreed.four_octet_as,
            med=one.med,
            local_pref=None if to.ebgp else local_pref,
            communities=communities,
            large_communities=one.large_communities,
        )
