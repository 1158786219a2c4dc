"""Our nexthop objects: which id stands for which next hops (D2).

The kernel is the store: ids are learned from it at start and at each audit. Not thread-safe;
the route writer's lock covers it.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import struct

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan.kernel import netlink as nl
from bgp_ipvlan.kernel import pack


@dataclasses.dataclass(frozen=True, slots=True)
class Objects:
    """The nexthop objects of the kernel, as far as they concern us."""

    values: dict[int, model.Via]
    """Ours, and the next hops they lead to now."""
    members: dict[int, tuple[int, ...]]
    """All groups, also those of others, which may have an object of ours in them."""
    ours: frozenset[int]
    """What we may delete: in our range and with our protocol."""
    strangers: frozenset[int]
    """In our range, but somebody else's, or changed so that they are no value of ours."""


class NextHops:
    """Ids of nexthop objects and groups."""

    def __init__(self) -> None:
        self.ids: dict[model.Via, int] = {}
        self.values: dict[int, model.Via] = {}
        self._members: dict[int, tuple[int, ...]] = {}
        self._used: set[int] = set()
        self._strangers: frozenset[int] = frozenset()
        self._next = ownership.NEXTHOP_ID_BASE

    def prepare(self, value: model.Via) -> list[bytes]:
        """The messages that make sure of a value's objects.

        They are sent before every batch that needs them, at the cost of one message: the
        kernel drops objects silently when a link goes down, and answers EEXIST otherwise.
        """
        members = [self._id(model.Via((hop,))) for hop in value.next_hops]
        made = [pack.nexthop(hop, id_) for hop, id_ in zip(value.next_hops, members, strict=True)]
        if len(members) > 1:
            group = self._id(value)
            self._members[group] = tuple(members)
            made.append(pack.group(members, group))
        return made

    def _id(self, value: model.Via) -> int:
        id_ = self.ids.get(value)
        if id_ is None:
            id_ = self._free()
            self.ids[value], self.values[id_] = id_, value
        self._used.add(id_)
        return id_

    def _free(self) -> int:
        for _ in range(ownership.NEXTHOP_ID_LAST - ownership.NEXTHOP_ID_BASE):
            self._next += 1
            if self._next > ownership.NEXTHOP_ID_LAST:
                self._next = ownership.NEXTHOP_ID_BASE + 1
            if self._next not in self.values and self._next not in self._strangers:
                return self._next
        raise errors.KernelError("no-nexthop-id", "all ids for nexthop objects are in use")

    def watch(self) -> None:
        """The kernel is about to be read: note what is used meanwhile."""
        self._used.clear()

    def observe(self, found: Objects, in_use: set[int]) -> list[bytes]:
        """The kernel was read.

        Args:
            found: what it has.
            in_use: the ids that routes point at, others' routes too: deleting an object deletes
                every route that points at it.

        Returns:
            The messages that delete what nothing uses, groups first.
        """
        in_use = in_use | self._used
        groups = self._members | found.members
        for id_, members in groups.items():
            if id_ in in_use or (id_ in found.members and id_ not in found.ours):
                in_use = in_use | set(members)
        known = {**self.values, **found.values}
        self._strangers = found.strangers
        self.values = {
            id_: value
            for id_, value in known.items()
            if id_ in in_use and id_ not in found.strangers
        }
        # A group that a dead link has shrunk leads where a single object does, but the kernel
        # takes no group as the member of another.
        self.ids = {
            value: id_
            for id_, value in self.values.items()
            if len(value.next_hops) > 1 or id_ not in groups
        }
        self._members = {id_: m for id_, m in groups.items() if id_ in self.values}
        unused = found.ours - in_use
        first = unused & found.members.keys()
        return [pack.delete_nexthop(id_) for id_ in (*first, *(unused - first))]


def parse(answers: list[bytes]) -> Objects:
    """Take in a dump of all nexthop objects."""
    singles: dict[int, model.Via] = {}
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
            if not ownership.nexthop_in_range(id_):
                continue
            in_range.add(id_)
            if body[2] != ownership.ROUTE_PROTOCOL:
                continue
            ours.add(id_)
            if pack.NHA_GATEWAY in found:
                gateway = ipaddress.ip_address(found[pack.NHA_GATEWAY])
                hop = model.NextHop(gateway, nl.number(found[pack.NHA_OIF]))
                singles[id_] = model.Via((hop,))
    values = dict(singles)
    for id_ in ours & members.keys():
        if all(part in singles for part in members[id_]):
            hops = [singles[part].next_hops[0] for part in members[id_]]
            hops.sort(key=lambda hop: (int(hop.gateway), hop.ifindex))
            values[id_] = model.Via(tuple(hops))
    return Objects(values, members, frozenset(ours), frozenset(in_range - values.keys()))
