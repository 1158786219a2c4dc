"""From best paths to routes, or to a refusal with its reason (D10). Pure.

A batch has one next hop and many prefixes. The next hop is looked at once; the
prefixes pass a set look-up on their first octets, and only those that touch something
guarded are looked at one by one.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import itertools
from collections.abc import Iterable, Mapping

from bgp_ipvlan import model
from bgp_ipvlan.plan import claims, recursion

_MARTIANS = {
    # RFC 6890 and RFC 1122: nothing a neighbour could route for us.
    model.Family.IPV4: ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
    # RFC 4291: loopback and IPv4-mapped, link-local, multicast.
    model.Family.IPV6: ("::/96", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
}


_DEFAULT = b"\0"
"""The key of the default route."""
_Networks = dict[int, str]
"""Network bits → why nothing inside may be learned."""


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """How some gateways are reached now."""

    table: int
    """The routing table that packets to their links are looked up in."""
    next_hops: tuple[model.NextHop, ...]
    """Sorted."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one batch."""

    gateways: tuple[model.Gateway, ...]
    way: Way | None
    """For `accepted`; None when there is none (withdrawn, or next hop unusable)."""
    accepted: list[model.Nlri]
    refused: dict[model.Nlri, str]
    """Prefix → reason code; their routes, if any, go."""


class Guards:
    """The prefixes that learned routes may not touch, as one look-up structure per family.

    Args:
        connected: prefixes of the host's interfaces → `connected-overlap` inside them.
        own: subnets that are this host's alone → `own-prefix` inside them. Those of stretched
            networks (`endpoint`, `both`) are not: other hosts' containers are in there.
        accept: prefixes the administrator lets in although they are default or martian.
    """

    def __init__(
        self,
        connected: Iterable[model.Prefix] = (),
        own: Iterable[model.Prefix] = (),
        accept: Iterable[model.Prefix] = (),
    ) -> None:
        self.connected = frozenset(connected)
        self.own = frozenset(own)
        self.accept = frozenset(accept)
        self._tables = {family: self._table(family) for family in model.Family}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Guards):
            return NotImplemented
        return (self.connected, self.own, self.accept) == (
            other.connected,
            other.own,
            other.accept,
        )

    __hash__ = None  # type: ignore[assignment]  # compared, never a key

    def _table(self, family: model.Family) -> tuple[dict[int, set[bytes]], dict[int, _Networks]]:
        """The heads of what is guarded, by octets; and the guards: length → network bits → reason.

        A head is as many whole octets as hold the guard, so that only what is inside has it.
        """
        lengths: dict[int, _Networks] = {}
        heads: dict[int, set[bytes]] = {}
        for length, networks in _martians(family).items():
            lengths[length] = dict(networks)
        # Two classes of heads do for the martians, which few prefixes come near.
        for octets, some in _martian_heads(family).items():
            heads[octets] = set(some)
        # Later reasons replace earlier ones: connected is the strongest.
        for reason, prefixes in (("own-prefix", self.own), ("connected-overlap", self.connected)):
            for prefix in prefixes:
                if model.Family.of(prefix) is family and prefix.prefixlen:
                    bits = int(prefix.network_address) >> (family.bits - prefix.prefixlen)
                    lengths.setdefault(prefix.prefixlen, {})[bits] = reason
                    octets = (prefix.prefixlen + 7) // 8
                    heads.setdefault(octets, set()).update(_heads(prefix, octets))
        return heads, lengths

    def refusals(
        self,
        family: model.Family,
        prefixes: list[model.Nlri],
        foreign: Mapping[model.Nlri, object],
    ) -> dict[model.Nlri, str]:
        """The prefixes of a batch that must not become routes, with their reason codes.

        Args:
            family: of the batch.
            prefixes: canonical NLRI.
            foreign: routes in the table of their way that are not ours.
        """
        heads, lengths = self._tables[family]
        refused: dict[model.Nlri, str] = {}
        longest = 1 + max(heads)
        # Few, since the prefixes of a batch tend to lie side by side.
        beginnings = {key[1:longest] for key in prefixes}
        suspects = {_DEFAULT} if b"" in beginnings else set()
        for octets, some in heads.items():
            if not some.isdisjoint({beginning[:octets] for beginning in beginnings}):
                end = 1 + octets
                suspects.update(key for key in prefixes if key[1:end] in some)
        for key in suspects:
            reason = self._look(family, key, lengths)
            if reason is not None:
                refused[key] = reason
        if foreign and not foreign.keys().isdisjoint(prefixes):
            for key in foreign.keys() & set(prefixes):
                refused.setdefault(key, "foreign-route")
        return refused

    def _look(
        self, family: model.Family, key: model.Nlri, lengths: dict[int, dict[int, str]]
    ) -> str | None:
        """Look at one prefix against every guard."""
        found: set[str] = set()
        length = key[0]
        size = family.bits
        bits = int.from_bytes(key[1:].ljust(size // 8, b"\0"))
        for guard, networks in lengths.items():
            if guard <= length:
                reason = networks.get(bits >> (size - guard))
                if reason is not None:
                    found.add(reason)
        if "connected-overlap" in found:
            return "connected-overlap"
        if "own-prefix" in found:
            return "own-prefix"
        reason = "default-route" if length == 0 else "martian" if found else None
        if reason and self.accept and model.prefix(family, key) in self.accept:
            return None
        return reason


def martian(prefix: model.Prefix) -> bool:
    """Whether a prefix is one that nobody routes, or inside of one, or around it."""
    networks = map(ipaddress.ip_network, _MARTIANS[model.Family.of(prefix)])
    return any(prefix.overlaps(one) for one in networks)


@functools.cache
def _martians(family: model.Family) -> Mapping[int, _Networks]:
    """Length → network bits → reason."""
    found: dict[int, _Networks] = {}
    for prefix in map(ipaddress.ip_network, _MARTIANS[family]):
        bits = int(prefix.network_address) >> (family.bits - prefix.prefixlen)
        found.setdefault(prefix.prefixlen, {})[bits] = "martian"
    return found


@functools.cache
def _martian_heads(family: model.Family) -> Mapping[int, frozenset[bytes]]:
    found: dict[int, set[bytes]] = {}
    for prefix in map(ipaddress.ip_network, _MARTIANS[family]):
        octets = 8 if prefix.prefixlen > 64 else 1
        found.setdefault(octets, set()).update(_heads(prefix, octets))
    return {octets: frozenset(heads) for octets, heads in found.items()}


def _heads(prefix: model.Prefix, octets: int) -> Iterable[bytes]:
    """Every beginning of so many octets that an address inside a prefix has."""
    first = int.from_bytes(prefix.network_address.packed[:octets])
    count = 1 << max(0, 8 * octets - prefix.prefixlen)
    return (number.to_bytes(octets) for number in range(first, first + count))


class NextHops:
    """Which gateways are on-link, through which interface.

    Args:
        links: the host's links.
        parents: names of the parents in use: preferred where two interfaces share a subnet,
            because containers can only use routes that leave by their parent.
        table: the routing table for links outside any VRF.
        foreign: others' routes, as they are at any time.
        asked: gateways that may change with those, and whose ways somebody goes by.
    """

    def __init__(
        self,
        links: Iterable[model.Link],
        parents: Iterable[str] = (),
        *,
        table: int = model.MAIN,
        foreign: Mapping[model.Table, model.Foreign] | None = None,
        asked: Iterable[tuple[model.Gateway, ...]] = (),
    ) -> None:
        wanted = frozenset(parents)
        links = tuple(links)
        usable = [link for link in links if link.up and link.running]
        usable.sort(key=lambda link: (link.name not in wanted, link.index))
        self.networks = tuple(
            (address.network, link.index) for link in usable for address in link.addresses
        )
        """Connected networks in the order they are tried; equal for equal results."""
        self.tables = {link.index: link.table or table for link in links}
        """The routing table that packets to a link are looked up in, by its index."""
        self.links = frozenset(index for _, index in self.networks)
        """Indexes of the links that next hops may be on."""
        self.exits = {link.index: self.tables[link.index] for link in usable if link.name in wanted}
        """Parents that work, with their tables: what is not on-link leaves by them or not at all."""
        self.addresses = frozenset(a.ip for link in usable for a in link.addresses)
        """The host's addresses on links that work."""
        self._own = frozenset(address.ip for link in links for address in link.addresses)
        self._cache: dict[model.Address, model.NextHop | str] = {}
        self._foreign = {} if foreign is None else foreign
        self._ways: dict[tuple[model.Gateway, ...], Way | str] = {}
        self.recursive: set[tuple[model.Gateway, ...]] = set()
        """Those of them that others' routes may matter to."""
        for gateways in asked:
            self.way(gateways)

    def way(self, gateways: tuple[model.Gateway, ...]) -> Way | str:
        """How some gateways are reached, or the reason code why none of them is.

        With several (ECMP) those that can be reached are taken, as far as they are in one table.
        """
        found = self._ways.get(gateways)
        if found is None:
            found = self._ways[gateways] = self._way(gateways)
            if any(gateway.recursive for gateway in gateways):
                self.recursive.add(gateways)
        return found

    def look_again(self) -> bool:
        """Others' routes changed: work out the ways that may go by them; True if one is new."""
        changed = False
        for gateways in self.recursive:
            way = self._way(gateways)
            changed = changed or way != self._ways[gateways]
            self._ways[gateways] = way
        return changed

    def reaches(self, path: model.Path) -> bool:
        """Whether the next hop of a path can be reached."""
        return isinstance(self.way((model.Gateway.of(path),)), Way)

    def _way(self, gateways: tuple[model.Gateway, ...]) -> Way | str:
        resolved = list(map(self._hops, gateways))
        usable = [hop for hops in resolved if not isinstance(hops, str) for hop in hops]
        if not usable:
            return next(reason for reason in resolved if isinstance(reason, str))
        table = self.tables[usable[0].ifindex]
        same = {hop for hop in usable if self.tables[hop.ifindex] == table}
        return Way(table, tuple(sorted(same, key=lambda hop: (int(hop.gateway), hop.ifindex))))

    def _hops(self, gateway: model.Gateway) -> tuple[model.NextHop, ...] | str:
        found = self.through(gateway)
        if isinstance(found, model.NextHop):
            return (found,)
        if found == "nexthop-offlink" and gateway.recursive:
            return recursion.through(gateway.next_hop, self._foreign, self.exits) or found
        return found

    def through(self, gateway: model.Gateway) -> model.NextHop | str:
        """The on-link next hop for a gateway, or a reason code.

        A link-local one is on the link that the neighbour is on (RFC 2545 section 3). It counts
        where there is no other, or where the other is on no subnet of ours.
        """
        found: model.NextHop | str = "nexthop-offlink"
        local = gateway.link_local
        if gateway.next_hop.version == 6 and gateway.next_hop.is_link_local:
            local = gateway.next_hop
        else:
            found = self.resolve(gateway.next_hop)
        if found != "nexthop-offlink" or local is None or gateway.neighbor is None:
            return found
        if local in self._own:
            return "nexthop-own"
        near = self.resolve(gateway.neighbor)
        return model.NextHop(local, near.ifindex) if isinstance(near, model.NextHop) else found

    def resolve(self, address: model.Address) -> model.NextHop | str:
        """The next hop for an address, or a reason code."""
        found = self._cache.get(address)
        if found is None:
            found = self._cache[address] = self._resolve(address)
        return found

    def _resolve(self, address: model.Address) -> model.NextHop | str:
        if address in self._own:
            return "nexthop-own"
        for network, ifindex in self.networks:
            # A /32 or /128 says nothing about who else is on the wire.
            if network.prefixlen < network.max_prefixlen and address in network:
                return model.NextHop(address, ifindex)
        return "nexthop-offlink"

    def is_own(self, address: model.Address) -> bool:
        """Whether an address is this host's."""
        return address in self._own


def decide(
    change: model.BestPaths,
    guards: Guards,
    next_hops: NextHops,
    foreign: Mapping[model.Table, Mapping[model.Nlri, object]],
    ours: claims.Ours,
) -> Decision:
    """What one batch of best paths becomes.

    With several equal paths (ECMP) those with a usable next hop are taken; only when none
    is usable the batch is refused.
    """
    if not change.paths:
        return Decision((), None, change.prefixes, {})
    claimed = ours.refusals(change, next_hops.is_own)
    # Several neighbours may name one gateway; the order of equal paths means nothing.
    gateways = tuple(set(map(model.Gateway.of, change.paths)))
    if len(gateways) > 1:
        gateways = tuple(sorted(gateways, key=str))
    way = next_hops.way(gateways)
    if isinstance(way, str):
        return Decision(gateways, None, [], dict.fromkeys(change.prefixes, way) | claimed)
    theirs = foreign.get((change.family, way.table), {})
    refused = guards.refusals(change.family, change.prefixes, theirs) | claimed
    if not refused:
        return Decision(gateways, way, change.prefixes, {})
    accepted = list(itertools.filterfalse(refused.__contains__, change.prefixes))
    return Decision(gateways, way, accepted, refused)


def connected(links: Iterable[model.Link], ours: Iterable[str] = ()) -> set[model.Prefix]:
    """Connected subnets of the host, without loopback's and without our own links'."""
    skip = frozenset(ours)
    return {
        address.network
        for link in links
        if link.name not in skip and link.name != "lo"
        for address in link.addresses
        if not address.ip.is_link_local
    }
