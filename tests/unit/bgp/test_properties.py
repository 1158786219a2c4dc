"""What holds for every input: identities, splits, garbage, and the tables against a naive model."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
from collections.abc import Callable

import hypothesis
from hypothesis import strategies as st

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, capability, message, rib, session, update
from tests.unit.bgp.test_faults import GOOD, OPEN, an_update, begin, established

V4, V6 = model.Family.IPV4, model.Family.IPV6
u32 = st.integers(0, 2**32 - 1)
families = st.sampled_from(model.Family)


def keys(family: model.Family) -> st.SearchStrategy[model.Nlri]:
    """Canonical prefixes of a family, of every length."""
    raw = st.tuples(st.integers(0, 2**family.bits - 1), st.integers(0, family.bits))
    network = ipaddress.IPv4Network if family is V4 else ipaddress.IPv6Network
    return raw.map(lambda pair: model.nlri(network(pair, strict=False)))


@hypothesis.given(
    st.integers(0, 65535), st.integers(3, 65535), u32.filter(bool), st.binary(max_size=253)
)
def test_open_identity(my_as: int, hold_time: int, identifier: int, parameters: bytes) -> None:
    """An OPEN is read as it was written."""
    one = message.Open(
        my_as=my_as, hold_time=hold_time, identifier=identifier, parameters=parameters
    )

    assert message.parse_open(one.encode()[19:]) == one


@hypothesis.given(
    st.frozensets(families, min_size=1),
    st.none() | u32,
    st.booleans(),
    st.none()
    | st.builds(
        capability.GracefulRestart,
        restarted=st.booleans(),
        time=st.integers(0, 4095),
        families=st.dictionaries(families, st.booleans()),
    ),
)
def test_capabilities_identity(
    offered: frozenset[model.Family],
    four_octet_as: int | None,
    route_refresh: bool,
    restart: capability.GracefulRestart | None,
) -> None:
    """Capabilities are read as they were written."""
    one = capability.Capabilities(
        families=offered,
        four_octet_as=four_octet_as,
        route_refresh=route_refresh,
        graceful_restart=restart,
    )

    assert capability.parse(one.encode()) == one


@hypothesis.given(families.flatmap(lambda f: st.tuples(st.just(f), st.lists(keys(f)))), st.data())
def test_update_identity(table: tuple[model.Family, list[model.Nlri]], data: st.DataObject) -> None:
    """What is packed into UPDATEs, announced or withdrawn, comes out in order and complete."""
    family, prefixes = table
    size = 4 if family is V4 else 16
    hop = ipaddress.ip_address(data.draw(st.binary(min_size=size, max_size=size)))
    path = tuple(data.draw(st.lists(st.integers(1, 2**32 - 1), max_size=60)))
    common = attributes.encode(attributes.ORIGIN, b"\0", attributes.TRANSITIVE)
    common += attributes.encode_as_path(path, four_octet_as=True)
    sent = list(update.announce(family, prefixes, next_hop=hop, common=common))
    back = [update.parse(one[19:], four_octet_as=True, ebgp=True) for one in sent]

    assert [key for one in back for key in one.announced[family]] == prefixes
    assert {one.attributes.as_path for one in back} <= {path}
    assert {one.next_hops[family] for one in back} <= {hop}
    assert not any(one.withdrawn or one.attributes.problem for one in back)

    gone = [
        update.parse(one[19:], four_octet_as=True, ebgp=True)
        for one in update.withdraw(family, prefixes)
    ]

    assert [key for one in gone for key in one.withdrawn[family]] == prefixes


@hypothesis.given(families, st.integers(2000, 3000))
def test_updates_fit(family: model.Family, count: int) -> None:
    """No message is longer than 4096 octets, and none is needlessly short."""
    size = family.bits // 8
    prefixes = [bytes((family.bits,)) + n.to_bytes(size) for n in range(count)]
    hop = ipaddress.ip_address(bytes(size))
    common = attributes.encode(attributes.ORIGIN, b"\0", attributes.TRANSITIVE)
    for sent in (
        list(update.announce(family, prefixes, next_hop=hop, common=common)),
        list(update.withdraw(family, prefixes)),
    ):
        assert all(len(one) <= message.MAX_SIZE for one in sent)
        assert all(len(one) > message.MAX_SIZE - 80 for one in sent[:-1])


@hypothesis.given(families, st.lists(st.integers(0, 32), max_size=40), st.binary(min_size=16))
def test_host_bits_are_cleared(family: model.Family, lengths: list[int], host: bytes) -> None:
    """Whatever stands beyond the prefix length, the key is canonical (RFC 4271 section 4.3)."""
    raw = b"".join(bytes((n,)) + host[: (n + 7) // 8] for n in lengths)
    found = update.split(family, raw)

    assert [key[0] for key in found] == lengths
    for key in found:
        assert model.nlri(model.prefix(family, key)) == key


def _conversation() -> bytes:
    hop = ipaddress.ip_address("192.0.2.2")
    common = GOOD[: GOOD.index(b"\x40\x03")]
    hosts = [bytes((32, 10, 9, n >> 8, n & 255)) for n in range(900)]
    parts = [OPEN.encode(), message.frame(message.KEEPALIVE)]
    parts += update.announce(V4, hosts, next_hop=hop, common=common)
    parts += update.withdraw(V4, hosts[:5])
    parts += update.withdraw(V6, [bytes((16, 32, 1))])
    parts += [update.end_of_rib(V4), update.end_of_rib(V6)]
    parts += [message.frame(message.ROUTE_REFRESH, bytes((0, 1, 0, 1)))]
    parts += [message.frame(message.NOTIFICATION, b"\6\4")]
    return b"".join(parts)


CONVERSATION = _conversation()


@hypothesis.given(st.lists(st.integers(0, len(CONVERSATION)), max_size=12))
def test_any_split_of_the_stream(cuts: list[int]) -> None:
    """However TCP cuts the octets, the events and the answers are the same."""
    whole = begin()
    expected = list(whole.receive(CONVERSATION, 0.0))
    one = begin()
    edges = [0, *sorted(cuts), len(CONVERSATION)]
    found: list[session.Event] = []
    for start, end in itertools.pairwise(edges):
        found += one.receive(CONVERSATION[start:end], 0.0)

    assert found == expected
    assert one.take() == whole.take()
    assert {type(event) for event in found} == {
        session.Opened,
        session.Established,
        session.Learned,
        session.EndOfRib,
        session.RefreshWanted,
        session.Closed,
    }


def _survives(make: Callable[[], session.Session], data: bytes) -> None:
    """Garbage ends in at most one Closed, the last event; a NOTIFICATION is the last message."""
    one = make()
    events = list(one.receive(data, 0.0))
    closed = [event for event in events if isinstance(event, session.Closed)]

    assert closed == events[len(events) - len(closed) :]
    assert len(closed) == one.closed
    for kind, _ in list(message.Framer().feed(one.take()))[:-1]:
        assert kind != message.NOTIFICATION


@hypothesis.given(st.sampled_from([begin, established]), st.integers(0, 6), st.binary(max_size=200))
def test_garbage_never_raises(make: Callable[[], session.Session], kind: int, body: bytes) -> None:
    """Any octets as the body of any message, or as they are, in any state."""
    _survives(make, message.frame(kind, body))
    _survives(make, body)


@hypothesis.given(st.data())
def test_damaged_messages_never_raise(data: st.DataObject) -> None:
    """A good message with one octet changed, or cut short with its length mended."""
    reach = attributes.encode(14, bytes.fromhex("00020110") + bytes(17) + b"\x10\x20\x01", 0x80)
    more = attributes.encode(8, bytes(8), 0xC0) + attributes.encode(32, bytes(12), 0xC0)
    good = data.draw(
        st.sampled_from([(begin, OPEN.encode()), (established, an_update(GOOD + more + reach))])
    )
    make, octets = good
    body = octets[19:]
    where = data.draw(st.integers(0, len(body) - 1))
    changed = body[:where] + bytes((data.draw(st.integers(0, 255)),)) + body[where + 1 :]
    _survives(make, message.frame(octets[18], changed))
    _survives(make, message.frame(octets[18], body[:where]))


# --- tables -------------------------------------------------------------------------

NEIGHBORS = tuple(ipaddress.ip_address(f"192.0.2.{n}") for n in (1, 2, 3))
PREFIXES = tuple(bytes((24, 10, 0, n)) for n in range(6))
paths = st.builds(
    model.Path,
    neighbor=st.sampled_from(NEIGHBORS),
    next_hop=st.sampled_from(NEIGHBORS),
    origin=st.integers(0, 2),
    as_path=st.lists(st.integers(1, 3), max_size=2).map(tuple),
    as_path_length=st.integers(0, 2),
    med=st.none() | st.integers(0, 2),
    local_pref=st.sampled_from([100, 200]),
    originator_id=st.none() | st.integers(1, 3),
    cluster_list=st.sampled_from([(), (1,)]),
    ebgp=st.booleans(),
    router_id=st.integers(1, 3),
)


@hypothesis.given(
    st.lists(paths, min_size=1, max_size=6, unique_by=lambda path: path.neighbor), st.data()
)
def test_best_path_does_not_depend_on_order(given: list[model.Path], data: st.DataObject) -> None:
    """RFC 4271 section 9.1.2.2: one winner, in whatever order the paths came."""
    other = data.draw(st.permutations(given))

    assert rib.choose(given) is rib.choose(other)


steps = st.lists(
    st.tuples(
        st.sampled_from(["learn", "withdraw", "stale", "flush", "forget"]),
        st.sampled_from(NEIGHBORS),
        st.lists(st.sampled_from(PREFIXES), min_size=1, unique=True),
        paths,
    ),
    max_size=25,
)


class Naive:
    """The tables as one would first think of them."""

    def __init__(self) -> None:
        self.tables: dict[model.Address, dict[model.Nlri, model.Path]] = {n: {} for n in NEIGHBORS}
        self.stale: dict[model.Address, set[model.Nlri]] = {n: set() for n in NEIGHBORS}

    def step(
        self, what: str, neighbor: model.Address, prefixes: list[model.Nlri], path: model.Path
    ) -> None:
        """One step of a history."""
        table, stale = self.tables[neighbor], self.stale[neighbor]
        if what == "stale":
            self.stale[neighbor] = set(table)
            return
        gone = {"learn": [], "withdraw": prefixes, "flush": stale, "forget": list(table)}[what]
        for prefix in gone:
            table.pop(prefix, None)
        if what == "learn":
            table |= dict.fromkeys(prefixes, path)
        stale -= set(prefixes) if what in {"learn", "withdraw"} else set(stale)

    def best(self) -> dict[model.Nlri, tuple[model.Path, ...]]:
        """The choice over all tables."""
        found: dict[model.Nlri, tuple[model.Path, ...]] = {}
        for prefix in PREFIXES:
            candidates = [table[prefix] for table in self.tables.values() if prefix in table]
            if candidates:
                found[prefix] = (rib.choose(candidates),)
        return found


def _step(
    tables: rib.Rib,
    what: str,
    neighbor: model.Address,
    *,
    prefixes: list[model.Nlri],
    path: model.Path,
) -> list[model.BestPaths]:
    match what:
        case "learn":
            return tables.learn(neighbor, V4, path, prefixes)
        case "withdraw":
            return tables.learn(neighbor, V4, None, prefixes)
        case "flush":
            return tables.flush_stale(neighbor, V4)
        case "forget":
            return tables.forget(neighbor)
    tables.mark_stale(neighbor, (V4,))
    return []


@hypothesis.given(steps)
def test_tables_equal_a_naive_model(
    given: list[tuple[str, model.Address, list[model.Nlri], model.Path]],
) -> None:
    """After any history Loc-RIB is the choice over all tables, and the changes told add up to it."""
    tables, naive = rib.Rib(), Naive()
    told: dict[model.Nlri, tuple[model.Path, ...]] = {}
    for what, neighbor, prefixes, drawn in given:
        path = dataclasses.replace(drawn, neighbor=neighbor)
        naive.step(what, neighbor, prefixes, path)
        for change in _step(tables, what, neighbor, prefixes=prefixes, path=path):
            assert change.prefixes
            for prefix in change.prefixes:
                assert told.get(prefix, ()) != change.paths
                told[prefix] = change.paths

    assert tables.best[V4] == naive.best()
    assert {prefix: path for prefix, path in told.items() if path} == naive.best()
    for neighbor in NEIGHBORS:
        assert tables.neighbors[neighbor].stale[V4] == naive.stale[neighbor]


def _path(number: int, **changes: object) -> model.Path:
    base = model.Path(
        neighbor=ipaddress.ip_address(f"192.0.2.{number}"),
        next_hop=ipaddress.ip_address(f"192.0.2.{number}"),
        as_path=(64513,),
        as_path_length=1,
        router_id=number,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def test_decision_steps() -> None:
    """Each step of RFC 4271 section 9.1.2.2 decides when all before it are equal."""
    ladder: list[dict[str, object]] = [
        {"local_pref": 200},
        {"as_path_length": 0},
        {"origin": 0},
        {"med": 0},
        {"ebgp": True},
        {"originator_id": 1},
        {"cluster_list": ()},
    ]
    worst: dict[str, object] = {
        "local_pref": 100,
        "as_path_length": 1,
        "origin": 2,
        "med": 5,
        "ebgp": False,
        "originator_id": 2,
        "cluster_list": (1,),
    }
    for step, better in enumerate(ladder):
        winner = _path(9, **{**worst, **better})
        # The other is best in all that is compared later.
        later = {key: value for one in ladder[step + 1 :] for key, value in one.items()}
        other = _path(1, **{**worst, **later})

        assert rib.choose([other, winner]) is winner, better

    assert rib.choose([_path(2, router_id=7), _path(1, router_id=7)]).neighbor == NEIGHBORS[0]


def test_med_is_compared_within_one_as_only() -> None:
    """RFC 4271 section 9.1.2.2 c: the MEDs of different neighbouring AS mean nothing together."""
    far = _path(1, med=9, as_path=(1,))
    near = _path(2, med=1, as_path=(2,))

    assert rib.choose([near, far]) is far
    assert rib.choose([near, dataclasses.replace(far, as_path=(2,))]) is near


def test_a_whole_table_is_one_change() -> None:
    """A neighbour's loss is as few changes as there are winners, not one per prefix."""
    tables = rib.Rib()
    prefixes = [bytes((32,)) + n.to_bytes(4) for n in range(10_000)]
    first, second = _path(1), _path(2)
    changes = tables.learn(first.neighbor, V4, first, prefixes)
    assert [len(change.prefixes) for change in changes] == [10_000]
    assert tables.learn(second.neighbor, V4, second, prefixes) == []

    changes = tables.forget(first.neighbor)
    assert [(change.paths, len(change.prefixes)) for change in changes] == [((second,), 10_000)]

    changes = tables.forget(second.neighbor)
    assert [(change.paths, len(change.prefixes)) for change in changes] == [((), 10_000)]
