"""Whatever Docker does, forgets or repeats, and whenever we are restarted: no address twice."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bgp_ipvlan import errors, model, ownership, plan
from bgp_ipvlan.docker import ipam
from tests.unit.docker import conftest as c
from tests.unit.docker import test_ipam as t


class Docker(RuleBasedStateMachine):
    """Dockerd with one network, as far as it needs addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="ipam"))
        self.runner = asyncio.Runner()
        self.numbers = itertools.count(1)
        self.running: dict[model.Address, str] = {}
        """Address → endpoint."""
        self.lost: dict[model.Address, float] = {}
        """Given, and not heard of since then."""
        self.it = t.Ipam(self.runner.run(c.build(self.directory)))

    @initialize(pool=st.sampled_from(["10.1.1.0/29", "10.1.1.0/28", "10.1.1.8/30"]))
    def create(self, pool: str) -> None:
        """`docker network create`."""
        self.pool = self.runner.run(self.it.network(pool))
        found = ipaddress.ip_network(self.pool)
        self.usable = [a for a in found if plan.pools.contains(found, a)]
        self.gateway = self.usable[0]

    # --- what Docker does ---------------------------------------------------------

    @rule()
    def run_any(self) -> None:
        """`docker run`."""
        if {*self.running, *self._coming(), self.gateway} != set(self.usable):
            self._run("")
        else:
            with pytest.raises(errors.Refused, match="no free address"):
                self._run("")

    @rule(data=st.data())
    def run_named(self, data: st.DataObject) -> None:
        """`docker run --ip`: refused exactly when somebody has it, or may be getting it."""
        wanted = data.draw(st.sampled_from(self.usable))
        if wanted in self.running or wanted in self._coming() or wanted == self.gateway:
            with pytest.raises(errors.Refused):
                self._run(str(wanted))
        else:
            self._run(str(wanted))
            assert wanted in self.running

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """`docker stop`."""
        address = data.draw(st.sampled_from(sorted(self.running)))
        self._end(self.running.pop(address))
        self._release(address)

    @rule()
    def ask_and_die(self) -> None:
        """Dockerd, or our answer, is lost right after RequestAddress."""
        try:
            address = ipaddress.ip_address(self.runner.run(self.it.address(self.pool)))
        except errors.Refused:
            return
        assert address not in self.running
        assert address not in self._coming()
        self.lost[address] = self._now()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """A container ends while nobody hears of it; its endpoint is found gone."""
        address = data.draw(st.sampled_from(sorted(self.running)))
        given = self.it.world.state.leases_of(self.it.ids[self.pool])[address].since
        self._end(self.running.pop(address))
        self.lost[address] = given

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def release_late(self, data: st.DataObject) -> None:
        """After all, perhaps when another container has it."""
        address = data.draw(st.sampled_from(sorted(self.lost)))
        del self.lost[address]
        self._release(address)

    @rule(data=st.data())
    def release_again(self, data: st.DataObject) -> None:
        """What is nobody's, or even a container's: it stays its own."""
        address = data.draw(st.sampled_from(self.usable))
        if address not in self._coming():
            self._release(address)

    @rule(seconds=st.sampled_from([1.0, ipam.COMING + 1]))
    def later(self, seconds: float) -> None:
        """Time goes on."""
        self.it.later(seconds)

    @rule()
    def restart(self) -> None:
        """Ours, without a goodbye."""
        old = self.it.world
        new = self.runner.run(c.build(self.directory))
        new.now.append(old.now[-1])
        new.links.links, new.links.specs = old.links.links, old.links.specs
        self.it = t.Ipam(new)
        self.runner.run(old.state.close())

    # --- the end ------------------------------------------------------------------

    def teardown(self) -> None:
        """All stops: every address is there again, once."""
        try:
            if hasattr(self, "pool"):
                self._drain()
        finally:
            self.runner.run(self.it.world.state.close())
            self.runner.close()
            shutil.rmtree(self.directory)

    def _drain(self) -> None:
        for address, endpoint in self.running.items():
            self._end(endpoint)
            self._release(address)
        self.running.clear()
        self.it.later()
        for _ in self.usable[1:]:
            self._run("")
        assert {self.gateway, *self.running} == set(self.usable)
        with pytest.raises(errors.Refused):
            self._run("")

    def _now(self) -> float:
        return self.it.world.now[-1]

    def _coming(self) -> set[model.Address]:
        """Lost a moment ago: as far as anybody knows, on their way to a container."""
        return {a for a, since in self.lost.items() if self._now() - since <= ipam.COMING}

    def _run(self, wanted: str) -> None:
        endpoint = f"{next(self.numbers):064x}"
        address = ipaddress.ip_address(self.runner.run(self.it.address(self.pool, wanted)))
        assert address not in self.running
        assert address not in self._coming()
        assert address != self.gateway
        length = self.pool.partition("/")[2]
        body = c.endpoint_body(endpoint, c.NET, f"{address}/{length}")
        self.runner.run(self.it.world.call("CreateEndpoint", **body))
        self.runner.run(self.it.world.call("Join", **c.ref(endpoint)))
        self.running[address] = endpoint
        self.lost.pop(address, None)

    def _end(self, endpoint: str) -> None:
        self.runner.run(self.it.world.call("Leave", **c.ref(endpoint)))
        self.runner.run(self.it.world.call("DeleteEndpoint", **c.ref(endpoint)))
        assert ownership.link_name(endpoint) not in self.it.world.links.links

    def _release(self, address: model.Address) -> None:
        self.runner.run(self.it.release(self.pool, str(address)))


TestPool = Docker.TestCase
TestPool.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
