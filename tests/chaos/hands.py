"""What other people do to routes: to their own, and to ours."""

from __future__ import annotations

import ipaddress
import random
import re

from tests.chaos import oracle, rest, witness
from tests.chaos.world import OWN, World, ip

_OURS = f"proto {witness.PROTOCOL} metric {witness.METRIC}"
_KINDS = {
    4: (
        "{via} proto static",
        "{via} proto dhcp metric 100",
        "{via} proto bgp metric 20",
        "{via} proto 179 metric 5",
        f"{{via}} proto static metric {witness.METRIC}",
        "{via} proto static table 100",
        "blackhole proto static",
        "unreachable proto boot metric 4000",
    ),
    6: (
        "{via} proto static",
        "{via} proto ra metric 1024",
        "{via} proto 179 metric 5",
        f"{{via}} proto static metric {witness.METRIC}",
        "{via} proto static table 100",
        "blackhole proto static metric 30",
    ),
}
_VIA = {
    4: ("via 192.0.2.99 dev eth1", "via 198.51.100.99 dev eth2", "dev eth1"),
    6: ("via 2001:db8:1::99 dev eth1", "via fe80::99 dev eth2", "dev eth2"),
}


def _prefixes(world: World) -> list[oracle.Prefix]:
    """Those that neighbours announce and those that are ours, in some fixed order."""
    found = {prefix for prefix in rest.paths(world) if prefix.prefixlen and not _bulky(prefix)}
    return sorted({*found, *OWN, ipaddress.ip_network("10.1.2.0/24")}, key=str)


def _bulky(prefix: oracle.Prefix) -> bool:
    return str(prefix).startswith(("10.64.", "10.65.", "2001:db8:64:", "192.88.99."))


def append(world: World, rng: random.Random) -> str:
    """Somebody has two routes for one prefix with one metric."""
    prefix = rng.choice(_prefixes(world))
    one, other = (f"{prefix} {via} proto static" for via in _VIA[prefix.version][:2])
    if prefix.version == 4 and rng.random() < 0.5:
        other = f"{one} tos 0x10"
    specs = [one, other]
    world.both(*(f"route append {spec}" for spec in specs))
    world.theirs += specs
    return f"route append {'; '.join(specs)}"


def add(world: World, rng: random.Random) -> str:
    """Somebody makes a route for a prefix that is announced, or changes one of theirs."""
    prefix = rng.choice(OWN if rng.random() < 0.1 else _prefixes(world))
    kind = rng.choice(_KINDS[prefix.version])
    spec = kind.format(via=rng.choice(_VIA[prefix.version]))
    word, _, rest_ = spec.partition(" ")
    if word in {"blackhole", "unreachable"}:
        spec = f"{word} {prefix} {rest_}"
    else:
        spec = f"{prefix} {spec}"
    # `add` fails where `replace` takes what is ours with it; both leave the same behind.
    world.both(f"route replace {spec}")
    world.theirs.append(spec)
    return f"route replace {spec}"


def remove(world: World, rng: random.Random) -> str:
    """They delete one or some of theirs."""
    count = min(len(world.theirs), rng.randrange(1, 4))
    specs = [world.theirs.pop(int(rng.random() * len(world.theirs))) for _ in range(count)]
    world.both(*(f"route del {spec}" for spec in specs))
    return f"route del {'; '.join(specs)}"


def on_ours(world: World, rng: random.Random) -> str:
    """Hands on routes and nexthop objects of ours."""
    kernel = witness.look(world.us)
    commands = _against(kernel, rng, _objects(world, kernel))
    world.by_hand(*commands)
    return f"by hand: {'; '.join(commands) or 'nothing'}"


def repaired(world: World, rng: random.Random) -> str:
    """The same at rest: it is repaired, and counted."""
    rest.settle(world)
    kernel = witness.look(world.us)
    learned = sorted((p for p, hops in kernel.routes.items() if hops), key=str)
    if not learned:
        return "nothing to repair"
    prefix = rng.choice(learned)
    world.moving.setdefault("repaired", world.counters()["repaired"])
    world.by_hand(f"route del {prefix} {_OURS}")
    return f"by hand, counted: route del {prefix}"


def _against(kernel: witness.Kernel, rng: random.Random, objects: list[int]) -> list[str]:
    """What somebody could do."""
    prefixes = sorted(kernel.routes, key=str)
    one = objects[int(rng.random() * len(objects))] if objects else 0
    some = rng.sample(prefixes, min(len(prefixes), 5))
    match rng.randrange(6):
        case 0:
            return [f"route del {prefix} {_OURS}" for prefix in some]
        case 1:
            return [f"route replace {p} {_VIA[p.version][0]} {_OURS}" for p in some]
        case 2:
            return [f"route replace blackhole {p} {_OURS}" for p in some]
        case 3:
            return [f"route flush {_OURS}", f"-6 route flush {_OURS}"]
        case 4 if one:
            return [f"nexthop del id {one}"]
        case 5 if one:
            hop = _VIA[4 if _version(kernel, one) == 4 else 6][0]
            return [f"nexthop replace id {one} {hop} proto 179"]
    return []


def _version(kernel: witness.Kernel, id_: int) -> int:
    return 6 if ":" in str(kernel.nexthops[id_].get("gateway", "")) else 4


def _objects(world: World, kernel: witness.Kernel) -> list[int]:
    """Nexthop objects of ours that nobody else's route uses."""
    borrowed = _borrowed(world)
    for id_, one in kernel.nexthops.items():
        if id_ in borrowed:
            borrowed |= {member["id"] for member in one.get("group", [])}
    return sorted(
        id_
        for id_, one in kernel.nexthops.items()
        if id_ in witness.IDS and one.get("protocol") == witness.PROTOCOL and id_ not in borrowed
    )


def _borrowed(world: World) -> set[int]:
    lines = witness.foreign(world.us)
    return {int(id_) for line in lines for id_ in re.findall(r" nhid (\d+)", line)}


def strange_object(world: World, rng: random.Random) -> str:
    """Somebody has a nexthop object in our range, and a route that uses it."""
    id_ = rng.choice((witness.IDS[0], witness.IDS[rng.randrange(20)], witness.IDS[-1]))
    if id_ in witness.look(world.us).nexthops:
        return "strange object: there is one"
    prefix = f"10.250.{rng.randrange(256)}.0/24"
    world.both(
        f"nexthop add id {id_} via 192.0.2.98 dev eth1 proto static",
        f"route replace {prefix} nhid {id_} proto static",
    )
    world.theirs.append(f"{prefix} proto static")
    return f"strange object {id_} for {prefix}"


def borrow(world: World, rng: random.Random) -> str:
    """Somebody's route uses a nexthop object of ours."""
    rest.settle(world)
    kernel = witness.look(world.us)
    objects = [i for i in _objects(world, kernel) if _version(kernel, i) == 4]
    objects = [i for i in objects if "group" not in kernel.nexthops[i]]
    if not objects:
        return "nothing to borrow"
    id_ = objects[int(rng.random() * len(objects))]
    one = kernel.nexthops[id_]
    prefix = f"10.251.{rng.randrange(256)}.0/24"
    like = f"nexthop replace id {id_} via {one['gateway']} dev {one['dev']} proto 179"
    ip(world.twin, like)
    spec = f"{prefix} nhid {id_} proto static{rng.choice(('', ' table 100'))}"
    world.both(f"route replace {spec}")
    world.theirs.append(spec)
    return f"borrowed: {spec}"
