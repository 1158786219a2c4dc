"""Keeps links and endpoints in step with the state: at start, and in each audit.

What Docker does not tell us has to be found: after a crash of dockerd its endpoints are
dropped without Leave (Docker driver protocol sheet, section 2.6), after a reboot every
link is gone, and a parent that was made anew has lost our shims.

Nothing here decides about routes or announcements; it reports which endpoints went.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from bgp_ipvlan import errors, model, ownership, plan, ports
from bgp_ipvlan import state as state_

log = logging.getLogger("bgp_ipvlan")

_BOOT_ID = "boot_id"


class Upkeep:
    """Repairs of links and endpoints.

    Args:
        state: the networks and endpoints.
        links: the host's links.
    """

    def __init__(self, state: state_.State, links: ports.Links) -> None:
        self._state = state
        self._links = links
        self._suspects: frozenset[str] = frozenset()

    async def same_boot(self, boot_id: str) -> bool:
        """Whether we ran before on this boot; remembers the boot for next time.

        After a reboot no container of before lives, whatever the state says: their
        endpoints are forgotten here, since nobody will tell us.
        """
        before = self._state.meta(_BOOT_ID)
        if before == boot_id:
            return True
        for endpoint in tuple(self._state.endpoints.values()):
            log.info("endpoint forgotten endpoint=%s reason=rebooted", endpoint.short)
            await self._state.remove_endpoint(endpoint.id)
        await self._state.set_meta(_BOOT_ID, boot_id)
        return False

    async def shims(self, links: Mapping[str, model.Link]) -> bool:
        """Make the shims that are not as they should be; True if the links have to be read again."""
        made = False
        for network in tuple(self._state.networks.values()):
            spec, parent = plan.own.shim(network), links.get(network.parent)
            if not network.shim or parent is None or _stands(links.get(spec.name), spec, parent):
                continue
            try:
                await self._links.ensure_slave(spec)
            except errors.KernelError as error:
                log.warning(
                    "shim not made network=%s reason=%s error=%s",
                    network.short,
                    error.reason,
                    error,
                )
                continue
            log.info("shim made network=%s parent=%s", network.short, network.parent)
            made = True
        return made

    async def sweep(self, *, at_once: bool) -> list[model.Endpoint]:
        """Remove links that belong to nothing, and endpoints whose link is nowhere.

        A request that is being served may have its endpoint on disk and its link not made
        yet, or the reverse. So something must look dead in two audits in a row, unless
        `at_once`: at start, when no request is served yet.

        Returns:
            The endpoints that were forgotten.
        """
        # The order matters: what comes into being after this line is in neither set.
        known = {e.id: e for e in self._state.endpoints.values() if e.joined}
        scan = await self._links.scan_slaves()
        here = await self._links.read()
        alive = {ownership.alias_identity(slave.alias) for slave in scan.slaves}
        alive |= {ownership.alias_identity(link.alias) for link in here}
        dead = {id_ for id_ in known if id_ not in alive} if scan.complete else set()
        orphans = {
            link.name
            for link in here
            if ownership.link_is_ours(link)
            and ownership.alias_identity(link.alias) not in self._state.endpoints
            and ownership.alias_identity(link.alias) not in self._state.networks
        }
        suspects = frozenset(dead | orphans)
        confirmed = suspects if at_once else suspects & self._suspects
        self._suspects = suspects - confirmed
        await self._delete(orphans & confirmed)
        return await self._forget(known[id_] for id_ in dead & confirmed)

    async def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                if await self._links.delete(name):
                    log.info("link removed link=%s reason=orphan", name)
            except errors.KernelError as error:
                log.warning("link not removed link=%s error=%s", name, error)

    async def _forget(self, endpoints: Iterable[model.Endpoint]) -> list[model.Endpoint]:
        forgotten = []
        for endpoint in endpoints:
            log.warning(
                "endpoint forgotten endpoint=%s network=%s reason=link-gone "
                "(its container ended without a word from Docker)",
                endpoint.short,
                endpoint.network_id[:12],
            )
            await self._state.remove_endpoint(endpoint.id)
            forgotten.append(endpoint)
        return forgotten


def _stands(shim: model.Link | None, spec: model.SlaveSpec, parent: model.Link) -> bool:
    """Whether a shim serves. It does not follow its parent into a VRF, or out of it.

    With a VRF that is deleted it loses its IPv6 addresses.
    """
    return (
        shim is not None
        and (shim.up, shim.vrf) == (True, parent.vrf)
        and set(shim.addresses) >= set(spec.addresses)
    )
