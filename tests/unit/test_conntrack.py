"""Who asks for connection tracking entries to go is never refused, and never waits long."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import threading
from collections.abc import Collection
from pathlib import Path

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.kernel import conntrack

ADDRESSES = [ipaddress.ip_address(f"10.1.1.{number}") for number in range(1, 51)]


class Table:
    """In place of the table: who was asked for, in which passes; a pass may be held up or fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passes: list[set[model.Address]] = []
        self.error: Exception | None = None
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        monkeypatch.setattr(conntrack, "_forget", self.forget)

    def forget(self, addresses: Collection[model.Address]) -> int:
        """Behave as `conntrack._forget`."""
        self.passes.append(set(addresses))
        self.begun.set()
        assert self.go_on.wait(20)
        if self.error is not None:
            raise self.error
        return 1


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Table:
    """A table; warnings are kept."""
    caplog.set_level(logging.WARNING, logger="bgp_ipvlan")
    return Table(monkeypatch)


async def test_callers_share_a_pass(table: Table) -> None:
    """Fifty containers end while the table is read for one: one more pass does for all of them."""
    table.go_on.clear()
    ours = conntrack.KernelConntrack()
    first, *others = ADDRESSES
    async with asyncio.TaskGroup() as group:
        group.create_task(ours.forget([first]))
        await asyncio.to_thread(table.begun.wait, 20)
        for other in others:
            group.create_task(ours.forget([other]))
            for _ in range(3):
                await asyncio.sleep(0)  # it has asked, and would have its pass by now
        table.go_on.set()

    assert table.passes == [{first}, set(others)]


async def test_one_that_gives_up_takes_nobody_along(table: Table) -> None:
    """Of two that wait for the same pass one is cancelled: the other is served."""
    table.go_on.clear()
    ours = conntrack.KernelConntrack()
    async with asyncio.TaskGroup() as group:
        group.create_task(ours.forget(ADDRESSES[:1]))
        await asyncio.to_thread(table.begun.wait, 20)
        given_up = group.create_task(ours.forget(ADDRESSES[1:2]))
        served = group.create_task(ours.forget(ADDRESSES[2:3]))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        table.go_on.set()

    assert (given_up.cancelled(), served.cancelled()) == (True, False)
    assert table.passes == [{ADDRESSES[0]}, {ADDRESSES[1], ADDRESSES[2]}]


async def test_nobody_no_pass(table: Table) -> None:
    """An endpoint without addresses costs nothing."""
    await conntrack.KernelConntrack().forget([])

    assert table.passes == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EPERM, os.strerror(errno.EPERM)), "reason=conntrack-refused error=EPERM"),
        (KeyError(1), "BUG conntrack"),
    ],
)
async def test_failure_is_logged_and_no_more(
    table: Table, caplog: pytest.LogCaptureFixture, error: Exception, said: str
) -> None:
    """Docker's call goes on; the next one is served as if nothing had been."""
    table.error = error
    ours = conntrack.KernelConntrack()
    await ours.forget(ADDRESSES[:1])
    await ours.forget(ADDRESSES[1:2])

    assert [said in line for line in caplog.messages] == [True, True]
    assert table.passes == [{ADDRESSES[0]}, {ADDRESSES[1]}]


async def test_slow_table(
    table: Table, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks waits for `BOUND` at most, and the pass goes on without him."""
    monkeypatch.setattr(conntrack, "BOUND", 0.01)
    table.go_on.clear()
    ours = conntrack.KernelConntrack()
    await ours.forget(ADDRESSES[:1])
    assert "reason=conntrack-slow" in caplog.text

    table.go_on.set()
    monkeypatch.setattr(conntrack, "BOUND", 20.0)
    await ours.forget(ADDRESSES[1:2])
    assert table.passes == [{ADDRESSES[0]}, {ADDRESSES[1]}]


@pytest.mark.parametrize("count", [None, "0\n"])
async def test_kernel_that_tracks_nothing(
    count: str | None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """No socket is opened, which would load modules; and no word about it."""
    where = tmp_path / "nf_conntrack_count"
    if count is not None:
        where.write_text(count)
    opened: list[int] = []
    monkeypatch.setattr(conntrack, "_COUNT", where)
    monkeypatch.setattr(conntrack, "_open", lambda: opened.append(1))
    await conntrack.KernelConntrack().forget(ADDRESSES)

    assert (opened, caplog.messages) == ([], [])
