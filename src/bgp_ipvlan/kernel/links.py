"""Links and addresses of the host's namespace, by pyroute2 (`ports.Links`).

One thread does it all, one operation after the other: the kernel's RTNL lock would queue
them anyway, and the loop never waits for it (D7).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import ipaddress
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import pyroute2

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan.kernel import namespaces

log = logging.getLogger("bgp_ipvlan")

_T = TypeVar("_T")
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_MODES = {model.Mode.L2: 0, model.Mode.L3: 1, model.Mode.L3S: 2}
"""IFLA_IPVLAN_MODE (linux/if_link.h)."""
_FLAGS = {model.Flag.BRIDGE: 0, model.Flag.PRIVATE: 1, model.Flag.VEPA: 2}
"""IFLA_IPVLAN_FLAGS."""


class KernelLinks:
    """See the module."""

    def __init__(self) -> None:
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="links")

    async def start(self) -> None:
        """Open the netlink socket, on the thread that uses it.

        Raises:
            errors.KernelError: no netlink.
        """
        self._route: pyroute2.IPRoute = await self._do(pyroute2.IPRoute)

    async def close(self) -> None:
        """Close the socket, end the thread."""
        await self._do(self._route.close)
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
            messages = list(self._route.get_links())
            addresses: dict[int, list[model.Interface]] = {}
            for message in self._route.get_addr():
                addresses.setdefault(message["index"], []).append(_interface(message))
        except pyroute2.NetlinkError as error:
            raise _translated(error, "cannot read links") from error
        return tuple(_link(m, tuple(addresses.get(m["index"], ()))) for m in messages)

    def _find(self, name: str) -> model.Link | None:
        try:
            found = self._route.get_links(ifname=name)
            return next((_link(message, ()) for message in found), None)
        except pyroute2.NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise _translated(error, f"cannot look for link {name}") from error

    def _available(self) -> bool:
        try:
            self._route.link("add", ifname="biprobe", kind="ipvlan")
        except pyroute2.NetlinkError as error:
            return bool(error.code != errno.EOPNOTSUPP)
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
        except pyroute2.NetlinkError as error:
            made = self._find(spec.name)
            if made is not None and ownership.link_is_ours(made):
                self._remove(made)
            raise _translated(error, f"cannot make link {spec.name} on {spec.parent}") from error

    def _matches(self, have: model.Link, spec: model.SlaveSpec, parent: model.Link) -> bool:
        """Whether a link is what is asked for. Its mode is the parent's, which `plan` checks."""
        addresses = {_interface(m) for m in self._route.get_addr(index=have.index)}
        return (
            (have.alias, have.parent_index, have.up) == (spec.alias, parent.index, spec.up)
            and spec.mtu in {None, have.mtu}
            and addresses >= set(spec.addresses)
        )

    def _make(self, spec: model.SlaveSpec, parent: model.Link) -> model.Link:
        self._route.link(
            "add",
            ifname=spec.name,
            kind="ipvlan",
            link=parent.index,
            ipvlan_mode=_MODES[spec.mode],
            ipvlan_flags=_FLAGS[spec.flag],
            # The kernel takes an alias only afterwards; see ownership.LINK_GROUP.
            group=ownership.LINK_GROUP,
            **({} if spec.mtu is None else {"mtu": spec.mtu}),
        )
        index = self._route.link_lookup(ifname=spec.name)[0]
        self._route.link("set", index=index, ifalias=spec.alias)
        for address in spec.addresses:
            self._route.addr(
                "add",
                index=index,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
                family=model.Family.of(address).af,
            )
        if spec.up:
            self._route.link("set", index=index, state="up")
        return next(_link(message, spec.addresses) for message in self._route.get_links(index))

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
            self._route.link("del", index=link.index)
        except pyroute2.NetlinkError as error:
            if error.code == errno.ENODEV:
                return False
            raise _translated(error, f"cannot delete link {link.name}") from error
        return True


def _link(message: Any, addresses: tuple[model.Interface, ...]) -> model.Link:
    info = message.get_attr("IFLA_LINKINFO")
    return model.Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
        alias=message.get_attr("IFLA_IFALIAS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        up=bool(message["flags"] & _IFF_UP),
        running=bool(message["flags"] & _IFF_LOWER_UP),
        parent_index=message.get_attr("IFLA_LINK") or 0,
        group=message.get_attr("IFLA_GROUP") or 0,
        addresses=addresses,
    )


def _interface(message: Any) -> model.Interface:
    # On a point-to-point link IFA_ADDRESS is the other end, IFA_LOCAL always ours.
    local = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return ipaddress.ip_interface(f"{local}/{message['prefixlen']}")


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


def _translated(error: Any, doing: str) -> errors.KernelError:
    """One line for the user from what the kernel said."""
    code = int(error.code or 0)
    reason, remedy = _REASONS.get(code, ("kernel-refused", "see the kernel's log"))
    said = str(error.args[1]) if len(error.args) > 1 else errno.errorcode.get(code, str(code))
    return errors.KernelError(reason, f"{doing}: {said}: {remedy}", code)
