"""Links and addresses of the host's namespace (`ports.Links`).

One thread does it all, one operation after the other: the kernel's RTNL lock would queue
them anyway, and the loop never waits for it (D7).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import errno
import logging
import socket
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan.kernel import devices, namespaces
from bgp_ipvlan.kernel import netlink as nl

log = logging.getLogger("bgp_ipvlan")

_T = TypeVar("_T")
_NEW = nl.NLM_F_CREATE | nl.NLM_F_EXCL


class KernelLinks:
    """See the module."""

    def __init__(self) -> None:
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="links")

    async def start(self) -> None:
        """Open the netlink socket, on the thread that uses it.

        Raises:
            errors.KernelError: there is none to be had.
        """
        try:
            self._socket: socket.socket = await self._do(nl.open_socket)
        except OSError as error:
            raise _translated(error, "cannot open netlink") from error

    async def close(self) -> None:
        """Close the socket, end the thread."""
        await self._do(self._socket.close)
        self._thread.shutdown()

    async def _do(self, work: Callable[[], _T]) -> _T:
        """Run on the thread; shielded, so that a cancelled caller leaves no half of it."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._thread, work))

    async def read(self) -> tuple[model.Link, ...]:
        """All links with their addresses."""
        return await self._do(self._read)

    async def ipvlan_available(self) -> bool:
        """Ask for an ipvlan link without a parent, which no kernel makes (it loads the module)."""
        return await self._do(self._available)

    async def scan_slaves(self) -> model.SlaveScan:
        """Look into every network namespace, this one too."""
        return await asyncio.get_running_loop().run_in_executor(None, namespaces.scan_slaves)

    async def ensure_slave(self, spec: model.SlaveSpec) -> model.Link:
        """Make the slave; see `ports.Links`."""
        return await self._do(lambda: self._ensure(spec))

    async def delete(self, name: str) -> bool:
        """Delete a link of ours; see `ports.Links`."""
        return await self._do(lambda: self._delete(name))

    # --- on the thread ------------------------------------------------------------

    def _read(self) -> tuple[model.Link, ...]:
        try:
            links = nl.table(self._socket, nl.RTM_GETLINK, devices.ALL_LINKS)
        except OSError as error:
            raise _translated(error, "cannot read links") from error
        addresses = self._addresses()
        read = map(devices.read_link, links)
        return tuple(
            dataclasses.replace(one, addresses=tuple(addresses[one.index])) for one in read
        )

    def _addresses(self) -> defaultdict[int, list[model.Interface]]:
        """By index of their link."""
        try:
            found = nl.table(self._socket, nl.RTM_GETADDR, devices.ALL_ADDRESSES)
        except OSError as error:
            raise _translated(error, "cannot read addresses") from error
        addresses = defaultdict(list)
        for index, address in map(devices.read_address, found):
            addresses[index].append(address)
        return addresses

    def _find(self, name: str) -> model.Link | None:
        try:
            return self._get(devices.by_name(name))
        except OSError as error:
            # ERANGE: longer than any name can be.
            if error.errno in {errno.ENODEV, errno.ERANGE}:
                return None
            raise _translated(error, f"cannot look for link {name}") from error

    def _get(self, body: bytes) -> model.Link:
        return devices.read_link(nl.request(self._socket, nl.RTM_GETLINK, 0, body)[0])

    def _available(self) -> bool:
        try:
            nl.request(self._socket, nl.RTM_NEWLINK, _NEW, devices.ipvlan("biprobe"))
        except OSError as error:
            return error.errno != errno.EOPNOTSUPP
        raise errors.KernelError("kernel-refused", "the kernel made an ipvlan link without parent")

    def _ensure(self, spec: model.SlaveSpec) -> model.Link:
        have = self._find(spec.name)
        parent = self._find(spec.parent)
        if parent is None:
            raise errors.KernelError(
                "parent-missing", f"parent interface {spec.parent} does not exist", errno.ENODEV
            )
        if have is not None:
            if not ownership.link_is_ours(have):
                raise errors.KernelError(
                    "foreign-link",
                    f"a link named {spec.name} exists that is not ours: rename or remove it",
                    errno.EEXIST,
                )
            if self._matches(have, spec, parent):
                return have
            self._remove(have)
        try:
            return self._make(spec, parent)
        except OSError as error:
            made = self._find(spec.name)
            if made is not None and ownership.link_is_ours(made):
                self._remove(made)
            raise _translated(error, f"cannot make link {spec.name} on {spec.parent}") from error

    def _matches(self, have: model.Link, spec: model.SlaveSpec, parent: model.Link) -> bool:
        """Whether a link is what is asked for. Its mode is the parent's, which `plan` checks."""
        vrf = parent.vrf if spec.in_vrf else 0
        return (
            (have.alias, have.parent_index, have.up, have.vrf)
            == (spec.alias, parent.index, spec.up, vrf)
            and spec.mtu in {None, have.mtu}
            and set(self._addresses()[have.index]) >= set(spec.addresses)
        )

    def _make(self, spec: model.SlaveSpec, parent: model.Link) -> model.Link:
        made = devices.ipvlan(
            spec.name,
            devices.ipvlan_data(spec.mode, spec.flag),
            parent=parent.index,
            # Later it would be set down and up for it, and lose its IPv6 addresses.
            vrf=parent.vrf if spec.in_vrf else 0,
            # The kernel takes an alias only afterwards; see ownership.LINK_GROUP.
            group=ownership.LINK_GROUP,
            mtu=spec.mtu,
        )
        nl.request(self._socket, nl.RTM_NEWLINK, _NEW, made)
        index = self._get(devices.by_name(spec.name)).index
        nl.request(self._socket, nl.RTM_NEWLINK, 0, devices.alias(index, spec.alias))
        for address in spec.addresses:
            nl.request(self._socket, nl.RTM_NEWADDR, _NEW, devices.address(index, address))
        if spec.up:
            nl.request(self._socket, nl.RTM_NEWLINK, 0, devices.up(index))
        return dataclasses.replace(self._get(devices.by_index(index)), addresses=spec.addresses)

    def _delete(self, name: str) -> bool:
        have = self._find(name)
        if have is None:
            return False
        if not ownership.link_is_ours(have):
            raise errors.KernelError(
                "foreign-link", f"link {name} is not ours and stays", errno.EPERM
            )
        return self._remove(have)

    def _remove(self, link: model.Link) -> bool:
        try:
            # By index: the name could be somebody else's by now.
            nl.request(self._socket, nl.RTM_DELLINK, 0, devices.by_index(link.index))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise _translated(error, f"cannot delete link {link.name}") from error
        return True


_REASONS = {
    errno.EOPNOTSUPP: (
        "no-ipvlan",
        "this kernel cannot make ipvlan links: `modprobe ipvlan`, or boot a kernel that has it",
    ),
    errno.EBUSY: (
        "parent-busy",
        "the parent is held by a macvlan link or the like: remove that, or use another parent",
    ),
    errno.EADDRINUSE: ("address-in-use", "the address is in use on this parent"),
    errno.EADDRNOTAVAIL: ("address-in-use", "the address cannot be used: is IPv6 off?"),
    errno.EPERM: ("no-permission", "run the daemon as root (CAP_NET_ADMIN)"),
    errno.ENODEV: ("parent-missing", "the parent interface is gone"),
    errno.EINVAL: ("bad-parent", "the kernel does not take this parent or MTU"),
}


def _translated(error: OSError, doing: str) -> errors.KernelError:
    """One line for the user from what the kernel said."""
    code = error.errno or 0
    reason, remedy = _REASONS.get(code, ("kernel-refused", "see the kernel's log"))
    said = error.strerror or errno.errorcode.get(code, str(code))
    return errors.KernelError(reason, f"{doing}: {said}: {remedy}", code)
