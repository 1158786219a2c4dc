"""The command line. No logic: flags in, a call, its answer shown."""

from __future__ import annotations

import asyncio
import json
import pathlib
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn

import typer

import bgp_ipvlan
from bgp_ipvlan import config, errors

app = typer.Typer(
    name="bgp-ipvlan",
    help="Routable addresses for Docker containers: ipvlan links, told to the network by BGP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_ENV = "BGP_IPVLAN_"

Control = Annotated[
    pathlib.Path,
    typer.Option("--control", envvar=_ENV + "CONTROL", help="Control socket of the daemon."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
StateDir = Annotated[
    pathlib.Path,
    typer.Option("--state-dir", envvar=_ENV + "STATE_DIR", help="Where the state file lives."),
]
PluginSocket = Annotated[
    pathlib.Path,
    typer.Option("--socket", envvar=_ENV + "SOCKET", help="Plugin socket that dockerd finds."),
]


def main() -> NoReturn:
    """Entry point of the `bgp-ipvlan` command."""
    try:
        app(standalone_mode=True)
    except errors.Error as error:
        print(f"bgp-ipvlan: {error} [{error.reason}]", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        print(f"bgp-ipvlan {bgp_ipvlan.__version__}")
        raise typer.Exit


@app.command()
def run(
    host_interface: Annotated[
        str | None,
        typer.Option(
            envvar=_ENV + "HOST_INTERFACE",
            metavar="NAME",
            help="Parent of networks created without -o parent=NAME.",
        ),
    ] = None,
    local_as: Annotated[
        int | None,
        typer.Option("--as", envvar=_ENV + "AS", metavar="NUMBER", help="AS number of this host."),
    ] = None,
    router_id: Annotated[
        str | None,
        typer.Option(
            envvar=_ENV + "ROUTER_ID",
            metavar="ADDRESS",
            help="BGP identifier; by default the first IPv4 address of the host interface.",
        ),
    ] = None,
    neighbor: Annotated[
        list[str] | None,
        typer.Option(
            envvar=_ENV + "NEIGHBORS",
            metavar="ADDRESS[,as=N]",
            help="BGP neighbour; repeatable. Without as=N it is in our own AS. "
            "More keys: port=N, hold=SECONDS, local=ADDRESS, name=TEXT, passive.",
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(envvar=_ENV + "MODE", help="ipvlan mode; this version makes l3."),
    ] = "l3",
    ipvlan_subnet: Annotated[
        str | None,
        typer.Option(
            envvar=_ENV + "IPVLAN_SUBNET",
            metavar="CIDR",
            help="Networks of this host must lie inside it.",
        ),
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option(
            envvar=_ENV + "GATEWAY",
            metavar="ADDRESS",
            help="Gateway, and the host's own address, of a network that brings none.",
        ),
    ] = None,
    mtu: Annotated[
        int | None,
        typer.Option(
            envvar=_ENV + "MTU",
            metavar="OCTETS",
            help="MTU of containers' links; by default the parent's.",
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            envvar=_ENV + "ACCEPT",
            metavar="CIDR",
            help="Learn this prefix although it is the default route or a martian; repeatable.",
        ),
    ] = None,
    socket: PluginSocket = config.PLUGIN_SOCKET,
    control: Control = config.CONTROL_SOCKET,
    state_dir: StateDir = config.STATE_DIR,
    debug: Annotated[
        bool, typer.Option("--debug", "-d", envvar=_ENV + "DEBUG", help="Log every step.")
    ] = False,
) -> None:
    """Run the daemon in the foreground.

    Every flag can be given as an environment variable too, for example
    BGP_IPVLAN_HOST_INTERFACE=eth1; several neighbours are separated by spaces.
    """
    settings = config.load(
        config.Flags(
            local_as=local_as,
            router_id=router_id,
            neighbors=tuple(neighbor or ()),
            mode=mode,
            ipvlan_subnet=ipvlan_subnet,
            gateway=gateway,
            mtu=mtu,
            accept=tuple(accept or ()),
            host_interface=host_interface,
            plugin_socket=socket,
            control_socket=control,
            state_dir=state_dir,
            debug=debug,
        )
    )
    from bgp_ipvlan import app as daemon

    _await(daemon.run(settings))


@app.command()
def stop(
    withdraw: Annotated[
        bool,
        typer.Option(
            "--withdraw",
            help="Take our routes back from the neighbours first. Without it they keep them for "
            "the restart time, so that a restart or upgrade loses no packet.",
        ),
    ] = False,
    control: Control = config.CONTROL_SOCKET,
) -> None:
    """Stop the daemon; running containers keep their links, routes stay."""
    from bgp_ipvlan import control as control_

    _await(control_.stop(control, withdraw=withdraw))
    print("stopped" + (", announcements withdrawn" if withdraw else ""))


@app.command()
def status(control: Control = config.CONTROL_SOCKET, as_json: AsJson = False) -> None:
    """Show the whole at a glance, with what needs attention."""
    _show("/status", control, as_json)


@app.command()
def networks(control: Control = config.CONTROL_SOCKET, as_json: AsJson = False) -> None:
    """List networks, their endpoints and what is announced for them."""
    _show("/networks", control, as_json)


@app.command()
def routes(
    control: Control = config.CONTROL_SOCKET,
    as_json: AsJson = False,
    limit: Annotated[
        int | None, typer.Option(help="At most so many; by default 1000 in a table, all as JSON.")
    ] = None,
) -> None:
    """List the routes we keep in the kernel, and the learned ones refused, with the reason."""
    limit = limit if limit is not None or as_json else 1000
    query = {} if limit is None else {"limit": str(limit)}
    _show("/routes", control, as_json, **query)


@app.command()
def neighbors(control: Control = config.CONTROL_SOCKET, as_json: AsJson = False) -> None:
    """List the BGP neighbours and their sessions."""
    _show("/neighbors", control, as_json)


@app.command()
def forget(
    network: Annotated[str, typer.Argument(help="Network id, or the beginning of it.")],
    control: Control = config.CONTROL_SOCKET,
) -> None:
    """Drop a network that Docker no longer knows (after a crash of dockerd)."""
    from bgp_ipvlan import control as control_

    answer = _await(control_.call(control, "POST", "/forget", network=network))
    print(f"forgot network {answer['network']}")


@app.command()
def cleanup(
    state_dir: StateDir = config.STATE_DIR,
    control: Control = config.CONTROL_SOCKET,
    socket: PluginSocket = config.PLUGIN_SOCKET,
    force: Annotated[
        bool, typer.Option("--force", help="Even while containers are still attached.")
    ] = False,
) -> None:
    """Remove every route, link and file of ours from this host. The daemon must be stopped."""
    from bgp_ipvlan import cleanup as cleanup_

    for line in _await(cleanup_.cleanup(state_dir, (control, socket), force=force)):
        print(line)


def _show(resource: str, control: pathlib.Path, as_json: bool, **query: str) -> None:
    from bgp_ipvlan import control as control_

    answer = _await(control_.call(control, "GET", resource, **query))
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    from bgp_ipvlan import tables

    tables.show(resource, answer)


def _await(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


if __name__ == "__main__":
    main()
