"""Builds and wires everything; starts it in the right order and stops it again.

Start: be alone → listen for Docker (it must never find a dead socket) → state → kernel →
announcements → BGP → answer. Stop: BGP first, without a word to the neighbours unless
asked, then the rest; links and routes stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import ipaddress
import logging
import os
import pathlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import bgp_ipvlan
from bgp_ipvlan import (
    config,
    control,
    docker,
    engine,
    errors,
    kernel,
    model,
    operations,
    ownership,
    ports,
    reconcile,
    status,
)
from bgp_ipvlan import state as state_

log = logging.getLogger("bgp_ipvlan")

_SWITCH = 0.0001
"""Seconds that a thread waits for its turn at most, instead of 5 ms: the route writer wants one
after each send, and would else write no faster than 200 sends a second while the loop is busy."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Ending:
    """How to stop."""

    withdraw: bool = False
    message: str = ""


_Stopping: TypeAlias = "asyncio.Future[_Ending]"


async def run(flags: config.Flags) -> None:
    """Run the daemon until it is told to stop.

    Raises:
        errors.Error: it cannot start, with the reason and the remedy.
    """
    settings = config.load(flags)
    _log_to_stderr(debug=settings.debug)
    for warning in settings.warnings:
        log.warning("%s", warning)
    stopping: _Stopping = asyncio.get_running_loop().create_future()
    with only_one():
        async with contextlib.AsyncExitStack() as stack:
            await _start(flags, settings, stack, stopping)
            _spare_the_collector()
            sys.setswitchinterval(_SWITCH)
            _notify("READY=1")
            ending = await stopping
            _notify("STOPPING=1")
            log.info("stopping withdraw=%s", ending.withdraw)
    log.info("stopped")


async def _start(
    flags: config.Flags,
    settings: config.Settings,
    stack: contextlib.AsyncExitStack,
    stopping: _Stopping,
) -> None:
    stop = _until_told(stopping)
    door = docker.server.PluginServer(settings.plugin_socket)
    await door.start()
    stack.push_async_callback(door.close)
    log.info("bgp-ipvlan %s listening socket=%s", bgp_ipvlan.__version__, settings.plugin_socket)

    state = await state_.State.open(settings.state_dir)
    stack.push_async_callback(state.close)
    links = kernel.links.KernelLinks()
    await links.start()
    stack.push_async_callback(links.close)
    found = await links.read()
    _mind_parent(settings, found)
    _mind_namespaces()
    settings = dataclasses.replace(
        settings, router_id=settings.router_id or _router_id(settings, found)
    )
    core, routes = await _kernel(settings, state, links, stack)
    preserved = await core.adopt(_boot_id())
    speaker = engine.make(settings, core, routes)
    core.attach(speaker)
    desk = operations.Operations(flags, settings, state=state, engine=speaker)
    await desk.drain.restore()
    await speaker.start(restarted=preserved, forwarding_preserved=preserved)
    _run(core, speaker, routes, stack=stack, stopping=stopping)
    succeeding = asyncio.create_task(_succeed(settings, core), name="succeed")
    stack.callback(succeeding.cancel)
    stack.push_async_callback(desk.close)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, desk.hang_up)

    driver = docker.network.Driver(state, links, core, defaults=_defaults(settings))
    addresses = docker.ipam.Driver(state, links, core, defaults=_defaults(settings))
    snapshot = status.Status(desk, state, reconciler=core, engine=speaker)
    server = control.ControlServer(
        settings.control_socket, snapshot, desk, stop=stop, forget=driver.forget
    )
    await server.start()
    stack.push_async_callback(server.close)
    door.ready(driver, addresses)
    log.info("ready networks=%d neighbors=%d", len(state.networks), len(settings.neighbors))


async def _succeed(settings: config.Settings, core: reconcile.Reconciler) -> None:
    """End what another engine has announced; not before the neighbours have heard it from this one."""
    await core.until_synced()
    try:
        if count := await engine.clear_others(settings):
            log.info("no longer announced to the routing daemon of this host routes=%d", count)
    except errors.KernelError as error:
        log.warning("announced routes left reason=%s error=%s", error.reason, error)


def _mind_parent(settings: config.Settings, links: tuple[model.Link, ...]) -> None:
    """Say early what each `docker network create` would say: it may be a mere misspelling."""
    name = settings.host_interface
    if name is not None and name not in {link.name for link in links}:
        log.warning("--host-interface %s: there is no such link now reason=parent-missing", name)


def _mind_namespaces() -> None:
    if kernel.namespaces.confined():
        log.warning(
            "this container does not see the machine's processes, so what becomes of containers "
            "while we are away is not noticed: start it with --pid host reason=own-pid-namespace"
        )


def _until_told(stopping: _Stopping) -> Callable[[bool, str], None]:
    """Handle signals; returns what begins to stop. A second call of it changes nothing."""

    def stop(withdraw: bool = False, message: str = "") -> None:
        if not stopping.done():
            stopping.set_result(_Ending(withdraw, message))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    # Until there is something to reload; unhandled it would end us.
    loop.add_signal_handler(signal.SIGHUP, log.info, "still starting, nothing to reload")
    return stop


async def _kernel(
    settings: config.Settings,
    state: state_.State,
    links: kernel.links.KernelLinks,
    stack: contextlib.AsyncExitStack,
) -> tuple[reconcile.Reconciler, kernel.routes.KernelRoutes]:
    """The loop's object, with the kernel's routes and events."""
    # The two know each other; the lambda looks `core` up when it is called.
    routes = kernel.routes.KernelRoutes(lambda failed: core.routes_failed(failed))  # noqa: PLW0108
    await routes.start()
    stack.push_async_callback(routes.close)
    arp_filter = kernel.arp.KernelArpFilter()
    stack.push_async_callback(arp_filter.close)
    core = reconcile.Reconciler(
        settings,
        state,
        links=links,
        routes=routes,
        arp_filter=arp_filter,
        conntrack=kernel.conntrack.KernelConntrack(),
    )
    # Events before the first reading: what happens in between is seen twice, never missed.
    monitor = kernel.monitor.KernelMonitor(core, own_port=routes.port)
    await monitor.start()
    stack.push_async_callback(monitor.close)
    return core, routes


def _run(
    core: reconcile.Reconciler,
    speaker: ports.Engine,
    routes: ports.Routes,
    *,
    stack: contextlib.AsyncExitStack,
    stopping: _Stopping,
) -> None:
    """Start the loop; and what ends it and the engine goes onto the stack."""
    loop = asyncio.create_task(core.run(), name="reconcile")

    def died(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() and not stopping.done():
            stopping.set_exception(task.exception() or RuntimeError("reconcile ended"))

    loop.add_done_callback(died)

    async def shut() -> None:
        told = stopping.done() and not stopping.exception()
        ending = stopping.result() if told else _Ending()
        loop.cancel()
        await speaker.stop(withdraw=ending.withdraw, message=ending.message)
        if ending.withdraw:
            core.withdraw_learned()
        await routes.flush()
        if ending.withdraw:
            try:
                # Reading deletes the nexthop objects that nothing uses.
                await routes.dump({})
            except errors.KernelError as error:
                log.warning("nexthop objects left reason=%s error=%s", error.reason, error)

    stack.push_async_callback(shut)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Be the only daemon in this network namespace (D3).

    An abstract socket belongs to the namespace, and goes with the process, also after kill -9.

    Raises:
        errors.ConfigError: `already-running`.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(ownership.LOCK_SOCKET)
    except OSError:
        lock.close()
        raise errors.ConfigError(
            "already-running",
            "a bgp-ipvlan daemon already runs in this network namespace: see it with "
            "`bgp-ipvlan status`, stop it with `bgp-ipvlan stop`",
        ) from None
    with lock:
        yield


def _spare_the_collector() -> None:
    """Tables of paths are no garbage, and looking through 100,000 of them stops the loop (D7).

    What stands after the start is never looked at again. Of what comes later the young is looked
    through in pieces, of 5,000 and now and then 25,000, and all of it hardly ever: with the
    defaults, a neighbour's table of single paths costs turns of 65 ms, and more as it grows.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 4, 1_000)


def _boot_id() -> str:
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _defaults(settings: config.Settings) -> docker.options.Defaults:
    return docker.options.Defaults(
        parent=settings.host_interface,
        mode=settings.mode,
        mtu=settings.mtu,
        gateway=settings.gateway,
        ipvlan_subnets=settings.ipvlan_subnets,
    )


def _router_id(
    settings: config.Settings, links: tuple[model.Link, ...]
) -> ipaddress.IPv4Address | None:
    """The host interface's first IPv4 address, else any link's.

    Raises:
        errors.ConfigError: `no-router-id`, when there are neighbours to talk to.
    """
    ordered = sorted(links, key=lambda link: (link.name != settings.host_interface, link.index))
    for link in ordered:
        for address in link.addresses:
            if isinstance(address, ipaddress.IPv4Interface) and not address.ip.is_loopback:
                return ipaddress.IPv4Address(address.ip)
    if settings.neighbors or settings.dynamic:
        raise errors.ConfigError(
            "no-router-id",
            "this host has no IPv4 address to use as BGP identifier: give one with --router-id",
        )
    return None


def _log_to_stderr(*, debug: bool) -> None:
    # The journal stamps lines itself.
    stamp = "" if os.environ.get("JOURNAL_STREAM") else "%(asctime)s "
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format=f"{stamp}%(levelname)s %(message)s",
    )
    log.setLevel(logging.DEBUG if debug else logging.INFO)


def _notify(message: str, environ: Mapping[str, str] = os.environ) -> None:
    """Tell systemd (sd_notify(3), Type=notify)."""
    path = environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.sendto(message.encode(), "\0" + path[1:] if path[0] == "@" else path)
