"""Real dockerds, each on a lab host of its own. This kernel needs no ipvlan for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab import dockerhost, namespace, newdocker, require

DockerHost = Callable[[str], dockerhost.Docker]


@pytest.fixture
def lab() -> Iterator[namespace.Lab]:
    """A lab that ends with the test."""
    with namespace.Lab() as made:
        yield made


@pytest.fixture(params=["debian", "new"])
def version(request: pytest.FixtureRequest) -> str:
    """Debian 12's Docker (20.10) and a newer one (28.x)."""
    return str(request.param)


@pytest.fixture
def docker_host(lab: namespace.Lab) -> DockerHost:
    """Boots a host with dockerd of that version, and eth1 on a wire to a silent neighbour."""

    def boot(version: str) -> dockerhost.Docker:
        host = lab.host("host-a")
        neighbor = lab.host("neighbor")
        lab.wire(
            namespace.Port(host, "eth1", ("192.0.2.1/24",)),
            namespace.Port(neighbor, "eth1", ("192.0.2.2/24",)),
        )
        docker = dockerhost.Docker(host, engine(version))
        docker.start()
        return docker

    return boot


def engine(version: str) -> dockerhost.Engine:
    """The engine of a version; builds the newer one's folder if nobody did."""
    if version == "debian":
        return dockerhost.DEBIAN
    try:
        newdocker.ensure(lambda _line: None)
    except namespace.LabError as error:
        if require.in_ci():
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"the newer Docker could not be built: {error}")
    return dockerhost.NEW
