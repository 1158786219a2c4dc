"""How the answers of the control socket look to a person. No logic."""

from __future__ import annotations

import time
from typing import Any

import rich.console
import rich.table
import rich.text

Json = dict[str, Any]


def show(resource: str, answer: Json) -> None:
    """Print one answer.

    Args:
        resource: what was asked for, such as `/status`.
        answer: the decoded JSON.
    """
    # Cut at a terminal's width only for a terminal: a pipe gets whole lines.
    console = rich.console.Console(highlight=False)
    if not console.is_terminal:
        console = rich.console.Console(highlight=False, width=200)
    _VIEWS[resource](console, answer)


def _table(*columns: str) -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _status(console: rich.console.Console, answer: Json) -> None:
    neighbors, routes = answer["neighbors"], answer["routes"]
    table = rich.table.Table(box=None, show_header=False, pad_edge=False)
    rows = {
        "version": answer["version"],
        "up": _duration(answer["uptime_seconds"]),
        "local AS": str(answer["local_as"] or "-"),
        "router id": answer["router_id"] or "-",
        "neighbors": f"{neighbors['established']} of {neighbors['configured']} established",
        "in sync": "yes" if answer["synced"] else "no, waiting for the neighbours' routes",
        "networks": f"{answer['networks']} with {answer['endpoints']} endpoints",
        "routes": f"{routes['wanted']} in the kernel, {routes['refused']} refused",
        "repairs": str(answer["counters"]["repaired"]),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    for warning in answer["warnings"]:
        console.print(rich.text.Text(f"warning: {warning}", style="yellow"))


def _networks(console: rich.console.Console, answer: Json) -> None:
    table = _table("NETWORK", "PARENT", "MODE", "SUBNET", "GATEWAY", "ANNOUNCED", "ENDPOINTS")
    for network in answer["networks"]:
        for subnet in network["subnets"]:
            announced = f"via {subnet['next_hop']}" if subnet["announced"] else subnet["reason"]
            table.add_row(
                network["id"][:12],
                network["parent"],
                network["mode"],
                subnet["prefix"],
                subnet["gateway"] or "-",
                announced or "-",
                str(len(network["endpoints"])),
            )
    console.print(table)


def _routes(console: rich.console.Console, answer: Json) -> None:
    table = _table("PREFIX", "TYPE", "VIA", "INTERFACE", "NEIGHBOR", "NOTE")
    for route in answer["routes"]:
        hops = route.get("next_hops", ())
        table.add_row(
            route["prefix"],
            route["type"],
            " ".join(hop["gateway"] for hop in hops) or "-",
            " ".join(hop["interface"] for hop in hops) or route.get("interface") or "-",
            route.get("neighbor") or "-",
            "pending" if route["pending"] else "",
        )
    for route in answer["refused"]:
        table.add_row(
            route["prefix"],
            "refused",
            " ".join(route["next_hops"]) or "-",
            "-",
            route["neighbor"] or "-",
            route["reason"],
        )
    console.print(table)
    shown = len(answer["routes"])
    if answer["total"] > shown:
        console.print(f"{answer['total'] - shown} more: --limit {answer['total']}, or --json")


def _neighbors(console: rich.console.Console, answer: Json) -> None:
    table = _table("NEIGHBOR", "AS", "STATE", "FOR", "RECEIVED", "SENT", "NOTE")
    for one in answer["neighbors"]:
        notes = [one["description"], one["last_error"] and f"last error: {one['last_error']}"]
        if one["stale"]:
            notes.append(f"{one['stale']} stale")
        table.add_row(
            one["address"],
            str(one["remote_as"]),
            one["state"],
            _duration(time.time() - one["since"]),
            str(one["received"]),
            str(one["sent"]),
            "; ".join(filter(None, notes)),
        )
    console.print(table)


def _duration(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02}h"
    return f"{hour}:{minute:02}:{second:02}"


_VIEWS = {
    "/status": _status,
    "/networks": _networks,
    "/routes": _routes,
    "/neighbors": _neighbors,
}
