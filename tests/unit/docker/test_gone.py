"""When an endpoint is gone for good the core hears of it, so that its addresses start clean."""

from __future__ import annotations

from tests.unit.docker import conftest as c


async def test_one_that_is_deleted(world: c.World) -> None:
    """Not at Leave, when its container may still send, but when its link is gone; and once."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("Join", **c.ref())
    await world.call("Leave", **c.ref())
    assert world.core.gone == []

    for _ in range(2):
        await world.call("DeleteEndpoint", **c.ref())
        assert world.core.gone == [(c.END, True)]


async def test_one_whose_address_docker_gives_anew(world: c.World) -> None:
    """Before the next one has the address."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("Join", **c.ref())
    await world.call("Leave", **c.ref())
    await world.call("CreateEndpoint", **c.endpoint_body(c.END2))

    assert world.core.gone == [(c.END, True)]


async def test_one_whose_network_is_removed(world: c.World) -> None:
    """All that are still there."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("CreateEndpoint", **c.endpoint_body(c.END2, address="10.1.1.3/24"))
    await world.call("Join", **c.ref())
    await world.call("DeleteNetwork", NetworkID=c.NET)

    assert sorted(world.core.gone) == [(c.END, True), (c.END2, True)]


async def test_one_whose_link_will_not_go(world: c.World) -> None:
    """Told all the same: the link is the audit's to remove, and nobody is in it."""
    await world.call("CreateNetwork", **c.network_body())
    await world.call("CreateEndpoint", **c.endpoint_body())
    await world.call("Join", **c.ref())
    world.links.fail("delete")
    await world.call("DeleteEndpoint", **c.ref())

    assert world.core.gone == [(c.END, False)]
