"""The daemon itself, and its end."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from bgp_ipvlan import config, errors
from bgp_ipvlan.cli import options
from bgp_ipvlan.cli.options import ENV


def run(
    host_interface: Annotated[
        str | None,
        typer.Option(
            envvar=ENV + "HOST_INTERFACE",
            metavar="NAME",
            help="Parent of networks created without -o parent=NAME.",
        ),
    ] = None,
    local_as: Annotated[
        int | None,
        typer.Option("--as", envvar=ENV + "AS", metavar="NUMBER", help="AS number of this host."),
    ] = None,
    router_id: Annotated[
        str | None,
        typer.Option(
            envvar=ENV + "ROUTER_ID",
            metavar="ADDRESS",
            help="BGP identifier; by default the first IPv4 address of the host interface.",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            envvar=ENV + "ENGINE",
            metavar="embedded|gobgp|kernel",
            help="Who speaks BGP: this daemon (the default), a gobgpd, or a routing daemon on this "
            "host that takes our routes from the kernel.",
        ),
    ] = None,
    gobgp_api: Annotated[
        str | None,
        typer.Option(
            envvar=ENV + "GOBGP_API",
            metavar="HOST:PORT|PATH",
            help="gRPC address of the running gobgpd, by default 127.0.0.1:50051.",
        ),
    ] = None,
    gobgp_spawn: Annotated[
        bool | None,
        typer.Option(
            "--gobgp-spawn/--no-gobgp-spawn",
            envvar=ENV + "GOBGP_SPAWN",
            help="Start a gobgpd and look after it, instead of asking one that runs.",
        ),
    ] = None,
    gobgp_command: Annotated[
        str | None,
        typer.Option(
            envvar=ENV + "GOBGP_COMMAND",
            metavar="PROGRAM",
            help="The program that --gobgp-spawn starts, by default gobgpd.",
        ),
    ] = None,
    neighbor: Annotated[
        list[str] | None,
        typer.Option(
            envvar=ENV + "NEIGHBORS",
            metavar="ADDRESS[,as=N]",
            help="BGP neighbour; repeatable. Without as=N it is in our own AS. More keys: "
            "password-file=PATH, password=TEXT (visible in `ps`), ttl-security, multihop=N, "
            "local-as=N, allow-own-as[=N], max-prefixes=N, max-prefixes-warn=PERCENT, "
            "max-prefixes-restart=SECONDS, hold=SECONDS, keepalive=SECONDS, passive, "
            "local=ADDRESS, bind-interface=NAME, port=N, name=TEXT, families=ipv4+ipv6, recursive, "
            "no-add-path, no-graceful-restart.",
        ),
    ] = None,
    neighbor_range: Annotated[
        list[str] | None,
        typer.Option(
            envvar=ENV + "NEIGHBOR_RANGES",
            metavar="CIDR[,as=N]",
            help="Neighbours that may connect without being named; repeatable. Keys as for "
            "--neighbor, as=any, and limit=N of them at a time.",
        ),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            envvar=ENV + "LISTEN",
            metavar="ADDRESS",
            help="Wait for neighbours on this address of ours only; repeatable.",
        ),
    ] = None,
    listen_port: Annotated[
        int | None,
        typer.Option(
            envvar=ENV + "LISTEN_PORT",
            metavar="PORT",
            help="TCP port for that, by default 179; 0 does not wait for anybody.",
        ),
    ] = None,
    import_: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            envvar=ENV + "IMPORT",
            metavar="'CIDR [ge N] [le N]'",
            help="Learn what such a rule lets in and nothing else; repeatable.",
        ),
    ] = None,
    maximum_paths: Annotated[
        int | None,
        typer.Option(
            envvar=ENV + "MAXIMUM_PATHS",
            metavar="N",
            help="Equal paths used at once (ECMP), by default 16; 1 is the best alone.",
        ),
    ] = None,
    restart_time: Annotated[
        int | None,
        typer.Option(
            envvar=ENV + "RESTART_TIME",
            metavar="SECONDS",
            help="How long neighbours keep our routes while we restart, by default 30.",
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            envvar=ENV + "MODE",
            metavar="MODE",
            help="ipvlan mode, by default l3, which is what this version makes.",
        ),
    ] = None,
    ipvlan_subnet: Annotated[
        list[str] | None,
        typer.Option(
            envvar=ENV + "IPVLAN_SUBNET",
            metavar="CIDR",
            help="Networks of this host must lie inside it, and with --ipam-driver bgp-ipvlan get "
            "their subnets from it; once for IPv4, once for IPv6.",
        ),
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option(
            envvar=ENV + "GATEWAY",
            metavar="ADDRESS",
            help="Gateway, and the host's own address, of a network that brings none.",
        ),
    ] = None,
    mtu: Annotated[
        int | None,
        typer.Option(
            envvar=ENV + "MTU",
            metavar="OCTETS",
            help="MTU of containers' links; by default the parent's.",
        ),
    ] = None,
    table: Annotated[
        int | None,
        typer.Option(
            envvar=ENV + "TABLE",
            metavar="NUMBER",
            help="The kernel's routing table for our routes, which `ip rule` has to lead to; by "
            "default main. A parent in a VRF has that VRF's.",
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            envvar=ENV + "ACCEPT",
            metavar="CIDR",
            help="Learn this prefix although it is the default route or a martian; repeatable.",
        ),
    ] = None,
    max_routes: Annotated[
        int | None,
        typer.Option(
            envvar=ENV + "MAX_ROUTES",
            metavar="N",
            help="Routes put into the kernel per family, by default 1000000; 0 is no limit.",
        ),
    ] = None,
    config_file: Annotated[
        pathlib.Path | None,
        typer.Option(
            envvar=ENV + "CONFIG_FILE",
            metavar="FILE",
            help="TOML, in the format of gobgpd, today's or that of 2015; by default "
            f"{config.CONFIG_FILE} if it exists. See check-config.",
        ),
    ] = None,
    socket: Annotated[
        pathlib.Path | None,
        typer.Option(
            envvar=ENV + "SOCKET", help=f"Plugin socket, by default {config.PLUGIN_SOCKET}."
        ),
    ] = None,
    control: options.Control = config.CONTROL_SOCKET,
    state_dir: options.StateDir = config.STATE_DIR,
    debug: Annotated[
        bool, typer.Option("--debug", "-d", envvar=ENV + "DEBUG", help="Log every step.")
    ] = False,
) -> None:
    """Run the daemon in the foreground.

    Every flag can be given as an environment variable too, for example
    BGP_IPVLAN_HOST_INTERFACE=eth1; several neighbours are separated by spaces. A flag goes
    before the variable, the variable before the file, the file before the default; neighbours of
    all three count.
    """
    from bgp_ipvlan import daemon

    flags = config.Flags(
        config_file=config_file,
        local_as=local_as,
        router_id=router_id,
        neighbors=tuple(neighbor or ()),
        ranges=tuple(neighbor_range or ()),
        listen_addresses=tuple(listen or ()),
        listen_port=listen_port,
        import_rules=tuple(import_ or ()),
        maximum_paths=maximum_paths,
        restart_time=restart_time,
        accept=tuple(accept or ()),
        host_interface=host_interface,
        mode=mode,
        ipvlan_subnets=tuple(ipvlan_subnet or ()),
        gateway=gateway,
        mtu=mtu,
        table=table,
        max_routes=max_routes,
        plugin_socket=socket,
        control_socket=control,
        state_dir=state_dir,
        debug=debug,
        engine=engine,
        gobgp_api=gobgp_api,
        gobgp_spawn=gobgp_spawn,
        gobgp_command=gobgp_command,
    )
    daemon.become(flags)


def stop(
    withdraw: Annotated[
        bool,
        typer.Option(
            "--withdraw",
            help="Take our routes back from the neighbours first. Without it they keep them for "
            "the restart time, so that a restart or upgrade loses no packet.",
        ),
    ] = False,
    message: options.Message = "",
    control: options.Control = config.CONTROL_SOCKET,
) -> None:
    """Stop the daemon; running containers keep their links, routes stay."""
    if message and not withdraw:
        raise errors.ConfigError(
            "bad-value", "--message goes out with --withdraw only: without it nobody is told"
        )
    from bgp_ipvlan import control as control_

    options.wait_for(control_.stop(control, withdraw=withdraw, message=message))
    print("stopped" + (", announcements withdrawn" if withdraw else ""))
