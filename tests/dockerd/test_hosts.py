"""The lab's Docker hosts are what the other tests take them for."""

from __future__ import annotations

from lab import dockerhost
from tests.dockerd import conftest


def test_each_version_runs_a_container_on_a_host_of_its_own(
    docker_host: conftest.DockerHost, version: str
) -> None:
    """Dockerd of that version is up, runs a container, and knows nothing of the machine's."""
    docker = docker_host(version)
    major = int(docker.version().split(".")[0])
    assert major == 20 if version == "debian" else major >= 28
    shown = docker.run("run", "--rm", "--network", "none", dockerhost.IMAGE, "ip", "addr")
    assert "127.0.0.1/8" in shown
    assert docker.run("network", "ls", "--format", "{{.Name}}").split() == ["host", "none"]
