"""How the answers of the control socket look to a person. No logic."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import rich.console
import rich.progress
import rich.table
import rich.text

from bgp_ipvlan import model

Json = dict[str, Any]


def show(view: str, answer: Json) -> None:
    """Print one answer.

    Args:
        view: how, such as `status`.
        answer: the decoded JSON.
    """
    # Cut at a terminal's width only for a terminal: a pipe gets whole lines.
    console = rich.console.Console(highlight=False)
    if not console.is_terminal:
        console = rich.console.Console(highlight=False, width=200)
    _VIEWS[view](console, answer)


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[Json], None]]:
    """A bar for a drain that goes on: the function is to be told how far it is."""
    columns = (
        rich.progress.TextColumn("draining"),
        rich.progress.BarColumn(),
        rich.progress.TextColumn("{task.fields[left]:.0f} s left"),
    )
    console = rich.console.Console(stderr=True)
    with rich.progress.Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as bar:
        task: list[rich.progress.TaskID] = []

        def step(drain: Json) -> None:
            left = drain["remaining_seconds"]
            if not task:
                task.append(bar.add_task("", total=left, left=left))
            total = bar.tasks[0].total or 0.0
            bar.update(task[0], completed=total - left, left=left)

        yield step


def _table(*columns: str) -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _status(console: rich.console.Console, answer: Json) -> None:
    neighbors, routes = answer["neighbors"], answer["routes"]
    rows = {
        "version": answer["version"],
        "up": _duration(answer["uptime_seconds"]),
        "local AS": str(answer["local_as"] or "-"),
        "router id": answer["router_id"] or "-",
        "engine": _engine(answer),
        "neighbors": f"{neighbors['established']} of {neighbors['configured']} established",
        "in sync": "yes" if answer["synced"] else "no, waiting for the neighbours' routes",
        "networks": f"{answer['networks']} with {answer['endpoints']} endpoints",
        "routes": _counts(routes),
        "repairs": str(answer["counters"]["repaired"]),
        "configuration": answer["configuration_file"] or "flags and environment",
    }
    if "announced_table" in answer:
        del rows["neighbors"]  # never any
    if unclaimed := answer["pools"]["unclaimed"]:
        rows["pools"] = f"without a network: {', '.join(unclaimed)}"
    _rows(console, rows)
    _warn(console, answer["warnings"])


def _engine(answer: Json) -> str:
    """Who speaks BGP."""
    name: str = answer["engine"]
    if number := answer.get("announced_table"):
        table = "main" if number == model.MAIN else number
        return f"{name}: the routing daemon of this host has the sessions; announced: table {table}"
    if gobgp := answer.get("gobgp"):
        which = "a gobgpd of ours" if gobgp["spawned"] else f"the gobgpd at {gobgp['api']}"
        return f"{name}: {which}" + ("" if gobgp["reached"] else ", not connected")
    return name


def _counts(routes: Json) -> str:
    pending = f", {routes['pending']} pending" if routes["pending"] else ""
    there = routes["wanted"] - routes["pending"]
    return f"{there} in the kernel{pending}, {routes['refused']} refused"


def _networks(console: rich.console.Console, answer: Json) -> None:
    columns = ("NETWORK", "PARENT", "MODE", "SUBNET", "GATEWAY", "ANNOUNCED", "ENDPOINTS", "POOL")
    table = _table(*columns)
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
                _pool(subnet["ipam"]),
            )
    console.print(table)


def _pool(ipam: Json | None) -> str:
    """How much of a subnet that our IPAM driver gave is in use."""
    return f"{ipam['percent']} % in use" if ipam else "-"


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
            _kept(route),
        )
    for route in answer["refused"]:
        table.add_row(
            route["prefix"],
            "refused",
            " ".join(route["next_hops"]) or "-",
            "-",
            route["neighbor"] or "-",
            _refused(route),
        )
    console.print(table)
    for kind, total in (("routes", answer["total"]), ("refused", answer["total_refused"])):
        more = total - len(answer[kind])
        if more > 0:
            console.print(f"{more} more {kind}: --limit {total}, or --json")


def _kept(route: Json) -> str:
    """What is worth a word of a route that we keep."""
    elsewhere = "" if route["table"] == model.MAIN else f"table {route['table']}"
    return " ".join(filter(None, (elsewhere, "pending" if route["pending"] else "")))


def _refused(route: Json) -> str:
    reason: str = route["reason"]
    hint = route["originator_id"] if reason == "nexthop-offlink" else None
    return f"{reason}, originated by {hint}" if hint else reason


def _neighbors(console: rich.console.Console, answer: Json) -> None:
    if "announced_table" in answer:
        _rows(console, {"engine": _engine(answer)})
        return
    table = _table("NEIGHBOR", "AS", "STATE", "FOR", "RECEIVED", "REFUSED", "SENT", "NOTE")
    for one in answer["neighbors"]:
        notes = [one["description"], one["dynamic"] and "from a range", one["idle_reason"]]
        if one["stale"]:
            notes.append(f"{one['stale']} stale")
        notes.append(one["last_error"] and f"last error: {one['last_error']}")
        table.add_row(
            one["address"],
            str(one["remote_as"]),
            one["state"],
            _duration(time.time() - one["since"]),
            str(one["received"]),
            str(one["refused"]),
            str(one["sent"]),
            "; ".join(filter(None, notes)),
        )
    console.print(table)


def _neighbor(console: rich.console.Console, answer: Json) -> None:
    (one,) = answer["neighbors"]
    asked = one["configured"] or {}
    hops = asked.get("multihop", 1)
    security = "GTSM" if asked.get("ttl_security") else ""
    restart = "both sides can" if one["graceful_restart"] else "no"
    rows = {
        "neighbor": " ".join(filter(None, (one["address"], one["description"]))),
        "state": f"{one['state']} for {_duration(time.time() - one['since'])}",
        "left alone": one["idle_reason"],
        "last error": one["last_error"],
        "AS": f"{one['remote_as']}, ours {one['local_as']}",
        "router id": one["router_id"],
        "our address": one["local_address"] or asked.get("local_address"),
        "bound to": asked.get("bind_interface"),
        "families": " ".join(one["families"]) or " ".join(asked.get("families", ())),
        "capabilities": ", ".join(one["capabilities"]),
        "hold time": _hold(one, asked),
        "protection": " ".join(filter(None, ("password" * one["password"], security))),
        "hops": str(hops) if hops > 1 else "",
        "next hops": "recursive: by others' routes as well" if asked.get("recursive") else "",
        "graceful restart": restart if one["router_id"] else "",
        "received": _received(one, asked),
        "import": "all" if asked.get("import") is None else ", ".join(asked["import"]) or "nothing",
        "sent": str(one["sent"]),
        "from a range": "yes" if one["dynamic"] else "",
    }
    if not asked:
        del rows["import"]
    _rows(console, {name: value for name, value in rows.items() if value})


def _hold(one: Json, asked: Json) -> str:
    parts = [f"{one['hold_time']} s agreed"] if one["hold_time"] else []
    if asked:
        parts.append(f"{asked['hold_time']} s configured, keepalive {asked['keepalive']} s")
    return ", ".join(parts)


def _received(one: Json, asked: Json) -> str:
    limit = f" of at most {asked['max_prefixes']} per family" if asked.get("max_prefixes") else ""
    complete = "" if one["end_of_rib"] or not one["router_id"] else ", not complete yet"
    return f"{one['received']}{limit}, {one['refused']} refused, {one['stale']} stale{complete}"


def _reload(console: rich.console.Console, answer: Json) -> None:
    source = answer["file"] or "flags and environment"
    counts = ", ".join(f"{len(answer[word])} {word}" for word in ("added", "changed", "removed"))
    console.print(f"reloaded {source}: neighbours and ranges {counts}")
    for word in ("added", "changed", "removed"):
        for name in answer[word]:
            console.print(f"  {word} {name}")
    for text in answer["needs_restart"]:
        console.print(rich.text.Text(f"needs a restart: {text}", style="yellow"))
    _warn(console, answer["warnings"])


def _drain(console: rich.console.Console, answer: Json) -> None:
    if answer["drain"] is None:
        console.print("takes part in the routing again")
    else:
        console.print("drained: `bgp-ipvlan undrain` ends it")


def _done(console: rich.console.Console, answer: Json) -> None:
    console.print(f"neighbor {answer['neighbor']} {answer['done']}")


def _rows(console: rich.console.Console, rows: Mapping[str, str]) -> None:
    table = rich.table.Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, rich.text.Text(value))
    console.print(table)


def _warn(console: rich.console.Console, warnings: list[str]) -> None:
    for warning in warnings:
        console.print(rich.text.Text(f"warning: {warning}", style="yellow"))


def _duration(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02}h"
    return f"{hour}:{minute:02}:{second:02}"


_VIEWS: dict[str, Callable[[rich.console.Console, Json], None]] = {
    "status": _status,
    "networks": _networks,
    "routes": _routes,
    "neighbors": _neighbors,
    "neighbor": _neighbor,
    "reload": _reload,
    "drain": _drain,
    "done": _done,
}
