"""Our nexthop objects as the kernel has them (D2). Pure: says which messages to send.

An id that routes point at is the core's to choose (`gateways`); the members of groups are
objects of their own, chosen here, one for each next hop. Not thread-safe; the route writer's
lock covers it.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import struct

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan.kernel import netlink as nl
from bgp_ipvlan.kernel import pack


@dataclasses.dataclass(frozen=True, slots=True)
class Objects:
    """The nexthop objects of the kernel, as far as they concern us."""

    ways: dict[int, tuple[model.NextHop, ...]]
    """Ours, and where they lead now."""
    members: dict[int, tuple[int, ...]]
    """All groups, also those of others, which may have an object of ours in them."""
    ours: frozenset[int]
    """What we may delete: in our range and with our protocol."""
    strangers: frozenset[int]
    """In our range, but somebody else's, or changed so that they cannot be changed back."""


class NextHops:
    """What each object has to be, and the messages that make it so."""

    def __init__(self) -> None:
        self.ways: dict[int, tuple[model.NextHop, ...]] = {}
        """Where the ids lead that routes point at."""
        self._members: dict[model.NextHop, int] = {}
        self._ids = itertools.cycle(ownership.MEMBER_IDS)
        self._made: set[int] = set()
        """Made since the kernel is being read."""
        self._changed: set[int] = set()
        """Those of them that led elsewhere before."""
        self._bad: set[int] = set()
        """What the kernel has refused since; a group does without such members."""
        self._spoken_for: frozenset[int] = frozenset()

    def lead(self, id_: int, next_hops: tuple[model.NextHop, ...]) -> list[bytes]:
        """An object leads here from now on; a new one is made when a route needs it."""
        before, self.ways[id_] = self.ways.get(id_, next_hops), next_hops
        if before == next_hops:
            return []
        self._changed.add(id_)
        return self._messages(id_, replace=True)

    def make(self, id_: int) -> list[bytes]:
        """The messages that make sure of an object.

        They are sent before every batch that needs it: the kernel drops objects silently when a
        link goes down, and answers EEXIST otherwise.
        """
        return self._messages(id_, replace=False)

    def _messages(self, id_: int, *, replace: bool) -> list[bytes]:
        next_hops = self.ways[id_]
        self._made.add(id_)
        if id_ not in ownership.GROUP_IDS:
            return [pack.nexthop(next_hops[0], id_, replace=replace)]
        members = {self._member(hop): hop for hop in next_hops}
        good = {m: hop for m, hop in members.items() if m not in self._bad} or members
        made = [pack.nexthop(hop, m) for m, hop in good.items()]
        return [*made, pack.group(good, id_, replace=replace)]

    def _member(self, hop: model.NextHop) -> int:
        found = self._members.get(hop)
        if found is None:
            taken = self._spoken_for.union(self._members.values())
            ids = itertools.islice(self._ids, len(ownership.MEMBER_IDS))
            found = next((id_ for id_ in ids if id_ not in taken), None)
            if found is None:
                raise errors.KernelError("no-nexthop-id", "all ids for nexthop objects are in use")
            self._members[hop] = found
        self._made.add(found)
        return found

    def refused(self, id_: int) -> str | None:
        """The kernel does not want an object.

        Returns:
            What is to be told of it, unless that was said since the kernel was read.
        """
        if id_ in self._bad:
            return None
        self._bad.add(id_)
        hops = self.ways.get(id_) or [hop for hop, m in self._members.items() if m == id_]
        return ",".join(str(hop.gateway) for hop in hops)

    def forget(self, id_: int) -> None:
        """An id stands for nothing any more."""
        self.ways.pop(id_, None)

    def plain_id(self, next_hops: tuple[model.NextHop, ...]) -> int:
        """The id for a route that carries its next hops itself, in a kernel without objects.

        Raises:
            errors.KernelError: `no-nexthop-id`.
        """
        for id_, way in self.ways.items():
            if way == next_hops:
                return id_
        ids = ownership.GROUP_IDS if len(next_hops) > 1 else ownership.SINGLE_IDS
        # From the far end: the core chooses from this one.
        found = next((id_ for id_ in reversed(ids) if id_ not in self.ways), None)
        if found is None:
            raise errors.KernelError("no-nexthop-id", "all ids for next hops are in use")
        self.ways[found] = next_hops
        return found

    def watch(self) -> None:
        """The kernel is about to be read: note what is made meanwhile."""
        self._made.clear()
        self._changed.clear()
        self._bad.clear()

    def observe(self, found: Objects, in_use: set[int]) -> list[int]:
        """The kernel was read.

        Args:
            found: what it has.
            in_use: the ids that routes point at, others' routes too: deleting an object deletes
                every route that points at it.

        Returns:
            What nothing uses: to be deleted, groups first.
        """
        needed = in_use | self._made | self.ways.keys()
        for id_, members in found.members.items():
            if id_ in needed or id_ not in found.ours:
                needed |= set(members)
        self._spoken_for = found.strangers | found.ours
        hops = {id_: way for id_, way in found.ways.items() if id_ in ownership.MEMBER_IDS}
        self._members = {
            hop: id_
            for hop, id_ in self._members.items()
            if id_ in self._made or hops.get(id_) == (hop,)
        }
        for id_, way in hops.items():
            if id_ in needed:
                self._members.setdefault(way[0], id_)
        # What somebody has changed: so that leading it where it should is news.
        changed = {id_: way for id_, way in found.ways.items() if id_ not in self._changed}
        self.ways.update({id_: changed[id_] for id_ in self.ways.keys() & changed.keys()})
        unused = found.ours - needed
        first = unused & found.members.keys()
        return [*first, *(unused - first)]


def parse(answers: list[bytes]) -> Objects:
    """Take in a dump of all nexthop objects."""
    singles: dict[int, model.NextHop] = {}
    members: dict[int, tuple[int, ...]] = {}
    ours: set[int] = set()
    in_range: set[int] = set()
    for data in answers:
        for kind, _, body in nl.messages(data):
            if kind != nl.RTM_NEWNEXTHOP:
                continue
            found = nl.attributes(body, nl.NHMSG.size)
            id_ = nl.number(found[pack.NHA_ID])
            if pack.NHA_GROUP in found:
                entries = struct.iter_unpack("=IBBH", found[pack.NHA_GROUP])
                members[id_] = tuple(entry[0] for entry in entries)
            if id_ not in ownership.NEXTHOP_IDS:
                continue
            in_range.add(id_)
            if body[2] != ownership.ROUTE_PROTOCOL:
                continue
            ours.add(id_)
            if pack.NHA_GATEWAY in found:
                gateway = ipaddress.ip_address(found[pack.NHA_GATEWAY])
                singles[id_] = model.NextHop(gateway, nl.number(found[pack.NHA_OIF]))
    ways = {}
    for id_ in ours:
        hops = [singles[part] for part in members.get(id_, (id_,)) if part in singles]
        if (id_ in members) is (id_ in ownership.GROUP_IDS) and hops:
            ways[id_] = tuple(sorted(hops, key=lambda hop: (int(hop.gateway), hop.ifindex)))
    return Objects(ways, members, frozenset(ours), frozenset(in_range - ways.keys()))
