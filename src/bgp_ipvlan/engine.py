"""Which engine speaks BGP (D1), made of the settings. Imported late: gRPC is for those who have a gobgpd."""

from __future__ import annotations

import ipaddress

from bgp_ipvlan import config, errors, kernel, model, ports


def make(
    settings: config.Settings, events: ports.EngineEvents, routes: ports.Routes
) -> ports.Engine:
    """The engine that is asked for, not started yet.

    Args:
        settings: with the router id filled in.
        events: whom it tells.
        routes: whose room it waits for.

    Raises:
        errors.ConfigError: `no-grpc`, `no-as`.
        errors.EngineError: `neighbors-elsewhere`.
    """
    match settings.engine:
        case model.EngineKind.EMBEDDED:
            from bgp_ipvlan.engines import embedded

            return embedded.EmbeddedEngine(_speaker(settings), events, room=routes.room)
        case model.EngineKind.GOBGP:
            return _gobgp(settings, events, routes)
        case model.EngineKind.KERNEL:
            return _routing_daemon(settings, events)


def _gobgp(
    settings: config.Settings, events: ports.EngineEvents, routes: ports.Routes
) -> ports.Engine:
    try:
        from bgp_ipvlan.engines import gobgp
    except ImportError as error:
        raise errors.ConfigError(
            "no-grpc",
            f"--engine gobgp needs gRPC for Python ({error}): pip install 'bgp-ipvlan[gobgp]'",
        ) from None
    if not settings.local_as:
        raise errors.ConfigError(
            "no-as",
            "--engine gobgp needs the AS number that gobgpd has: --as, for example --as 64512",
        )
    return gobgp.GobgpEngine(
        _speaker(settings),
        events,
        api=None if settings.gobgp_spawn else settings.gobgp_api,
        command=settings.gobgp_command,
        document=config.gobgp_document(settings, held=True) if settings.gobgp_spawn else "",
        folder=settings.control_socket.parent,
        room=routes.room,
    )


def _routing_daemon(settings: config.Settings, events: ports.EngineEvents) -> ports.Engine:
    """The engine of those who have a BGP daemon already."""
    from bgp_ipvlan.engines import routing_daemon

    table = kernel.announced.AnnouncedRoutes(_announced_table(settings))
    engine = routing_daemon.KernelEngine(events, table)
    engine.configure(settings.neighbors, settings.dynamic)  # refuses them
    return engine


def _announced_table(settings: config.Settings) -> int:
    """Announced is what stands in a table of its own: the main one if that is not our routes'."""
    return kernel.announced.TABLE if settings.table == model.MAIN else model.MAIN


async def clear_others(settings: config.Settings) -> int:
    """Remove what another engine has announced on this host, or this one in another table.

    A routing daemon would go on announcing it for ever.

    Returns:
        How many routes there were.

    Raises:
        errors.KernelError: `kernel-refused`.
    """
    ours = settings.engine is model.EngineKind.KERNEL
    return await kernel.announced.clear(but=_announced_table(settings) if ours else None)


def _speaker(settings: config.Settings) -> model.SpeakerConfig:
    return model.SpeakerConfig(
        local_as=settings.local_as,
        router_id=settings.router_id or ipaddress.IPv4Address(0),
        neighbors=settings.neighbors,
        dynamic=settings.dynamic,
        listen_addresses=settings.listen_addresses,
        listen_port=settings.listen_port,
        restart_time=settings.restart_time,
        maximum_paths=settings.maximum_paths,
        import_rules=settings.import_rules,
    )
