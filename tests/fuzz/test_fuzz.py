"""The fixed corpus, run again, and some seconds of fuzzing from it. The long run is `make fuzz`."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from bgp_ipvlan.bgp import session
from tests.fuzz import campaign, corpus, messages, script, sessions

fuzzes = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="atheris has no wheels for this machine"
)
CAPTURED = {name: data for name, data in corpus.load("sessions").items() if "captured/" in name}


def test_messages_of_the_corpus() -> None:
    """Each message decodes, or is refused, as it must in every mode there is."""
    inputs = corpus.load("messages")
    assert {name.partition("/")[0] for name in inputs} >= {"seeds", "captured", "found"}
    for name, data in inputs.items():
        for modes in messages.modes_of(data):
            try:
                messages.run(data[:1] + bytes((modes,)) + data[2:])
            except Exception as error:
                raise AssertionError(f"{name}, modes {modes:#x}: {data.hex()}") from error


def test_sessions_of_the_corpus() -> None:
    """Each session keeps to its rules, in pieces of any of several sizes."""
    inputs = corpus.load("sessions")
    assert {name.partition("/")[0] for name in inputs} >= {"seeds", "captured", "found"}
    for name, data in inputs.items():
        settings, timing, *_ = data.ljust(2, b"\0")
        for how in (timing & 15, 1, 4):
            try:
                sessions.run(bytes((settings, timing & 0xF0 | how)) + data[2:])
            except Exception as error:
                raise AssertionError(f"{name}, cut {how}: {data.hex()}") from error


@pytest.mark.parametrize("name", CAPTURED)
def test_captured_sessions_are_good_ones(name: str) -> None:
    """What a daemon of the lab sent is understood, from its OPEN to its farewell."""
    (step,) = script.decode(CAPTURED[name]).steps
    rig = sessions.Rig(script.decode(CAPTURED[name]), 0)
    rig.step(step)

    kinds = {type(event) for event in rig.events}
    assert {session.Opened, session.Established, session.Learned, session.EndOfRib} <= kinds
    learned = [event for event in rig.events if isinstance(event, session.Learned)]
    assert [event for event in learned if event.problem or event.refused] == []
    rich = [event.path for event in learned if event.path and event.path.large_communities]
    assert rich
    for path in rich:
        assert set(path.as_path) == {65002, 65010, 4200000009}
        assert 65002 << 16 | 7 in path.communities
        assert path.large_communities == ((65002, 1, 2),)
    assert rig.account.closed is not None
    assert "received NOTIFICATION Cease, administrative shutdown" in rig.account.closed.reason


@fuzzes
@pytest.mark.parametrize(("target", "runs"), [("messages", 40_000), ("sessions", 3_000)])
def test_fuzzing_for_some_seconds(target: str, runs: int, tmp_path: Path) -> None:
    """No property breaks in a fixed number of runs from a fixed seed."""
    outcome = campaign.fuzz(
        target, f"-runs={runs}", "-seed=1", keep=tmp_path / "kept" / target, quiet=True
    )
    assert outcome.status == 0, f"{outcome.crash}\n{outcome.output[-6000:]}"
    covered = re.findall(r"cov: (\d+)", outcome.output)
    assert int(covered[-1]) > 300, "the core is instrumented, and reached"


@fuzzes
def test_a_broken_property_is_found_and_kept(tmp_path: Path) -> None:
    """The input that broke one is a file, and running that file breaks it again."""
    outcome = campaign.fuzz("broken", "-runs=50000", "-seed=1", keep=tmp_path / "kept", quiet=True)

    assert outcome.status != 0
    assert outcome.crash is not None
    with pytest.raises(AssertionError):
        campaign.broken(outcome.crash.read_bytes())
