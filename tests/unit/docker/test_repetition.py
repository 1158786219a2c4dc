"""Every order and repetition of calls, for known and unknown ids, with failures in between.

A model knows only what libnetwork's rules say; after each call state, links and answer
must agree with it (Docker driver protocol sheet, section 2.8).
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from bgp_ipvlan import errors, ownership
from tests.unit.docker import conftest as c

NETS = {c.NET: 1, c.NET2: 2, "0" * 64: 3}
ENDS = [c.END, c.END2, "1" * 64]
nets, ends = st.sampled_from(list(NETS)), st.sampled_from(ENDS)


@dataclasses.dataclass
class End:
    """An endpoint as Docker thinks of it."""

    network: str
    address: str
    joined: bool = False
    link: bool = False
    """Made, and not moved into a container."""


class Door(stateful.RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory(prefix="bgp-ipvlan-door-")
        self.world = self.runner.run(c.build(Path(self.directory.name)))
        self.nets: dict[str, str] = {}
        self.ends: dict[str, End] = {}
        self.failing: set[str] = set()

    def teardown(self) -> None:
        """The state on disk is the one in memory."""
        networks = dict(self.world.state.networks)
        endpoints = dict(self.world.state.endpoints)
        self.runner.run(self.world.state.close())
        again = self.runner.run(c.build(Path(self.directory.name)))
        assert (dict(again.state.networks), dict(again.state.endpoints)) == (networks, endpoints)
        self.runner.run(again.state.close())
        self.runner.close()
        self.directory.cleanup()

    def call(self, name: str, body: dict[str, Any]) -> str:
        """Call; the reason it was refused for, or an empty text."""
        try:
            answer = self.runner.run(self.world.call(name, **body))
        except errors.Error as error:
            return error.reason
        assert isinstance(answer, dict)
        return ""

    def expect(self, name: str, body: dict[str, Any], reason: str, *, may_fail: str = "") -> bool:
        """Call; True if it did what it should, False if a failure ordered came in between."""
        got = self.call(name, body)
        if got == "kernel-refused" and may_fail in self.failing:
            assert reason in {"", got}
            self.failing.discard(may_fail)
            return False
        assert got == reason, (name, body)
        return not reason

    @stateful.rule(operation=st.sampled_from(["ensure_slave", "ipvlan_available", "scan_slaves"]))
    def fail(self, operation: str) -> None:
        """The next operation of that kind fails."""
        self.failing.add(operation)
        self.world.links.fail(operation)

    @stateful.rule(net=nets, mtu=st.sampled_from(["", "1400"]))
    def create_network(self, net: str, mtu: str) -> None:
        """New, again, or again with another configuration."""
        number = NETS[net]
        options: dict[str, Any] = {"mtu": mtu} if mtu else {}
        body = c.network_body(net, gateway=f"10.{number}.1.1/24", **options)
        body["IPv4Data"][0]["Pool"] = f"10.{number}.1.0/24"
        known = self.nets.get(net)
        reason = "network-exists" if known not in {None, mtu} else ""
        shim = ownership.link_name(net)
        got = self.call("CreateNetwork", body)
        if got == "kernel-refused":
            operation = "ensure_slave"
            if known is None and "ipvlan_available" in self.failing:
                operation = "ipvlan_available"
            assert operation in self.failing
            self.failing.discard(operation)
        else:
            assert got == reason
            if not got:
                self.nets[net] = mtu
                assert shim in self.world.links.links

    @stateful.rule(net=nets)
    def delete_network(self, net: str) -> None:
        """Known or not, with endpoints or without."""
        assert self.call("DeleteNetwork", {"NetworkID": net}) == ""
        self.nets.pop(net, None)
        self.ends = {id_: end for id_, end in self.ends.items() if end.network != net}

    @stateful.rule(net=nets, end=ends, host=st.integers(1, 4))
    def create_endpoint(self, net: str, end: str, host: int) -> None:
        """New, again, for an unknown network, with an address that is taken or the gateway's."""
        address = f"10.{NETS[net]}.1.{host}/24"
        known = self.ends.get(end)
        other = next((i for i, e in self.ends.items() if e.address == address and i != end), None)
        if net not in self.nets:
            reason = "unknown-network"
        elif known is not None:
            reason = "" if (known.network, known.address) == (net, address) else "endpoint-exists"
        elif host == 1:
            reason = "address-reserved"
        elif other is not None and self.ends[other].joined:
            reason = "address-in-use"
        else:
            reason = ""
        got = self.call("CreateEndpoint", c.endpoint_body(end, net, address))
        if got == "kernel-refused":
            assert other is not None
            assert "scan_slaves" in self.failing
            self.failing.discard("scan_slaves")
            return
        assert got == reason
        if not reason and known is None:
            self.ends[end] = End(net, address)
            if other is not None:
                del self.ends[other]

    @stateful.rule(net=nets, end=ends)
    def join(self, net: str, end: str) -> None:
        """Known or not, again, of another network."""
        known = self.ends.get(end)
        if net not in self.nets:
            reason = "unknown-network"
        elif known is None or known.network != net:
            reason = "unknown-endpoint"
        else:
            reason = ""
        # A failure meets the shim, which is made sure of first: then nothing has changed.
        if self.expect("Join", c.ref(end, net), reason, may_fail="ensure_slave"):
            assert known is not None
            known.joined = known.link = True

    @stateful.rule(net=nets, end=ends)
    def leave(self, net: str, end: str) -> None:
        """Known or not, joined or not."""
        assert self.call("Leave", c.ref(end, net)) == ""
        if end in self.ends:
            self.ends[end].joined = False

    @stateful.rule(net=nets, end=ends)
    def delete_endpoint(self, net: str, end: str) -> None:
        """Known or not, in whatever part of its life."""
        assert self.call("DeleteEndpoint", c.ref(end, net)) == ""
        self.ends.pop(end, None)

    @stateful.rule(end=ends)
    def look(self, end: str) -> None:
        """Calls that only ask."""
        assert self.call("EndpointOperInfo", c.ref(end)) == ""
        assert self.call("RevokeExternalConnectivity", c.ref(end)) == ""

    @stateful.invariant()
    def all_agree(self) -> None:
        """State, links and what the core was told are what the model says."""
        state, links = self.world.state, self.world.links
        assert {n: str(x.mtu or "") for n, x in state.networks.items()} == self.nets
        assert {
            i: (e.network_id, str(e.addresses[0]), e.joined) for i, e in state.endpoints.items()
        } == {i: (e.network, e.address, e.joined) for i, e in self.ends.items()}
        shims = {ownership.link_name(net) for net in self.nets}
        slaves = {ownership.link_name(i) for i, end in self.ends.items() if end.link}
        assert links.ours() == shims | slaves
        self.world.core.check()


TestDoor = Door.TestCase
TestDoor.settings = hypothesis.settings(max_examples=60, stateful_step_count=30, deadline=None)
