"""Options that several commands share, and how a command talks to the daemon."""

from __future__ import annotations

import asyncio
import json
import pathlib
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

ENV = "BGP_IPVLAN_"

Control = Annotated[
    pathlib.Path,
    typer.Option("--control", envvar=ENV + "CONTROL", help="Control socket of the daemon."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
StateDir = Annotated[
    pathlib.Path,
    typer.Option("--state-dir", envvar=ENV + "STATE_DIR", help="Where the state file lives."),
]
PluginSocket = Annotated[
    pathlib.Path,
    typer.Option("--socket", envvar=ENV + "SOCKET", help="Plugin socket that dockerd finds."),
]
Message = Annotated[
    str,
    typer.Option(
        "--message", help="Text for the neighbours' operators, at most 255 octets (RFC 9003)."
    ),
]


def ask(control: pathlib.Path, method: str, resource: str, **values: Any) -> dict[str, Any]:
    """One call of the daemon."""
    from bgp_ipvlan import control as control_

    answer: dict[str, Any] = wait_for(control_.call(control, method, resource, **values))
    return answer


def show(answer: dict[str, Any], view: str, *, as_json: bool) -> None:
    """Print an answer: as JSON, or as `tables` shows it to a person."""
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    from bgp_ipvlan import tables

    tables.show(view, answer)


def wait_for(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it to its end."""
    return asyncio.run(coroutine)
