"""Docker 28 of Debian sid: the interface arrives after the namespace, GwAllocCheck is asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import dockerhost
from tests.ipvlan import docker_story


@pytest.fixture(scope="module")
def site() -> Iterator[docker_story.Site]:
    """Two hosts, one with this Docker."""
    with docker_story.site(dockerhost.NEW) as site:
        yield site


def test_whole_life(site: docker_story.Site) -> None:
    """Create, run, reach, stop, start again, remove."""
    docker_story.whole_life(site, gateway_check=True)


def test_dockerd_killed(site: docker_story.Site) -> None:
    """Kill -9 of dockerd does not cut a container off."""
    docker_story.dockerd_killed(site)


def test_own_addresses(site: docker_story.Site) -> None:
    """Subnet and addresses from our IPAM driver."""
    docker_story.own_addresses(site)
