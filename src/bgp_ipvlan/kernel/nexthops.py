"""Our nexthop objects: which id stands for which next hops (D2).

The kernel is the store: ids are learned from it at start and at each audit. Not thread-safe;
the route writer's lock covers it.
"""

from __future__ import annotations

import ipaddress
import struct

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan.kernel import netlink as nl
from bgp_ipvlan.kernel import pack


class NextHops:
    """Ids of nexthop objects and groups."""

    def __init__(self) -> None:
        self.ids: dict[model.Via, int] = {}
        self.values: dict[int, model.Via] = {}
        self._members: dict[int, tuple[int, ...]] = {}
        self._used: set[int] = set()
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
            if self._next not in self.values:
                return self._next
        raise errors.KernelError("no-nexthop-id", "all ids for nexthop objects are in use")

    def watch(self) -> None:
        """The kernel is about to be read: note what is used meanwhile."""
        self._used.clear()

    def observe(self, there: dict[int, model.Via], in_use: set[int]) -> list[bytes]:
        """The kernel was read.

        Args:
            there: our objects in the kernel.
            in_use: the ids that routes point at.

        Returns:
            The messages that delete what nothing uses, groups first.
        """
        in_use = in_use | self._used
        for id_ in in_use & self._members.keys():
            in_use = in_use | set(self._members[id_])
        unused = there.keys() - in_use
        keep = (self.values.keys() & in_use) | (there.keys() & in_use)
        values = {id_: there.get(id_) or self.values[id_] for id_ in keep}
        self.values = values
        self.ids = {value: id_ for id_, value in values.items()}
        self._members = {g: m for g, m in self._members.items() if g in values}
        groups = [id_ for id_ in unused if len(there[id_].next_hops) > 1]
        return [pack.delete_nexthop(i) for i in (*groups, *(unused - set(groups)))]

    def learn_members(self, members: dict[int, tuple[int, ...]]) -> None:
        """Groups found in the kernel."""
        self._members.update(members)


def parse(answers: list[bytes]) -> tuple[dict[int, model.Via], dict[int, tuple[int, ...]]]:
    """Our objects in a dump of all: values by id, and groups with their members."""
    singles: dict[int, model.Via] = {}
    members: dict[int, tuple[int, ...]] = {}
    for data in answers:
        for kind, _, body in nl.messages(data):
            if kind != nl.RTM_NEWNEXTHOP or body[2] != ownership.ROUTE_PROTOCOL:
                continue
            found = nl.attributes(body, nl.NHMSG.size)
            id_ = nl.number(found[pack.NHA_ID])
            if not ownership.NEXTHOP_ID_BASE < id_ <= ownership.NEXTHOP_ID_LAST:
                continue
            if pack.NHA_GROUP in found:
                entries = struct.iter_unpack("=IBBH", found[pack.NHA_GROUP])
                members[id_] = tuple(entry[0] for entry in entries)
            elif pack.NHA_GATEWAY in found:
                gateway = ipaddress.ip_address(found[pack.NHA_GATEWAY])
                hop = model.NextHop(gateway, nl.number(found[pack.NHA_OIF]))
                singles[id_] = model.Via((hop,))
    values = dict(singles)
    for id_, parts in members.items():
        if all(part in singles for part in parts):
            hops = [singles[part].next_hops[0] for part in parts]
            hops.sort(key=lambda hop: (int(hop.gateway), hop.ifindex))
            values[id_] = model.Via(tuple(hops))
    return values, members
