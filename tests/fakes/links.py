"""The host's links as the kernel keeps them, without a kernel. Holds state; decides nothing of ours."""

from __future__ import annotations

import dataclasses
import errno
import itertools
from collections.abc import Callable, Collection

from bgp_ipvlan import errors, model, ownership

Operation = str
"""Name of a method of `ports.Links`."""


class FakeLinks:
    """Implements `ports.Links` as a kernel would.

    A failure is ordered with `fail`; a test proves with `check_consumed` that it happened.

    Args:
        links: what is there at first.
        ipvlan: whether this kernel has ipvlan.
    """

    def __init__(self, *links: model.Link, ipvlan: bool = True) -> None:
        self.links = {link.name: link for link in links}
        self.away: dict[str, model.Slave] = {}
        """Slaves in containers, by name: nothing of them is visible here."""
        self.specs: dict[str, model.SlaveSpec] = {}
        self.ipvlan = ipvlan
        self.scan_complete = True
        self.made: list[str] = []
        self.deleted: list[str] = []
        self.on_change: Callable[[Collection[int]], None] = lambda _lost: None
        """The monitor: called after each change of a link that is here."""
        self._failures: dict[Operation, errors.Error] = {}
        self._indexes = itertools.count(100)

    # --- what a test does to the world ----------------------------------------------

    def fail(self, operation: Operation, reason: str = "kernel-refused") -> None:
        """The next call of that method fails."""
        assert hasattr(self, operation), operation
        self._failures[operation] = errors.KernelError(reason, f"{operation} fails by order", 5)

    def forget(self, operation: Operation) -> None:
        """That need not fail any more."""
        self._failures.pop(operation, None)

    def pending(self) -> frozenset[Operation]:
        """What is to fail and has not."""
        return frozenset(self._failures)

    def check_consumed(self) -> None:
        """Every failure ordered has happened."""
        assert not self._failures, f"never called: {set(self._failures)}"

    def change(self, name: str, **fields: object) -> None:
        """Change a link (its fields are `model.Link`'s)."""
        old = self.links[name]
        new = self.links[name] = dataclasses.replace(old, **fields)  # type: ignore[arg-type]
        kept = new.up and new.running and set(old.addresses) <= set(new.addresses)
        self.on_change(() if kept else (new.index,))

    def add(self, link: model.Link) -> None:
        """A link comes."""
        self.links[link.name] = link
        self.on_change(())

    def remove(self, name: str) -> None:
        """A link goes, and its slaves with it, wherever they are."""
        index = self.links.pop(name).index
        for slave in [s.name for s in self.links.values() if s.parent_index == index]:
            self.remove(slave)
        self.away = {n: s for n, s in self.away.items() if s.parent_index != index}
        self.on_change((index,))

    def move(self, name: str, namespace: str = "/proc/1234/ns/net") -> None:
        """Docker moves a slave into a container."""
        link, spec = self.links.pop(name), self.specs[name]
        self.away[name] = model.Slave(
            name="eth0",
            alias=link.alias,
            mode=spec.mode,
            flag=spec.flag,
            parent_index=link.parent_index,
            namespace=namespace,
        )
        self.on_change((link.index,))

    def ours(self) -> set[str]:
        """Names of the links of ours that are here."""
        return {link.name for link in self.links.values() if ownership.link_is_ours(link)}

    # --- ports.Links --------------------------------------------------------------------

    async def read(self) -> tuple[model.Link, ...]:
        """What is there."""
        self._maybe_fail("read")
        return tuple(self.links.values())

    async def ipvlan_available(self) -> bool:
        """As made."""
        self._maybe_fail("ipvlan_available")
        return self.ipvlan

    async def scan_slaves(self) -> model.SlaveScan:
        """Those in containers and those here."""
        self._maybe_fail("scan_slaves")
        here = [
            model.Slave(
                name=link.name,
                alias=link.alias,
                mode=self.specs[link.name].mode,
                flag=self.specs[link.name].flag,
                parent_index=link.parent_index,
                namespace="",
            )
            for link in self.links.values()
            if link.name in self.specs
        ]
        return model.SlaveScan((*here, *self.away.values()), self.scan_complete)

    async def ensure_slave(self, spec: model.SlaveSpec) -> model.Link:
        """Make it, or leave nothing of it."""
        self._maybe_fail("ensure_slave")
        parent = self.links.get(spec.parent)
        if parent is None:
            raise errors.KernelError("parent-missing", f"no {spec.parent}", errno.ENODEV)
        vrf = parent if spec.in_vrf else model.Link(index=0, name="")
        have = self.links.get(spec.name)
        if have is not None:
            if not ownership.link_is_ours(have):
                raise errors.KernelError("foreign-link", f"{spec.name} is not ours", errno.EEXIST)
            as_is = have.up, have.vrf, set(have.addresses) >= set(spec.addresses)
            if self.specs.get(spec.name) == spec and as_is == (spec.up, vrf.vrf, True):
                return have
            self.remove(spec.name)
        taken = {a.ip for link in self.links.values() for a in link.addresses}
        if any(address.ip in taken for address in spec.addresses):
            raise errors.KernelError("address-in-use", "in use", errno.EADDRINUSE)
        link = model.Link(
            index=next(self._indexes),
            name=spec.name,
            kind="ipvlan",
            alias=spec.alias,
            mtu=spec.mtu or parent.mtu,
            up=spec.up,
            running=spec.up,
            parent_index=parent.index,
            group=ownership.LINK_GROUP,
            vrf=vrf.vrf,
            table=vrf.table,
            addresses=spec.addresses,
        )
        self.links[spec.name], self.specs[spec.name] = link, spec
        self.made.append(spec.name)
        self.on_change(())
        return link

    async def delete(self, name: str) -> bool:
        """Delete a link of ours."""
        self._maybe_fail("delete")
        have = self.links.get(name)
        if have is None:
            return False
        if not ownership.link_is_ours(have):
            raise errors.KernelError("foreign-link", f"{name} is not ours", errno.EPERM)
        self.remove(name)
        self.deleted.append(name)
        return True

    def _maybe_fail(self, operation: Operation) -> None:
        error = self._failures.pop(operation, None)
        if error is not None:
            raise error
