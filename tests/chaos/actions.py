"""What can happen: each action does one thing to a world, chosen by a random generator.

A choice depends on the generator and on what was done before, never on time: so a seed is a run.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.chaos import hands, oracle, rest, sender, witness
from tests.chaos.sender import LONG, SHORT, Restart, Saying
from tests.chaos.world import BIRD, US, World

T = TypeVar("T")
_NEXT_HOPS = {
    4: (
        *("192.0.2.2", "192.0.2.11"),
        *("198.51.100.11", "198.51.100.12"),
        "203.0.113.200",  # on no wire
        *("192.0.2.1", "198.51.100.1"),  # our own
    ),
    6: (
        *("2001:db8:1::2", "2001:db8:1::11"),
        *("2001:db8:2::11", "2001:db8:2::12"),
        "2001:db8:9::9",
        *("2001:db8:1::1", "2001:db8:2::1"),
    ),
}
PREFIXES: tuple[oracle.Prefix, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            *(f"10.{n}.0.0/16" for n in range(1, 7)),
            *(f"10.1.{n}.0/24" for n in range(6)),
            *(f"10.1.1.{n}/32" for n in range(10)),
            *(f"2001:db8:100:{n}::/64" for n in range(6)),
            *(f"2001:db8:100:1::{n}/128" for n in range(10)),
            # Around what is connected, inside it, equal to it.
            *("192.0.0.0/8", "192.0.2.77/32", "192.0.2.0/24", "198.51.100.128/25"),
            *("2001:db8::/32", "2001:db8:1::77/128", "2001:db8:2::/64"),
            # Around what is ours, inside it, equal to it.
            *("10.7.0.0/16", "10.7.1.5/32", "10.7.1.0/24"),
            *("2001:db8:700::/48", "2001:db8:700:1::5/128", "2001:db8:700:1::/64"),
            *("203.0.113.0/24", "0.0.0.0/0", "::/0", "127.5.0.0/16", "ff05::/16"),
        ),
    )
)
OF_BIRD: tuple[oracle.Prefix, ...] = PREFIXES[:38]
_BULK = 2000


def say(world: World, rng: random.Random) -> str:
    """A sender announces some prefixes with the same attributes, or announces them anew."""
    one = rng.choice(world.senders)
    version = rng.choice((4, 6))
    among = [prefix for prefix in PREFIXES if prefix.version == version]
    keys = [(p, rng.randrange(1, 3) * one.add_path) for p in _some(rng, among, 10)]
    said = _saying(world, rng, one, version)
    one.announce(keys, said)
    return f"{one.address} announces {_shown(keys)} {_text(said)}"


def _saying(world: World, rng: random.Random, one: sender.Sender, version: int) -> Saying:
    pref = rng.choice((100, 100, 100, 200))
    # RFC 8950: IPv4 prefixes may have IPv6 next hops, never the other way round.
    family = 6 if version == 6 or rng.random() < 0.3 else 4
    given = ipaddress.ip_address(rng.choice(_NEXT_HOPS[family]))
    # The same on both wires, as with routers that are fe80::1 everywhere.
    local = ipaddress.ip_address(rng.choice(("fe80::9", "fe80::9:1")))
    if family == 4 or rng.random() < 0.6:
        return Saying(given, None, pref)
    return Saying(given, local, pref) if rng.random() < 0.5 else Saying(local, None, pref)


def unsay(world: World, rng: random.Random) -> str:
    """A sender withdraws some of what it says."""
    one = rng.choice(world.senders)
    keys = _some(rng, [key for key in one.table if key[0] in PREFIXES], 12)
    one.withdraw(keys)
    return f"{one.address} withdraws {_shown(keys)}"


def bulk(world: World, rng: random.Random) -> str:
    """Thousands of host routes come, change their next hop, or go."""
    one, version = rng.choice(world.senders), rng.choice((4, 6))
    first = int(ipaddress.ip_address("10.64.0.0" if version == 4 else "2001:db8:64::"))
    make = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    numbers = range(rng.randrange(_BULK), rng.randrange(_BULK, 2 * _BULK))
    keys: list[sender.Key] = [(make(first + n), int(one.add_path)) for n in numbers]
    if rng.random() < 0.4:
        keys = [key for key in keys if key in one.table]
        one.withdraw(keys)
        return f"{one.address} withdraws {len(keys)} host routes"
    said = _saying(world, rng, one, version)
    one.announce(keys, said)
    return f"{one.address} announces host routes {numbers} {_text(said)}"


def bird_says(world: World, rng: random.Random) -> str:
    """BIRD announces or withdraws some."""
    done = []
    for prefix in _some(rng, OF_BIRD, 4):
        if prefix in world.bird.table:
            world.bird.withdraw(prefix)
        else:
            hops = ("192.0.2.3", "192.0.2.11", "198.51.100.11")
            six = ("2001:db8:1::3", "2001:db8:1::11", "2001:db8:2::11")
            hop = rng.choice(hops if prefix.version == 4 else six)
            world.bird.announce(prefix, ipaddress.ip_address(hop))
        done.append(str(prefix))
    world.wait_bird()
    return f"BIRD changes {' '.join(done)}"


# --- sessions -----------------------------------------------------------------------------


def flap(world: World, rng: random.Random) -> str:
    """A sender's session ends, this way or that; it comes back at once, later, or otherwise."""
    one = rng.choice(world.senders)
    how = rng.choice(("reset", "cease", "silence", "forsake"))
    away, restart = rng.random() < 0.4, _restart(rng)
    if not world.feasible(str(one.address)) or one.away:
        return "flap nothing"
    world.barrier(one)
    if how == "forsake" and not one.restart.time:
        how = "reset"
    if how == "silence":
        one.reset()
        while not one.connect(hold_time=3):
            world.has_all(one)
        world.barrier(one)
    getattr(one, how)()
    if how != "forsake":
        one.away, one.restart = away, restart
    return f"{one.address} {how}, {'stays away' if one.away else 'returns'}, then {one.restart}"


def _restart(rng: random.Random) -> Restart:
    time = rng.choice((0, SHORT, LONG, LONG))
    return Restart(time, notification=rng.random() < 0.5, preserved=rng.random() < 0.8)


def come_back(world: World, rng: random.Random) -> str:
    """Who was away comes back."""
    for one in world.senders:
        one.away = False
    return "all come back"


def bird_flap(world: World, rng: random.Random) -> str:
    """BIRD restarts its session, or crashes."""
    if not world.feasible(BIRD):
        return "bird flaps nothing"
    world.wait_bird()
    how = rng.choice(("restart", "crash"))
    getattr(world.bird, how)()
    return f"BIRD: {how}"


# --- links ----------------------------------------------------------------------------------


def link_flap(world: World, rng: random.Random) -> str:
    """A link goes down and up again at once."""
    wire = rng.choice(tuple(US))
    if wire in world.down:
        return "link flaps nothing"
    with world.losing():
        world.flap(wire)
    return f"{wire} flaps"


def link_down(world: World, rng: random.Random) -> str:
    """A link goes down, here or there, and stays so."""
    wire, far = rng.choice(tuple(US)), rng.random() < 0.5
    if wire in world.down:
        return "link is down"
    with world.losing():
        (world.set_far if far else world.set_link)(wire, up=False)
    return f"{wire} is down {'there' if far else 'here'}"


def address_gone(world: World, rng: random.Random) -> str:
    """An address is taken away."""
    wire = rng.choice(tuple(US))
    address = rng.choice(US[wire])
    if (wire, address) in world.missing:
        return "address is gone"
    with world.losing():
        world.set_address(wire, address, there=False)
    return f"{address} is gone"


def mend(world: World, rng: random.Random) -> str:
    """All links and addresses are there again."""
    for wire in sorted(world.down):
        for end in (world.set_link, world.set_far):
            end(wire, up=True)
    for wire, address in sorted(world.missing):
        world.set_address(wire, address, there=True)
    return "links are mended"


# --- the daemon -------------------------------------------------------------------------------


def restart(world: World, rng: random.Random) -> str:
    """The daemon crashes or stops, things happen, it starts."""
    how = rng.choice(("kill", "stop"))
    said = [] if world.whole else [mend(world, rng), come_back(world, rng)]
    world.end_daemon(how)
    meanwhile = (say, unsay, hands.add, hands.remove, hands.on_ours)
    said += [rng.choice(meanwhile)(world, rng) for _ in range(rng.randrange(3))]
    world.start_daemon()
    return f"daemon: {how}, {', '.join(said) or 'nothing'}, start"


def renew(world: World, rng: random.Random) -> str:
    """The daemon crashes or stops and starts: no packet is lost, so no route goes meanwhile."""
    if not world.whole:
        mend(world, rng)
        come_back(world, rng)
    rest.settle(world)
    before = set(witness.look(world.us).routes)
    how = rng.choice(("kill", "stop"))
    with witness.Watch(world.us) as watch:
        world.end_daemon(how)
        world.start_daemon()
        rest.settle(world)
        # What comes and goes for a barrier was not there before.
        gone = sorted(map(str, before & watch.deleted()))
    assert gone == [], f"deleted over a restart: {gone}"
    return f"daemon: {how}, start; nothing was deleted"


def storm(world: World, rng: random.Random) -> str:
    """Tens of thousands of others' routes come and go while it runs."""
    count = rng.randrange(20_000, 40_000)
    witness.storm(world.us, count)
    return f"storm of {count}"


def blind(world: World, rng: random.Random) -> str:
    """It is stopped, things happen, and the news of them is lost in a storm."""
    before = world.counters()["overflows"]
    with world.losing(), world.frozen():
        if rng.random() < 0.5:
            witness.storm(world.us, 20_000)
        meanwhile = (hands.add, hands.remove, hands.on_ours)
        said = [rng.choice(meanwhile)(world, rng) for _ in range(rng.randrange(1, 4))]
        wire = rng.choice(tuple(US))
        if rng.random() < 0.3 and wire not in world.down:
            world.flap(wire)
            said.append(f"{wire} flaps")
        witness.storm(world.us, 20_000)
    world.moving["overflows"] = before
    return f"blind to {', '.join(said)}"


# --- all of them --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Action:
    """One kind, and how often it stands in a deck."""

    do: Callable[[World, random.Random], str]
    weight: int = 1


ACTIONS = (
    Action(say, 8),
    Action(unsay, 4),
    Action(bulk, 3),
    Action(bird_says, 2),
    Action(flap, 3),
    Action(come_back, 2),
    Action(bird_flap),
    Action(link_flap, 2),
    Action(link_down),
    Action(address_gone),
    Action(mend, 3),
    Action(restart, 2),
    Action(renew),
    Action(storm),
    Action(blind, 2),
    Action(hands.add, 4),
    Action(hands.append),
    Action(hands.remove, 3),
    Action(hands.on_ours, 4),
    Action(hands.repaired, 2),
    Action(hands.strange_object),
    Action(hands.borrow),
)


def deck(rng: random.Random) -> list[Action]:
    """All of them in some order: each that came is followed by the rest before it comes again."""
    cards = [action for action in ACTIONS for _ in range(action.weight)]
    rng.shuffle(cards)
    return cards


def _some(rng: random.Random, among: Sequence[T], most: int) -> list[T]:
    return rng.sample(among, min(len(among), rng.randrange(1, most + 1)))


def _shown(keys: Sequence[sender.Key]) -> str:
    return " ".join(f"{prefix}{f'#{path}' if path else ''}" for prefix, path in keys)


def _text(said: Saying) -> str:
    local = f" {said.link_local}" if said.link_local else ""
    return f"via {said.next_hop}{local} pref {said.local_pref}"
