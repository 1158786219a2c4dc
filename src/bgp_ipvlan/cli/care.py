"""Taking care of a host: its configuration, its place in the routing, what is left of it."""

from __future__ import annotations

from typing import Annotated

import typer

from bgp_ipvlan import config
from bgp_ipvlan import drain as drain_
from bgp_ipvlan.cli import options


def reload(
    control: options.Control = config.CONTROL_SOCKET, as_json: options.AsJson = False
) -> None:
    """Read the configuration file again (SIGHUP does the same, and tells the log only).

    Neighbours, ranges and import rules are changed while the others go on; what needs a restart
    is named. With an error in the file nothing changes, and the exit status is 1.
    """
    options.show(options.ask(control, "POST", "/reload"), "reload", as_json=as_json)


def drain(
    wait: Annotated[
        float,
        typer.Option(min=0, max=drain_.LONGEST, help="Seconds for the others to find another way."),
    ] = drain_.WAIT,
    message: options.Message = "",
    control: options.Control = config.CONTROL_SOCKET,
    as_json: options.AsJson = False,
) -> None:
    """Take this host out of the routing: mark its routes, wait, withdraw them, end the sessions.

    The mark is the community GRACEFUL_SHUTDOWN (RFC 8326). A drained host stays so, also over a
    restart, until `bgp-ipvlan undrain`. Interrupting this command does not interrupt the drain.
    """
    from bgp_ipvlan import control as control_
    from bgp_ipvlan import tables

    with tables.progress(quiet=as_json) as step:
        answer = options.wait_for(control_.drain(control, wait=wait, message=message, show=step))
    options.show(answer, "drain", as_json=as_json)


def undrain(
    control: options.Control = config.CONTROL_SOCKET, as_json: options.AsJson = False
) -> None:
    """Take part in the routing again."""
    options.show(options.ask(control, "POST", "/undrain"), "drain", as_json=as_json)


def forget(
    network: Annotated[str, typer.Argument(help="Network id, or the beginning of it.")],
    control: options.Control = config.CONTROL_SOCKET,
) -> None:
    """Drop a network that Docker no longer knows (after a crash of dockerd)."""
    answer = options.ask(control, "POST", "/forget", network=network)
    print(f"forgot network {answer['network']}")


def cleanup(
    state_dir: options.StateDir = config.STATE_DIR,
    control: options.Control = config.CONTROL_SOCKET,
    socket: options.PluginSocket = config.PLUGIN_SOCKET,
    force: Annotated[
        bool, typer.Option("--force", help="Even while containers are still attached.")
    ] = False,
) -> None:
    """Remove every route, link and file of ours from this host. The daemon must be stopped."""
    from bgp_ipvlan import cleanup as cleanup_

    for line in options.wait_for(cleanup_.cleanup(state_dir, (control, socket), force=force)):
        print(line)
