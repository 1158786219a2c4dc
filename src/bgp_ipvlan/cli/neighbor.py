"""Neighbours while the daemon runs."""

from __future__ import annotations

from typing import Annotated

import typer

from bgp_ipvlan import config
from bgp_ipvlan.cli import options

app = typer.Typer(
    name="neighbor",
    help="Add, change, remove and reset neighbours while the daemon runs. A change lives until "
    "the daemon ends or the next reload: what is to stay goes into the flags or the file.",
    no_args_is_help=True,
)

Said = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS[,KEY=VALUE…]",
        help="As for `bgp-ipvlan run --neighbor`.",
        show_default=False,
    ),
]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", show_default=False)]


@app.command()
def add(
    neighbor: Said,
    control: options.Control = config.CONTROL_SOCKET,
    as_json: options.AsJson = False,
) -> None:
    """Add a neighbour, until the daemon ends or the next reload."""
    _change("add", neighbor, control, as_json)


@app.command("set")
def set_(
    neighbor: Said,
    control: options.Control = config.CONTROL_SOCKET,
    as_json: options.AsJson = False,
) -> None:
    """Change what is named of a neighbour, until the daemon ends or the next reload.

    The session goes on where it can: new limits, a name, import rules; otherwise it is made anew.
    """
    _change("set", neighbor, control, as_json)


def _change(verb: str, neighbor: str, control: options.Control, as_json: bool) -> None:
    answer = options.ask(control, "POST", f"/neighbors/{verb}", neighbor=neighbor)
    options.show({"neighbors": [answer]}, "neighbor", as_json=as_json)


@app.command()
def remove(
    address: Address,
    control: options.Control = config.CONTROL_SOCKET,
    as_json: options.AsJson = False,
) -> None:
    """Remove a neighbour, until the daemon ends or the next reload."""
    answer = options.ask(control, "POST", "/neighbors/remove", neighbor=address)
    options.show(answer | {"done": "removed"}, "done", as_json=as_json)


@app.command()
def reset(
    address: Address,
    soft: Annotated[
        bool, typer.Option("--soft", help="Keep the session, ask for its routes again (RFC 2918).")
    ] = False,
    message: options.Message = "",
    control: options.Control = config.CONTROL_SOCKET,
    as_json: options.AsJson = False,
) -> None:
    """End a neighbour's session, which comes again at once; also wakes one that is left alone."""
    answer = options.ask(
        control, "POST", "/neighbors/reset", neighbor=address, soft=soft, message=message
    )
    done = "asked for its routes again" if soft else "reset"
    options.show(answer | {"done": done}, "done", as_json=as_json)
