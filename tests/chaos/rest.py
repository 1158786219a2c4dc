"""What must be true when nothing happens any more: the kernel, the twin, and what is told."""

from __future__ import annotations

import ipaddress
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

from lab import namespace
from tests.chaos import oracle, witness
from tests.chaos.world import BIRD, OWN, PATIENCE, World


class Restless(namespace.LabError):
    """It does not come to rest; the message is what differs."""


def settle(world: World) -> None:
    """Wait until everything is as it must be.

    Raises:
        Restless: it does not become so.
    """
    for one in world.senders:
        if world.feasible(str(one.address)) and not one.away:
            world.barrier(one)
    world.wait_bird()
    deadline = time.monotonic() + PATIENCE
    while wrong := list(differences(world)):
        if time.monotonic() > deadline:
            raise Restless("\n".join(wrong))
        time.sleep(0.05)
    world.moving.clear()


def differences(world: World) -> Iterator[str]:
    """What is not as it must be."""
    yield from _sessions(world)
    kernel = witness.look(world.us, OWN)
    wanted = oracle.expected(paths(world), kernel.around)
    yield from kernel.odd
    yield from _compare(kernel.routes, wanted.routes, "route")
    yield from foreign(world)
    yield from _told(world, kernel, wanted)


def paths(world: World) -> dict[oracle.Prefix, list[oracle.Path]]:
    """All that the daemon must have from its neighbours."""
    found: dict[oracle.Prefix, list[oracle.Path]] = defaultdict(list)
    for one in (*world.senders, world.bird):
        for prefix, path in one.paths():
            found[prefix].append(path)
    return found


def foreign(world: World) -> Iterator[str]:
    """Others' routes that are not as on the twin."""
    ours, twins = witness.foreign(world.us), witness.foreign(world.twin)
    yield from (f"foreign route too many: {line}" for line in ours if line not in twins)
    yield from (f"foreign route lost: {line}" for line in twins if line not in ours)


def still_learned(world: World) -> Iterator[str]:
    """Learned routes that are there."""
    yield from (f"{p} is there" for p, hops in witness.look(world.us).routes.items() if hops)


def left_behind(world: World) -> Iterator[str]:
    """What is still there of ours after a cleanup."""
    kernel = witness.look(world.us)
    yield from (f"route left: {prefix}" for prefix in kernel.routes)
    used = {
        int(id_) for line in witness.foreign(world.us) for id_ in re.findall(r"nhid (\d+)", line)
    }
    used |= {m["id"] for id_ in used for m in kernel.nexthops.get(id_, {}).get("group", [])}
    for id_, one in kernel.nexthops.items():
        ours = id_ in witness.IDS and one.get("protocol") == witness.PROTOCOL
        if ours and id_ not in used:
            yield f"nexthop object left: {one}"
    yield from foreign(world)


def _sessions(world: World) -> Iterator[str]:
    for one in world.senders:
        address = str(one.address)
        if (one.away or not world.feasible(address)) and world.established(address):
            yield f"still established: {address}"
    if not world.feasible(BIRD) and world.established(BIRD):
        yield f"still established: {BIRD}"


def _compare(
    found: Mapping[oracle.Prefix, oracle.Route],
    wanted: Mapping[oracle.Prefix, oracle.Route],
    what: str,
) -> Iterator[str]:
    for prefix in found.keys() | wanted.keys():
        if found.get(prefix) != wanted.get(prefix):
            yield f"{what} {prefix} is {_text(found, prefix)}, must be {_text(wanted, prefix)}"


def _text(routes: Mapping[oracle.Prefix, oracle.Route], prefix: oracle.Prefix) -> str:
    hops = routes.get(prefix)
    if hops is None:
        return "missing"
    return ", ".join(" dev ".join(hop) for hop in sorted(hops)) or "blackhole"


def _told(world: World, kernel: witness.Kernel, wanted: oracle.Expected) -> Iterator[str]:
    """What the daemon says of itself, where that is not so."""
    said = world.daemon.ask("routes")
    shown: dict[oracle.Prefix, oracle.Route] = {}
    for one in said["routes"]:
        prefix = ipaddress.ip_network(one["prefix"])
        if one["pending"]:
            yield from (f"told: pending: {one}" for _ in range(prefix in wanted.routes))
            continue
        hops = [(hop["gateway"], hop["interface"]) for hop in one.get("next_hops", ())]
        shown[prefix] = frozenset(hops)
    yield from _compare(shown, kernel.routes, "told: route")
    reasons = defaultdict(set)
    for one in said["refused"]:
        reasons[ipaddress.ip_network(one["prefix"])].add(one["reason"])
    for prefix in reasons.keys() | wanted.refused.keys():
        # A path with our own address is refused for itself, and another may be in use.
        possible = wanted.refused.get(prefix, {"nexthop-own"})
        if not reasons[prefix] or not reasons[prefix] <= possible | {"nexthop-own"}:
            yield f"told: {prefix} refused for {reasons[prefix]}, must be of {possible}"
    counters = world.counters()
    for name, before in world.moving.items():
        if counters[name] <= before:
            yield f"told: counter {name} is still {before}"
