"""The daemon and gobgpd in containers, by the documented commands; this needs no ipvlan."""

from __future__ import annotations

import re

import pytest

from lab import dockerhost, image, image_agent, namespace, process, require, uml
from tests.dockerd import conftest

A, B = "192.0.2.1", "192.0.2.2"
OFTEN = ("--health-interval=1s", "--health-start-period=0s")
Pair = tuple[image.Docker, image.Docker]


def built() -> None:
    """Have the images; without them there is nothing to test."""
    try:
        image.ensure(lambda _line: None)
    except (namespace.LabError, process.CommandError) as error:
        if require.in_ci():
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"the images could not be built: {error}")


def pair(lab: namespace.Lab, engine: dockerhost.Engine) -> Pair:
    """Two hosts on a wire, with our images: one with that Docker, one with Debian 12's."""
    built()
    a, b = lab.host("a"), lab.host("b")
    lab.wire(namespace.Port(a, "eth1", (f"{A}/24",)), namespace.Port(b, "eth1", (f"{B}/24",)))
    both = image.Docker(a, engine), image.Docker(b)
    for docker in both:
        docker.start()
    return both


@pytest.fixture
def dockers(lab: namespace.Lab) -> Pair:
    """Two hosts with Debian's Docker: only there can be looked into containers.

    The newer one runs in a chroot, from which `docker exec`, and so a health check, enters the
    mount namespace of a container at its true root, which is the machine's.
    """
    return pair(lab, dockerhost.DEBIAN)


def wait_healthy(docker: image.Docker, name: str) -> None:
    """Wait until Docker's own check of a container says so."""
    healthy = lambda: image_agent.health(docker, name) == "healthy"  # noqa: E731
    namespace.wait_until(healthy, f"{name} to be healthy", timeout=60)


def finds_it(docker: image.Docker) -> None:
    """Dockerd asks the daemon: what it says to a wrong option does not depend on the kernel."""
    create = ("network", "create", "-d", "bgp-ipvlan", "--subnet", "10.1.1.0/24", "-o", "no=such")
    assert "[unknown-option]" in docker.refused(*create, "web")


def test_daemon_in_a_container(dockers: Pair) -> None:
    """It is healthy, dockerd and neighbours find it; when stopped it leaves no socket behind."""
    here, there = dockers
    one, two = image_agent.Agent(here, B, *OFTEN), image_agent.Agent(there, A)
    one.start()
    two.start()
    one.established()
    wait_healthy(here, image.AGENT)
    assert "1 of 1 established" in one.run("status")
    finds_it(here)
    assert one.stop() == 0
    assert not (here.host.root / "run/docker/plugins/bgp-ipvlan.sock").exists()
    here.run("start", image.AGENT)
    one.serves()
    one.established()


def test_newer_docker(lab: namespace.Lab) -> None:
    """What the documented command leaves the daemon is enough with a newer Docker as well."""
    here, there = pair(lab, conftest.engine("new"))
    one, two = image_agent.Agent(here, B), image_agent.Agent(there, A)
    one.start()
    two.start()
    one.established()
    finds_it(here)
    assert one.stop() == 0


def test_dockerd_restarts(dockers: Pair) -> None:
    """With dockerd the daemon ends, and comes back by its restart policy."""
    here, there = dockers
    one, two = image_agent.Agent(here, B), image_agent.Agent(there, A)
    one.start()
    two.start()
    here.stop()
    assert not (here.host.root / "run/docker/plugins/bgp-ipvlan.sock").exists()
    here.start()
    one.serves()
    one.established()


def test_unhealthy_when_it_does_not_answer(dockers: Pair) -> None:
    """A daemon that hangs is unhealthy."""
    here, _ = dockers
    one = image_agent.Agent(here, B, *OFTEN, "--health-timeout=2s", "--health-retries=1")
    one.start()
    wait_healthy(here, image.AGENT)
    here.run("kill", "--signal=STOP", image.AGENT)
    unhealthy = lambda: image_agent.health(here, image.AGENT) == "unhealthy"  # noqa: E731
    namespace.wait_until(unhealthy, "the daemon to be unhealthy", timeout=60)


def test_gobgpd_in_a_container(dockers: Pair) -> None:
    """The daemon asks gobgpd over their folder; one that was killed starts again on its own socket."""
    agents = []
    for docker, me, other in zip(dockers, (A, B), (B, A), strict=True):
        image_agent.Gobgpd(docker, me, *OFTEN).start()
        agents.append(image_agent.Agent(docker, other, *image_agent.Gobgpd.FOR_AGENT))
        agents[-1].start()
    here = dockers[0]
    agents[0].established()
    wait_healthy(here, image.GOBGPD)
    listening = here.host.run("ss", "-Hltn").stdout
    assert [line.split()[3] for line in listening.splitlines() if ":179" not in line] == []

    here.run("kill", image.GOBGPD)
    socket = here.host.root / "run/gobgp/api.sock"
    assert socket.is_socket(), "this test is about a socket that stays"
    here.run("start", image.GOBGPD)
    wait_healthy(here, image.GOBGPD)
    agents[0].established()


def test_compose_says_what_the_documentation_says() -> None:
    """Mounts and capabilities of compose.yaml are those of the documented commands, which are tried."""
    document = (uml.REPOSITORY / "docs/containers.md").read_text()
    compose = (uml.REPOSITORY / "packaging/container/compose.yaml").read_text()
    more = " ".join(image_agent.Gobgpd.FOR_AGENT)
    assert f"    {more}\n" in document
    commands = "\n".join(
        [*re.findall(r"^    docker run(?:.*\\\n)+.*$", document, re.MULTILINE), more]
    )
    mounts = re.findall(r"-v (\S+)", commands)
    assert sorted(re.findall(r"- (/\S+)", compose)) == sorted(mounts)
    given = [cap for line in re.findall(r"cap_add: \[(.*)\]", compose) for cap in line.split(", ")]
    assert given == re.findall(r"--cap-add (\S+)", commands)
    assert compose.count("cap_drop: [ALL]") == compose.count("read_only: true") == 2
