"""The bench's own code: octets it sends, figures it makes, rounds it runs."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from bench import harness, measure, netlink, plot, samples, table, wire, witness
from bench.cases import parse
from bgp_ipvlan import model
from lab import namespace

HOP = ipaddress.IPv4Address("192.0.2.1")
TIME = measure.Measure(title="time", samples="time", unit="s", goal=1.0)


def case(once: Callable[[str], measure.Samples], *contenders: str) -> measure.Case:
    """A case of one measure."""
    return measure.Case(name="it", contenders=contenders, measures=(TIME,), once=once)


# --- octets ------------------------------------------------------------------------


def test_table_is_learned_whole() -> None:
    """Our session and tables take exactly the prefixes that the sender's table is said to hold."""
    learning = parse.Learning()
    learning.receive(wire.table(5, 2000, HOP))
    learning.receive(wire.table(9000, 1, HOP))
    found = {str(model.prefix(model.Family.IPV4, key)) for key in learning.prefixes()}
    assert {wire.prefix(n) for n in (*range(5, 2005), 9000)} == found


def test_table_is_packed() -> None:
    """UPDATEs are as few as RFC 4271's 4096 octets allow, and none is longer."""
    found = list(wire.messages(bytearray(wire.table(0, 2000, HOP))))
    assert [kind for kind, _ in found] == [wire.UPDATE] * 3
    assert all(len(body) + wire.HEADER <= wire.LONGEST for _, body in found)
    assert all(wire.announces(body) for _, body in found)


def test_end_of_rib_announces_nothing() -> None:
    """End-of-RIB and a withdrawal are not taken for an answer."""
    assert not wire.announces(b"\0\0\0\0")
    assert not wire.announces(b"\0\x05\x20\x0a\0\0\1\0\0")


@hypothesis.given(st.lists(st.integers(1, 90)))
def test_messages_of_any_split(cuts: list[int]) -> None:
    """However the stream is cut, the same messages come out."""
    whole = [(wire.KEEPALIVE, b""), (wire.UPDATE, bytes(range(30))), (wire.NOTIFICATION, b"\6\2")]
    stream = b"".join(wire.message(kind, body) for kind, body in whole)
    buffer, at = bytearray(), 0
    found: list[tuple[int, bytes]] = []
    for cut in [*cuts, len(stream)]:
        buffer += stream[at : at + cut]
        at += cut
        found += wire.messages(buffer)
    assert whole == found


@pytest.mark.parametrize("version", [4, 6])
def test_table_of_either_version(version: int) -> None:
    """All prefixes are learned, with the next hop given, from UPDATEs as few as RFC 4271 allows."""
    table = wire.table(5, 1000, HOP if version == 4 else ipaddress.IPv6Address("fd00:2::2"))
    learning = parse.Learning()
    learning.receive(table)
    family = model.Family.IPV4 if version == 4 else model.Family.IPV6
    found = {str(model.prefix(family, key)) for key in learning.prefixes(family)}
    assert {wire.prefix(n, version=version) for n in range(5, 1005)} == found
    assert ipaddress.ip_address(wire.address(5, version=version)) in ipaddress.ip_network(
        wire.prefix(5, version=version)
    )
    lengths = [len(body) + wire.HEADER for _, body in wire.messages(bytearray(table))]
    assert wire.LONGEST - 17 < lengths[0] <= wire.LONGEST
    assert set(lengths[:-1]) == {lengths[0]}


def test_opening_with_graceful_restart() -> None:
    """Our session takes it for one that promises End-of-RIB in both families; the two then come."""
    both = {model.Family.IPV4, model.Family.IPV6}
    for promised in (False, True):
        learning = parse.Learning(graceful_restart=promised)
        learning.receive(wire.table(0, 1, HOP) + wire.end_of_rib())
        assert learning.kept == (both if promised else set())
        assert learning.ended == both


def test_kernel_route_read_back() -> None:
    """The listener finds the destination of what the adder asks for."""
    one, two = (ipaddress.IPv4Address(f"172.16.0.{n}").packed for n in (1, 2))
    removal = bytearray(netlink.blackhole(two))
    struct.pack_into("=H", removal, 4, netlink.DELROUTE)
    datagram = netlink.blackhole(one) + bytes(removal)
    assert [(kind, netlink.destination(body)) for kind, body in netlink.messages(datagram)] == [
        (netlink.NEWROUTE, one),
        (netlink.DELROUTE, two),
    ]


@pytest.mark.parametrize("address", ["10.1.2.3", "fd00::1"])
def test_raw_routes_are_whole(address: str) -> None:
    """Around its address a raw route's message is complete, and can be followed by the next."""
    packed = ipaddress.ip_address(address).packed
    head, tail = netlink.through(len(packed), 179, 4711, metric=17900)
    one = head + packed + tail
    found = list(netlink.messages(one + one))
    assert [(kind, netlink.destination(body)) for kind, body in found] == [
        (netlink.NEWROUTE, packed)
    ] * 2


def test_acknowledgement() -> None:
    """A refusal raises with the kernel's errno; an acknowledgement does not."""
    netlink.check(netlink.message(netlink.ERROR, 0, struct.pack("=i", 0)))
    with pytest.raises(FileExistsError):
        netlink.check(netlink.message(netlink.ERROR, 0, struct.pack("=i", -17)))


# --- figures -----------------------------------------------------------------------


def test_percentile() -> None:
    """Median and others, between two values by proportion."""
    assert measure.percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert measure.percentile([1.0, 2.0], 50) == 1.5
    assert measure.percentile(list(range(101)), 99) == 99.0
    assert measure.percentile([7.0], 99) == 7.0


def test_ratio_and_goal() -> None:
    """The ratio is theirs over ours; a goal is missed from its figure on, a ratio below it."""
    result = measure.Result(case(lambda _: {}, measure.OURS, "BIRD"))
    assert result.ratio(TIME, "BIRD") is None
    result.add(measure.OURS, {"time": [0.5]})
    result.add("BIRD", {"time": [0.25]})
    assert result.ratio(TIME, "BIRD") == 0.5
    assert not result.missed(TIME)
    near = dataclasses.replace(TIME, ratios={"BIRD": 0.5, "FRR": 3.0})
    assert not result.missed(near)
    assert result.missed(dataclasses.replace(TIME, ratios={"BIRD": 0.51}))
    result.add(measure.OURS, {"time": [1.5]})
    assert result.missed(TIME)


def test_what_came_early_has_no_ratio() -> None:
    """Ours may be below nought where the clock starts late: better than any ratio, and no miss."""
    result = measure.Result(case(lambda _: {}, measure.OURS, "BIRD"))
    result.add(measure.OURS, {"time": [-0.1]})
    result.add("BIRD", {"time": [0.2]})
    assert result.ratio(TIME, "BIRD") is None
    assert not result.missed(dataclasses.replace(TIME, ratios={"BIRD": 1.0}))
    assert table.cell(result, TIME, "BIRD", 1) == "0.200 s"


def test_json_has_the_samples() -> None:
    """Whoever doubts a figure finds all its samples."""
    result = measure.Result(case(lambda _: {}, measure.OURS))
    result.add(measure.OURS, {"time": [0.5]})
    result.add(measure.OURS, {"time": [0.7]})
    (row,) = result.plain()["measures"]
    assert row["contenders"][measure.OURS] == {
        "rounds": 2,
        "value": 0.6,
        "ratio": 1.0,
        "samples": [0.5, 0.7],
    }


def test_cell_tells_figure_ratio_and_missing_rounds() -> None:
    """What a person reads of a contender."""
    result = measure.Result(case(lambda _: {}, measure.OURS, "BIRD"))
    assert table.cell(result, TIME, "BIRD", 2) == ""
    result.add(measure.OURS, {"time": [2.0]})
    result.add("BIRD", {"time": [123.4]})
    assert table.cell(result, TIME, "BIRD", 1) == "123 s 62×"
    assert table.cell(result, TIME, "BIRD", 2) == "123 s 62× (1 of 2)"
    assert table.cell(result, TIME, measure.OURS, 1) == "[bold red]2.00 s[/]"
    result.add("FRR", {"time": [950.0]})
    assert table.cell(result, TIME, "FRR", 1) == "950 s 475×"
    result.failures["BIRD"] = "it fell over"
    assert table.cell(result, TIME, "BIRD", 2) == "failed"


def test_goal_as_shown() -> None:
    """What ours has to reach, in a person's words."""
    assert table.goal(TIME) == "< 1 s"
    both = dataclasses.replace(TIME, ratios={"BIRD": 2.5, "raw": 0.85})
    assert table.goal(both) == "< 1 s, BIRD 2.5×, raw 0.85×"
    assert table.goal(dataclasses.replace(TIME, goal=None)) == ""


def row(title: str, **values: float) -> dict[str, object]:
    """A measure of the JSON."""
    contenders = {n: {"value": v, "samples": [v, v + 1], "rounds": 2} for n, v in values.items()}
    shape = {"unit": "s", "percentile": 50.0, "goal": None, "ratios": {}}
    return {"title": title, "contenders": contenders, **shape}


def test_plot_of_what_was_measured(tmp_path: Path) -> None:
    """A run is drawn, whichever cases it had; a case that nobody did is left out."""
    both = {measure.OURS: 1.0, "BIRD": 2.0}
    whole = {"machine": collections.defaultdict(str), "rounds": 2}
    for number, results in enumerate(
        (
            [{"case": "routes", "measures": [row("time", **both), row("nothing")]}],
            [{"case": "join", "measures": [row("quiet", **both), row("bursts", **both)]}],
            [],
        )
    ):
        file = tmp_path / f"{number}.png"
        plot.draw({**whole, "results": results}, file)
        assert file.read_bytes().startswith(b"\x89PNG")


def test_limits_drawn() -> None:
    """Of several ratios the hardest is drawn; else the goal; else nothing."""
    one = row("time", **{measure.OURS: 1.0, "BIRD": 4.0, "raw": 0.85})
    assert plot.limits(one) == []
    assert plot.limits({**one, "goal": 3.0}) == [3.0]
    assert plot.limits({**one, "ratios": {"BIRD": 2.0, "raw": 0.85, "FRR": 9.0}}) == [1.0]


def test_sample_times() -> None:
    """Each sample is noted once, strangers never, and the last one says so."""
    times = samples.Times(2)
    packed = [ipaddress.IPv4Network(samples.prefix(n)).network_address.packed for n in range(3)]
    assert not times.note(packed[1])
    first = times.values[1]
    assert not times.note(packed[1])
    assert not times.note(packed[2])
    assert times.values[1] == first
    assert times.missing == 1
    assert times.note(packed[0])


# --- rounds ------------------------------------------------------------------------


def test_rounds_are_interleaved() -> None:
    """Every contender has its turn before any has its next."""
    done: list[str] = []

    def once(contender: str) -> measure.Samples:
        done.append(contender)
        return {"time": [float(len(done))]}

    result = measure.Result(case(once, "a", "b", "c"))
    names = ("b", "a")
    told = [(n, who) for _, n, who in harness.run([result], rounds=2, contenders=names)]
    assert told == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert done == ["a", "b", "a", "b"]
    assert harness.steps([result], rounds=2, contenders=names) == 4
    assert result.samples["b"]["time"] == [2.0, 4.0]


def test_failure_leaves_the_others() -> None:
    """A contender that fails is out; its reason is kept, and the others go on."""

    def once(contender: str) -> measure.Samples:
        if contender == "bad":
            raise namespace.LabError("no answer")
        return {"time": [1.0]}

    result = measure.Result(case(once, "bad", "good"))
    told = [who for _, _, who in harness.run([result], rounds=2, contenders=("bad", "good"))]
    assert told == ["bad", "good", "good"]
    assert result.failures == {"bad": "no answer"}


def test_patience_is_for_the_others() -> None:
    """Who is too slow has one round; ours has all."""
    result = measure.Result(case(lambda _: {"time": [1.0]}, measure.OURS, "slow"))
    for _ in harness.run([result], rounds=3, contenders=(measure.OURS, "slow"), patience=0.0):
        pass
    assert result.rounds == {measure.OURS: 3}


# --- witnesses ---------------------------------------------------------------------


class Daemon:
    """A control socket that gives prepared answers, each in pieces as it comes over the wire."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread: threading.Thread

    def start(self, *answers: list[bytes], greeting: bytes = b"") -> None:
        """Take one client."""
        self._thread = threading.Thread(target=self._serve, args=(answers, greeting), daemon=True)
        self._thread.start()

    def _serve(self, answers: tuple[list[bytes], ...], greeting: bytes) -> None:
        client, _ = self._socket.accept()
        with client:
            client.sendall(greeting)
            for pieces in answers:
                self.asked.append(client.recv(4096))
                for piece in pieces:
                    client.sendall(piece)

    def close(self) -> None:
        """Wait for the client's end."""
        self._thread.join(10)
        self._socket.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """One of them."""
    made = Daemon(tmp_path / "ctl")
    yield made
    made.close()


def test_birdc(daemon: Daemon) -> None:
    """BIRD's answer is read to its last line, in whatever pieces it comes."""
    daemon.start(
        [b"1007-Table master4:\n 10.0.0.7/32 unicast\n", b" \tvia 192.0.2.1 on eth1\n00", b"00 \n"],
        [b"8001 Network not found\n"],
        greeting=b"0001 BIRD 2.0.12 ready.\n",
    )
    with contextlib.closing(witness.Birdc(daemon.path)) as client:
        assert [client.has(7), client.has(8)] == [True, False]
    assert daemon.asked[0] == b"show route 10.0.0.7/32 primary\n"


def test_birdc_reads_to_the_end() -> None:
    """A line that more will follow does not end an answer, nor does half of the last one."""
    lines = (b"1007-Table master4:\n", b" \tvia 192.0.2.1 on eth1\n", b"00", b"00 \n")
    parts = [b"".join(lines[:n]) for n in range(len(lines) + 1)]
    assert [witness.complete(part) for part in parts] == [False, False, False, False, True]
    assert witness.complete(b"8001 Network not found\n")


def test_vty(daemon: Daemon) -> None:
    """FRR has a prefix when it has chosen a best path for it, not when it has a path."""
    daemon.start(
        [b"{}\n", b"\0\0\0\0"],
        [b'{"paths":[{"valid":true}]}\0', b"\0\0\0"],
        [b'{"paths":[{"bestpath":{"overall":true}}]}', b"\0\0\0\0"],
    )
    with contextlib.closing(witness.Vty(daemon.path)) as client:
        assert [client.has(7) for _ in range(3)] == [False, False, True]
    assert daemon.asked[0] == b"show bgp ipv4 unicast 10.0.0.7/32 json\0"


def test_witness_that_hangs_up(daemon: Daemon) -> None:
    """A daemon that has gone is an error of the lab's, not an endless wait."""
    daemon.start([])
    with contextlib.closing(witness.Vty(daemon.path)) as client, pytest.raises(namespace.LabError):
        client.has(7)
