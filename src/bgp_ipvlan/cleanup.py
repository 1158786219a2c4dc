"""`bgp-ipvlan cleanup`: remove every trace of ours from a host whose daemon is stopped.

A teardown: it goes on after a failure and treats what is gone as done.
"""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Iterable

from bgp_ipvlan import app, errors, kernel, model, ownership
from bgp_ipvlan import state as state_


async def cleanup(
    state_dir: pathlib.Path, sockets: Iterable[pathlib.Path], *, force: bool = False
) -> list[str]:
    """Remove routes, nexthop objects, the ARP filter, links, state and sockets of ours.

    Args:
        state_dir: the state directory; only our own files in it are removed.
        sockets: control and plugin socket.
        force: although containers still have links of ours, which stay with them.

    Returns:
        One line per kind of thing removed.

    Raises:
        errors.ConfigError: `already-running`.
        errors.Refused: `containers-attached`, `containers-unseen`.
        errors.KernelError: something could not be removed; the rest was.
    """
    with app.only_one():
        links = kernel.links.KernelLinks()
        await links.start()
        try:
            await _check_containers(links, force=force)
            lines = [await _routes(), *await _arp_filter(), await _links(links)]
        finally:
            await links.close()
        files = state_.remove(state_dir)
        for path in sockets:
            # What a gobgpd of ours has beside our own, which is left where we were killed.
            beside = (
                path.with_name(ownership.GOBGPD_FILE),
                path.with_name(ownership.GOBGPD_SOCKET),
            )
            for one in (path, *beside):
                if one.is_socket() or one.name == ownership.GOBGPD_FILE:
                    files += one.exists()
                    one.unlink(missing_ok=True)
        return [*lines, f"removed {files} files"]


async def _check_containers(links: kernel.links.KernelLinks, *, force: bool) -> None:
    scan = await links.scan_slaves()
    if not scan.complete and not force:
        raise errors.Refused(
            "containers-unseen",
            "not every container's network namespace can be looked into from here, so some may have "
            "links of ours: run it as root on the host itself (in a container: --pid host), or use "
            "--force, which cuts them off",
        )
    away = [s for s in scan.slaves if s.namespace and ownership.alias_identity(s.alias)]
    if away and not force:
        raise errors.Refused(
            "containers-attached",
            f"{len(away)} containers still have links of ours ({away[0].alias}, …): stop them "
            f"and `docker network rm` their networks, or use --force, which cuts them off",
        )


async def _routes() -> str:
    failures: list[model.RouteFailure] = []
    routes = kernel.routes.KernelRoutes(failures.extend)
    await routes.start()
    try:
        dump = await routes.dump({}, everywhere=True)
        routes.write(
            model.RouteBatch(table, None, list(ours)) for table, ours in dump.drift.items()
        )
        await routes.flush()
        await asyncio.sleep(0)
        # Reading deletes the nexthop objects that nothing uses.
        await routes.dump({}, everywhere=True)
    finally:
        await routes.close()
    if failures:
        raise errors.KernelError("cleanup-failed", f"a route stayed: {failures[0].detail}")
    announced = await kernel.announced.clear()
    return f"removed {sum(map(len, dump.drift.values())) + announced} routes"


async def _arp_filter() -> list[str]:
    one = kernel.arp.KernelArpFilter()
    try:
        return ["removed the ARP filter"] if await one.ensure((), ()) else []
    finally:
        await one.close()


async def _links(links: kernel.links.KernelLinks) -> str:
    ours = [link.name for link in await links.read() if ownership.link_is_ours(link)]
    for name in ours:
        await links.delete(name)
    return f"removed {len(ours)} links"
