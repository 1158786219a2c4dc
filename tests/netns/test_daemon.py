"""The daemon as a process: what keeps it from starting is one line, and nothing is left."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import agent, namespace


@pytest.fixture
def host() -> Iterator[namespace.Host]:
    """A host with an interface that is up."""
    with namespace.Lab() as lab:
        one, other = lab.host("a"), lab.host("b")
        lab.wire(
            namespace.Port(one, "eth1", ("192.0.2.1/24",)),
            namespace.Port(other, "eth1", ("192.0.2.2/24",)),
        )
        yield one


FLAGS = ("--host-interface", "eth1", "--as", "64512", "--neighbor", "192.0.2.2")


def fails(host: namespace.Host, reason: str, *says: str) -> None:
    """Run it; it must end with status 1, and its last line give the reason and the remedy."""
    done = host.run(agent.COMMAND, "run", *FLAGS, check=False)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("bgp-ipvlan: ")
    assert line.endswith(f"[{reason}]")
    assert "Traceback" not in done.stderr
    for word in says:
        assert word in line


def test_second_daemon(host: namespace.Host) -> None:
    """One per network namespace; the first goes on."""
    first = agent.Agent(host, *FLAGS)
    first.start()

    fails(host, "already-running", "bgp-ipvlan status", "bgp-ipvlan stop")

    assert first.ask("status")["neighbors"]["configured"] == 1


def test_it_is_small(host: namespace.Host) -> None:
    """What only the command line needs is not in its process: idle, 32 MB are usual."""
    daemon = agent.Agent(host, *FLAGS)
    daemon.start()
    agent.Plugin(host).call("Plugin.Activate")
    daemon.ask("status")
    process = Path(f"/proc/{daemon.process.pid}")

    assert "pydantic" not in (process / "maps").read_text()
    resident = re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())
    assert resident is not None
    assert int(resident.group(1)) < 40_000
    # Large blocks go back to the kernel when they are freed.
    assert b"MALLOC_MMAP_THRESHOLD_=4194304" in (process / "environ").read_bytes().split(b"\0")

    code = "import sys; from bgp_ipvlan import app, daemon; print(*sys.modules)"
    loaded = set(host.run(sys.executable, "-c", code).stdout.split())
    assert loaded >= {"asyncio", "h11", "msgspec", "sqlite3"}
    assert not loaded & {"aiohttp", "multiprocessing", "pydantic", "pyroute2", "rich", "typer"}


def test_it_is_known_by_its_name(host: namespace.Host) -> None:
    """The process that was started is the daemon; tools find it by the command and its words."""
    daemon = agent.Agent(host, *FLAGS)
    daemon.start()
    process = Path(f"/proc/{daemon.process.pid}")

    assert (process / "comm").read_text() == "bgp-ipvlan\n"
    words = (process / "cmdline").read_bytes().rstrip(b"\0").decode().split("\0")
    assert words[-len(FLAGS) - 2 :] == [str(agent.COMMAND), "run", *FLAGS]
    assert host.run("pgrep", "-xc", "bgp-ipvlan").stdout == "1\n"


def test_modules_of_the_working_directory_are_not_its_own(host: namespace.Host) -> None:
    """Root may start it anywhere."""
    for name in ("asyncio", "bgp_ipvlan", "msgspec"):
        (host.directory / f"{name}.py").write_text("raise SystemExit('taken over')")
    daemon = agent.Agent(host, *FLAGS, wrapper=("env", f"--chdir={host.directory}"))

    daemon.start()


def test_port_179_in_use(host: namespace.Host) -> None:
    """Another BGP daemon listens: told with the way to find it; our sockets are gone again."""
    listener = "import socket, time; s = socket.create_server(('', 179)); time.sleep(600)"
    host.start("python3", "-c", listener, log="listener.log")
    namespace.wait_until(lambda: ":179" in host.run("ss", "-Hltn").stdout, "the listener")

    fails(host, "port-in-use", "ss -ltnp")

    assert not (host.root / agent.PLUGIN_SOCKET).exists()


def test_corrupt_state(host: namespace.Host) -> None:
    """A damaged state file is named, kept as it is, and the remedy works."""
    host.run("mkdir", "-p", "/var/lib/bgp-ipvlan")
    rubbish = "this is no database " * 500
    host.run("sh", "-c", "cat >/var/lib/bgp-ipvlan/state.db", stdin=rubbish)

    fails(host, "state-corrupt", "/var/lib/bgp-ipvlan/state.db", "move the file away")

    assert host.run("cat", "/var/lib/bgp-ipvlan/state.db").stdout == rubbish
    host.run("mv", "/var/lib/bgp-ipvlan/state.db", "/var/lib/bgp-ipvlan/old.db")
    again = agent.Agent(host, *FLAGS)
    again.start()


def test_no_address_to_be_known_by(host: namespace.Host) -> None:
    """Without an IPv4 address there is no BGP identifier, and a flag to give one."""
    host.run("ip", "address", "flush", "dev", "eth1")

    fails(host, "no-router-id", "--router-id")


def test_sockets_are_for_root_only(host: namespace.Host) -> None:
    """Both sockets have mode 0600, and both are gone after a stop."""
    daemon = agent.Agent(host, *FLAGS)
    daemon.start()
    paths = (agent.PLUGIN_SOCKET, "run/bgp-ipvlan/control.sock")

    for path in paths:
        assert (host.root / path).stat().st_mode & 0o777 == 0o600
    assert daemon.stop() == 0
    for path in paths:
        assert not (host.root / path).exists()


def test_kill_leaves_a_socket_that_is_replaced(host: namespace.Host) -> None:
    """After kill -9 the dead socket is taken over: dockerd would wait 15 s for it."""
    daemon = agent.Agent(host, *FLAGS)
    daemon.start()
    daemon.kill()
    assert (host.root / agent.PLUGIN_SOCKET).exists()

    daemon.start()

    activated = agent.Plugin(host).call("Plugin.Activate")
    assert activated == {"Implements": ["NetworkDriver", "IpamDriver"]}


def test_a_link_that_goes_down_ends_its_sessions() -> None:
    """At once on the host whose link it is, long before the hold time; and it comes back."""
    with namespace.Lab() as lab:
        ends = {name: lab.host(name) for name in ("a", "b")}
        addresses = {"a": "192.0.2.1", "b": "192.0.2.2"}
        lab.wire(*(namespace.Port(ends[n], "eth1", (f"{addresses[n]}/24",)) for n in ends))
        daemons = []
        for name, other in (("a", "b"), ("b", "a")):
            neighbor = f"{addresses[other]},hold=90"
            flags = ("--host-interface", "eth1", "--as", "64512", "--neighbor", neighbor)
            daemons.append(agent.Agent(ends[name], *flags))
            daemons[-1].start()
        for daemon in daemons:
            daemon.established()

        ends["a"].run("ip", "link", "set", "eth1", "down")

        for daemon in daemons:
            namespace.wait_until(
                lambda one=daemon: one.ask("status")["neighbors"]["established"] == 0,  # type: ignore[misc]
                "the session to end",
                timeout=5,
            )
        ends["a"].run("ip", "link", "set", "eth1", "up")
        for daemon in daemons:
            daemon.established()
