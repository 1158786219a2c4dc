"""What is going on: commands that ask and change nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from bgp_ipvlan import config
from bgp_ipvlan.cli import options

_SHOWN = 1000
"""Rows of a table, unless more are asked for."""


def status(
    control: options.Control = config.CONTROL_SOCKET, as_json: options.AsJson = False
) -> None:
    """Show the whole at a glance, with what needs attention."""
    options.show(options.ask(control, "GET", "/status"), "status", as_json=as_json)


def networks(
    control: options.Control = config.CONTROL_SOCKET, as_json: options.AsJson = False
) -> None:
    """List networks, their endpoints and what is announced for them."""
    options.show(options.ask(control, "GET", "/networks"), "networks", as_json=as_json)


def routes(
    control: options.Control = config.CONTROL_SOCKET,
    as_json: options.AsJson = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0, help="At most so many of each kind; by default 1000 in a table, all as JSON."
        ),
    ] = None,
) -> None:
    """List the routes we keep in the kernel, and what was learned and refused, with the reason."""
    limit = limit if limit is not None or as_json else _SHOWN
    query = {} if limit is None else {"limit": str(limit)}
    options.show(options.ask(control, "GET", "/routes", **query), "routes", as_json=as_json)


def neighbors(
    address: Annotated[
        str, typer.Argument(metavar="[ADDRESS]", help="All there is to know of this one.")
    ] = "",
    control: options.Control = config.CONTROL_SOCKET,
    as_json: options.AsJson = False,
) -> None:
    """List the BGP neighbours and their sessions, or show one of them."""
    answer = options.ask(control, "GET", "/neighbors", address=address)
    options.show(answer, "neighbor" if address else "neighbors", as_json=as_json)
