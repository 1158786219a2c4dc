"""State: what was acknowledged survives kill -9; a file that cannot be used is said to be so."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bgp_ipvlan import errors, model
from bgp_ipvlan import state as state_

NETWORK = model.Network(
    id="a" * 64,
    parent="eth1",
    subnets=(
        model.Subnet(ipaddress.ip_network("10.1.1.0/24"), ipaddress.ip_address("10.1.1.1")),
        model.Subnet(ipaddress.ip_network("fd00:1::/64")),
    ),
    mtu=1400,
    internal=True,
    advertise=model.Advertise.NONE,
    host_access=False,
    bgp=model.BgpOptions(
        communities=(0xFDE80001, 0xFFFFFF01),
        large_communities=((64512, 1, 2), (4294967295, 0, 1)),
        med=0,
        local_pref=200,
        prepend=3,
        next_hops=(ipaddress.ip_address("192.0.2.9"), ipaddress.ip_address("2001:db8::9")),
        start_gate=model.StartGate.REQUIRE,
    ),
)
ENDPOINT = model.Endpoint(
    id="e" * 64,
    network_id=NETWORK.id,
    addresses=(ipaddress.ip_interface("10.1.1.2/24"), ipaddress.ip_interface("fd00:1::2/64")),
    joined=True,
    ports=(model.Port(6, 80, 8080),),
    driver_options=(("key", "value"),),
)

V1 = Path(__file__).parent / "state-v1.db"
"""NETWORK, ENDPOINT and a boot id, as version 1 wrote them."""

WRITER = """
import asyncio, dataclasses, pathlib, sys
sys.path.insert(0, ".")
from bgp_ipvlan import state
from tests.unit import test_state as t

async def main():
    store = await state.State.open(pathlib.Path(sys.argv[1]))
    print("open", flush=True)
    await store.put_network(t.NETWORK)
    number = int(store.meta("count") or 0)
    while True:
        number += 1
        name = f"{number:064x}"
        await store.put_endpoint(dataclasses.replace(t.ENDPOINT, id=name))
        print("put", name, flush=True)
        await store.set_meta("count", str(number))
        print("count", number, flush=True)
        if number % 3 == 0:
            await store.remove_endpoint(name)
            print("gone", name, flush=True)

asyncio.run(main())
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[state_.State]:
    """An open state."""
    store = await state_.State.open(tmp_path)
    yield store
    await store.close()


async def reopened(directory: Path) -> state_.State:
    """Read a state from disk; it is closed, and what it read remains."""
    store = await state_.State.open(directory)
    await store.close()
    return store


async def test_every_field_comes_back(store: state_.State, tmp_path: Path) -> None:
    """A network and an endpoint are the same records after a restart."""
    await store.put_network(NETWORK)
    await store.put_endpoint(ENDPOINT)
    await store.set_meta("boot_id", "x")
    again = await reopened(tmp_path)
    assert dict(again.networks) == {NETWORK.id: NETWORK}
    assert dict(again.endpoints) == {ENDPOINT.id: ENDPOINT}
    assert again.endpoints_of(NETWORK.id) == (ENDPOINT,)
    assert again.meta("boot_id") == "x"
    assert again.meta("other") is None


async def test_a_network_goes_with_its_endpoints(store: state_.State, tmp_path: Path) -> None:
    """In memory and on disk; unknown ids are fine."""
    await store.put_network(NETWORK)
    await store.put_endpoint(ENDPOINT)
    await store.remove_network(NETWORK.id)
    again = await reopened(tmp_path)
    await store.remove_network(NETWORK.id)
    await store.remove_endpoint(ENDPOINT.id)
    for one in (store, again):
        assert (dict(one.networks), dict(one.endpoints)) == ({}, {})
        assert one.endpoints_of(NETWORK.id) == ()


async def test_a_cancelled_writer_leaves_memory_and_disk_together(
    store: state_.State, tmp_path: Path
) -> None:
    """The handler's time is up while the commit runs: both have it, or neither."""
    task = asyncio.create_task(store.put_network(NETWORK))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.set_meta("after", "x")  # the thread is one: what came before is done
    again = await reopened(tmp_path)
    assert dict(store.networks) == dict(again.networks) == {NETWORK.id: NETWORK}


async def test_a_failed_commit_changes_nothing(store: state_.State, tmp_path: Path) -> None:
    """A file system gone read-only: reason `state-unwritable`, memory as before."""
    await store.put_network(NETWORK)
    await state_._on(
        store._thread, lambda: store._connection.execute("PRAGMA query_only = 1").fetchall()
    )
    for attempt in (
        store.put_endpoint(ENDPOINT),
        store.remove_network(NETWORK.id),
        store.set_meta("a", "b"),
    ):
        with pytest.raises(errors.StateError) as caught:
            await attempt
        assert caught.value.reason == "state-unwritable"
    assert dict(store.networks) == {NETWORK.id: NETWORK}
    assert dict(store.endpoints) == {}
    assert store.meta("a") is None


@pytest.mark.parametrize("seed", range(6))
async def test_what_was_acknowledged_survives_kill(tmp_path: Path, seed: int) -> None:
    """Kill -9 of a busy writer at a random moment, three times over the same file."""
    chance = random.Random(seed)
    alive: set[str] = set()
    count = 0
    for _ in range(3):
        lines = _write_and_kill(tmp_path, after=chance.randrange(1, 120), delay=chance.random())
        assert lines[0] == "open"
        unsure = ""
        for line in lines[1:]:
            word, value = line.split()
            if word == "put":
                alive.add(value)
                unsure = value
            elif word == "gone":
                alive.remove(value)
            else:
                count = int(value)
        store = await reopened(tmp_path)
        assert dict(store.networks) == {NETWORK.id: NETWORK}
        there = set(store.endpoints)
        # One step more may be on disk than was said: the next one put, or the last one removed.
        assert alive - there <= {unsure}
        assert len(there - alive) <= 1
        assert int(store.meta("count") or 0) in {count, count + 1}
        alive, count = there, int(store.meta("count") or 0)


def _write_and_kill(directory: Path, *, after: int, delay: float) -> list[str]:
    """Let a child write, and kill it after some lines and a part of a millisecond."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(after)]
        for _ in range(int(delay * 3000)):
            pass
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
    text = "".join(lines) + rest
    return text[: text.rindex("\n")].split("\n")


async def test_a_damaged_file_is_said_to_be(tmp_path: Path) -> None:
    """Garbage, a torn page, a record that is none: reason `state-corrupt`, the file is left alone."""
    path = tmp_path / state_.FILE
    store = await state_.State.open(tmp_path)
    await store.put_network(NETWORK)
    for number in range(200):
        await store.set_meta(f"fact {number}", "x" * 100)
    await store.close()
    good = path.read_bytes()
    torn = good[:4096] + os.urandom(len(good) - 4096)
    for damaged in (b"this is no database" * 100, torn, good[: len(good) // 2]):
        path.write_bytes(damaged)
        await _refused(tmp_path, "state-corrupt", "move the file away")
        assert path.read_bytes() == damaged
    head = b'{"id": "1", "parent": "x", "subnets": [], "bgp": '
    for record in (
        b"{",
        b"{}",
        b'{"id": 1, "parent": "x", "subnets": [{"prefix": "x"}]}',
        b"[]",
        head + b'{"communities": ["x"]}}',
        head + b'{"large_communities": [[1, 2]]}}',
        head + b'{"start_gate": "later"}}',
        head + b'{"next_hops": ["10.0.0.0/8"]}}',
        head + b"[]}",
    ):
        path.write_bytes(good)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE network SET record = ?", (record,))
        connection.close()
        await _refused(tmp_path, "state-corrupt", "move the file away")


POOL = model.Pool(
    id="bgp-ipvlan/10.1.1.0/24",
    prefix=ipaddress.ip_network("10.1.1.0/24"),
    range=ipaddress.ip_network("10.1.1.128/25"),
    since=1.5,
    last=ipaddress.ip_address("10.1.1.129"),
)
LEASE = model.Lease(ipaddress.ip_address("10.1.1.129"), model.Holding.HELD, 2.5)


async def test_a_file_of_version_1(tmp_path: Path) -> None:
    """One that version 1 wrote loads, takes pools, and is of version 2 then."""
    (tmp_path / state_.FILE).write_bytes(V1.read_bytes())
    store = await state_.State.open(tmp_path)
    await store.put_lease(POOL, LEASE)
    await store.close()
    again = await reopened(tmp_path)
    assert dict(again.networks) == {NETWORK.id: NETWORK}
    assert dict(again.endpoints) == {ENDPOINT.id: ENDPOINT}
    assert again.meta("boot_id") == "x"
    assert again.leases_of(POOL.id) == {LEASE.address: LEASE}
    with sqlite3.connect(tmp_path / state_.FILE) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (state_.VERSION,)
    connection.close()


async def test_pools_come_back_and_go_with_their_leases(
    store: state_.State, tmp_path: Path
) -> None:
    """In memory and on disk: a pool put again is empty, and so is one put in another's place."""
    six = dataclasses.replace(
        POOL,
        id="bgp-ipvlan/fd00:1::/64",
        prefix=ipaddress.ip_network("fd00:1::/64"),
        range=ipaddress.ip_network("fd00:1::/64"),
        last=None,
    )
    resting = dataclasses.replace(LEASE, holding=model.Holding.RESTING)
    for pool in (POOL, six):
        await store.put_pool(pool)
        await store.put_lease(pool, LEASE)
    await store.put_lease(POOL, dataclasses.replace(resting, address=ipaddress.ip_address("::1")))
    await store.put_lease(POOL, resting, without=[ipaddress.ip_address("::1")])
    for one in (store, await reopened(tmp_path)):
        assert dict(one.pools) == {POOL.id: POOL, six.id: six}
        assert one.leases_of(POOL.id) == {LEASE.address: resting}
    await store.put_pool(six, instead_of=[POOL.id])
    for one in (store, await reopened(tmp_path)):
        assert dict(one.pools) == {six.id: six}
        assert not one.leases_of(POOL.id)
        assert not one.leases_of(six.id)
    await store.remove_pool(six.id)
    await store.remove_pool(six.id)
    for one in (store, await reopened(tmp_path)):
        assert not one.pools


async def test_a_newer_file_is_not_touched(tmp_path: Path) -> None:
    """Reason `state-version` after a downgrade."""
    await reopened(tmp_path)
    with sqlite3.connect(tmp_path / state_.FILE) as connection:
        connection.execute(f"PRAGMA user_version = {state_.VERSION + 1}")
    connection.close()
    before = (tmp_path / state_.FILE).read_bytes()
    await _refused(tmp_path, "state-version", "upgrade")
    assert (tmp_path / state_.FILE).read_bytes() == before


async def test_keys_of_other_versions_are_read_over(tmp_path: Path) -> None:
    """A key we do not know is ignored, one that is missing takes its default."""
    store = await state_.State.open(tmp_path)
    await store.put_network(NETWORK)
    await store.close()
    with sqlite3.connect(tmp_path / state_.FILE) as connection:
        connection.execute(
            "UPDATE network SET record = json_remove(json_set(record, '$.later', 1), '$.mtu')"
        )
    connection.close()
    network = (await reopened(tmp_path)).networks[NETWORK.id]
    assert network.mtu is None
    assert network.subnets == NETWORK.subnets


@pytest.mark.parametrize("path", ["$.bgp", "$.bgp.start_gate", "$.bgp.communities"])
async def test_a_record_from_before_the_bgp_options(tmp_path: Path, path: str) -> None:
    """It loads, with the defaults for what it lacks; so does one with a key of a later version."""
    store = await state_.State.open(tmp_path)
    await store.put_network(NETWORK)
    await store.close()
    with sqlite3.connect(tmp_path / state_.FILE) as connection:
        connection.execute("UPDATE network SET record = json_remove(record, ?)", (path,))
        if path != "$.bgp":
            connection.execute("UPDATE network SET record = json_set(record, '$.bgp.later', 1)")
    connection.close()
    bgp = (await reopened(tmp_path)).networks[NETWORK.id].bgp
    default = model.BgpOptions()
    if path == "$.bgp":
        assert bgp == default
    elif path.endswith("gate"):
        assert bgp == dataclasses.replace(NETWORK.bgp, start_gate=default.start_gate)
    else:
        assert bgp == dataclasses.replace(NETWORK.bgp, communities=default.communities)


async def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where the directory should be, a directory where the file should be."""
    (tmp_path / "file").write_text("")
    await _refused(tmp_path / "file", "state-unwritable", "--state-dir")
    (tmp_path / "dir" / state_.FILE).mkdir(parents=True)
    await _refused(tmp_path / "dir", "state-unwritable", "--state-dir")


async def test_files_are_for_root_only(store: state_.State, tmp_path: Path) -> None:
    """What containers there are is nobody else's business."""
    await store.put_network(NETWORK)
    assert (tmp_path / state_.FILE).stat().st_mode & 0o777 == 0o600


async def test_remove_takes_file_and_directory(tmp_path: Path) -> None:
    """All of it goes; a directory with something else in it stays."""
    directory = tmp_path / "deep" / "er"
    await reopened(directory)
    assert state_.remove(directory) == 1
    assert not directory.exists()
    assert state_.remove(directory) == 0
    await reopened(directory)
    (directory / "other").write_text("")
    assert state_.remove(directory) == 1
    assert [path.name for path in directory.iterdir()] == ["other"]


async def _refused(directory: Path, reason: str, remedy: str) -> None:
    with pytest.raises(errors.StateError) as caught:
        await state_.State.open(directory)
    assert caught.value.reason == reason
    assert remedy in str(caught.value)
