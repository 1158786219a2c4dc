"""The front door over a fake kernel, a real state and a core that writes down what it is told."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan import state as state_
from bgp_ipvlan.docker import ipam, network, options, wire
from tests.fakes import links as links_

NET, NET2 = "a" * 64, "b" * 64
END, END2 = "e" * 64, "f" * 64
ETH1 = model.Link(
    index=3,
    name="eth1",
    up=True,
    running=True,
    addresses=(ipaddress.ip_interface("192.0.2.1/24"),),
)


class Core:
    """Implements `network.Core`: remembers what the state was when it was told of a change."""

    def __init__(self, state: state_.State, links: links_.FakeLinks) -> None:
        self._state, self._links = state, links
        self.refuse: errors.Error | None = None
        self.seen: dict[str, tuple[bool, frozenset[str]]] = {}
        """Network id → whether it existed, and its joined endpoints, at the last change told."""
        self.checked: list[tuple[model.Network, bool]] = []
        """What it was asked about, and whether a default pool was accepted."""
        self.gate: Callable[[], Awaitable[None]] | None = None
        """What a start waits for, if it does."""
        self.gated: list[str] = []
        """Endpoints whose start came to the gate."""
        self.gone: list[tuple[str, bool]] = []
        """Endpoints that it was told were gone, and whether their link was, too."""

    async def check_create(self, network: model.Network, *, default_pool_accepted: bool) -> None:
        """Refuse if told to."""
        self.checked.append((network, default_pool_accepted))
        error, self.refuse = self.refuse, None
        if error is not None:
            raise error

    def network_changed(self, network_id: str) -> None:
        """Remember what follows from the state now."""
        self.seen[network_id] = self.now(network_id)

    async def endpoints_gone(self, endpoints: Iterable[model.Endpoint]) -> None:
        """Remember them; nobody has their addresses any more, or has them again."""
        for endpoint in endpoints:
            for other in self._state.endpoints.values():
                assert not {*endpoint.addresses} & {*other.addresses}
            link_gone = ownership.link_name(endpoint.id) not in self._links.links
            self.gone.append((endpoint.id, link_gone))

    async def start_gate(self, network: model.Network, endpoint: model.Endpoint) -> None:
        """Wait, or refuse, as the test says."""
        assert endpoint.network_id == network.id
        self.check()
        self.gated.append(endpoint.id)
        if self.gate is not None:
            await self.gate()

    def now(self, network_id: str) -> tuple[bool, frozenset[str]]:
        """What would follow from the state."""
        joined = [e.id for e in self._state.endpoints_of(network_id) if e.joined]
        return network_id in self._state.networks, frozenset(joined)

    def check(self) -> None:
        """All that was changed was told."""
        for network_id in (*self._state.networks, *self.seen):
            assert self.seen[network_id] == self.now(network_id)


@dataclasses.dataclass
class World:
    """Everything around a driver."""

    state: state_.State
    links: links_.FakeLinks
    core: Core
    driver: network.Driver
    addresses: ipam.Driver
    now: list[float]
    """The time by the IPAM driver's clock, as its last element."""

    async def call(self, name: str, **body: Any) -> wire.Json:
        """One of Docker's calls, through the real decoding."""
        from bgp_ipvlan.docker import server

        driver: object = self.driver
        if name in server._IPAM_CALLS:
            (kind, handler), driver = server._IPAM_CALLS[name], self.addresses
        else:
            kind, handler = server._CALLS[name]
        return await handler(driver, wire.decode(json.dumps(body).encode(), kind))

    async def refused(self, name: str, **body: Any) -> errors.Error:
        """A call that is refused, and its error."""
        with pytest.raises(errors.Error) as caught:
            await self.call(name, **body)
        return caught.value

    async def break_disk(self) -> None:
        """From now on the state cannot be written."""
        await state_._on(
            self.state._thread,
            lambda: self.state._connection.execute("PRAGMA query_only = 1").fetchall(),
        )

    def nothing_left(self) -> None:
        """As if nothing had ever been asked for."""
        assert (dict(self.state.networks), dict(self.state.endpoints)) == ({}, {})
        assert set(self.links.links) == {"eth1"}
        self.core.check()


async def build(directory: Path, defaults: options.Defaults | None = None) -> World:
    """A fresh world."""
    state = await state_.State.open(directory)
    links = links_.FakeLinks(ETH1)
    core = Core(state, links)
    defaults = defaults or options.Defaults(parent="eth1")
    now = [1_000_000.0]
    driver = network.Driver(state, links, core, defaults=defaults, clock=lambda: now[-1])
    addresses = ipam.Driver(state, links, core, defaults=defaults, clock=lambda: now[-1])
    return World(state, links, core, driver, addresses, now)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world with `--host-interface eth1`."""
    found = await build(tmp_path / "state")
    yield found
    found.links.check_consumed()
    await found.state.close()


def network_body(
    id_: str = NET,
    *pools: str,
    gateway: str | None = "10.1.1.1/24",
    internal: bool = False,
    **given: str,
) -> dict[str, Any]:
    """A CreateNetwork as dockerd sends it."""
    data = [
        {"AddressSpace": "LocalDefault", "Pool": pool, "AuxAddresses": {}}
        for pool in pools or ("10.1.1.0/24",)
    ]
    if gateway is not None and not pools:
        data[0]["Gateway"] = gateway
    inner: dict[str, Any] = {
        "com.docker.network.enable_ipv6": False,
        "com.docker.network.generic": {k.replace("__", "."): v for k, v in given.items()},
    }
    if internal:
        inner["com.docker.network.internal"] = True
    return {"NetworkID": id_, "Options": inner, "IPv4Data": data, "IPv6Data": []}


def endpoint_body(
    id_: str = END,
    network_id: str = NET,
    address: str = "10.1.1.2/24",
    *,
    mac: str = "",
    address_ipv6: str = "",
    ports: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A CreateEndpoint as dockerd sends it."""
    return {
        "NetworkID": network_id,
        "EndpointID": id_,
        "Interface": {"Address": address, "AddressIPv6": address_ipv6, "MacAddress": mac},
        "Options": {
            "com.docker.network.endpoint.exposedports": [],
            "com.docker.network.portmap": ports,
        },
    }


def ref(id_: str = END, network_id: str = NET) -> dict[str, Any]:
    """Names an endpoint, as Join does."""
    return {
        "NetworkID": network_id,
        "EndpointID": id_,
        "SandboxKey": "/var/run/docker/netns/0f1e2d3c4b5a",
        "Options": None,
    }


async def settle() -> None:
    """Let tasks that are ready run."""
    for _ in range(5):
        await asyncio.sleep(0)
