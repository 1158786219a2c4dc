"""Our own daemon on a lab host, and what talks to it: the command line, and Docker's calls.

`Agent` runs `bgp-ipvlan run` as a user would. `Plugin` sends the calls dockerd sends, and
`Container` does with the link what libnetwork does: for tests that need no dockerd.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from lab import namespace, process

COMMAND = Path(sys.prefix) / "bin" / "bgp-ipvlan"
PLUGIN_SOCKET = "run/docker/plugins/bgp-ipvlan.sock"


class Agent:
    """`bgp-ipvlan run` on a host.

    Args:
        host: where.
        flags: of the command.
        wrapper: a command line that runs it, such as setpriv with what it may.
    """

    def __init__(self, host: namespace.Host, *flags: str, wrapper: tuple[str, ...] = ()) -> None:
        self.host = host
        self.flags = flags
        self.wrapper = wrapper
        self.process: process.Process

    def start(self, *, timeout: float = 60.0) -> None:
        """Start it and wait until it serves.

        Raises:
            namespace.LabError: it does not; with the end of its log.
        """
        before = self.log().count(" ready ")
        self.process = self.host.start(
            *self.wrapper, COMMAND, "run", *self.flags, log="bgp-ipvlan.log"
        )

        def ready() -> bool:
            if not self.process.alive:
                raise namespace.LabError("it has ended")
            return self.log().count(" ready ") > before

        try:
            namespace.wait_until(ready, f"bgp-ipvlan on {self.host.name}", timeout=timeout)
        except namespace.LabError as error:
            raise namespace.LabError(f"{error}\n{self.process.tail()}") from None

    def log(self) -> str:
        """What it has logged."""
        file = self.host.directory / "bgp-ipvlan.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def run(self, *argv: str, check: bool = True) -> str:
        """One `bgp-ipvlan` command; what it printed."""
        done = self.host.run(COMMAND, *argv, check=check)
        return done.stdout + done.stderr

    def ask(self, command: str) -> Any:
        """`bgp-ipvlan COMMAND --json`, decoded; by its control socket, which is quicker."""
        path = self.host.root / "run/bgp-ipvlan/control.sock"
        with contextlib.closing(_UnixConnection(path)) as connection:
            connection.request("GET", f"/{command}")
            return json.loads(connection.getresponse().read())

    def warnings(self) -> list[str]:
        """Those of `status`, but for what the kernel of the User-mode Linux guests cannot do."""
        found: list[str] = self.ask("status")["warnings"]
        return [text for text in found if not text.endswith("[no-arp-filter]")]

    def established(self, *, count: int = 1, timeout: float = 60.0) -> None:
        """Wait until so many sessions are up and their tables complete."""

        def up() -> bool:
            status = self.ask("status")
            return bool(status["synced"] and status["neighbors"]["established"] >= count)

        namespace.wait_until(up, f"{count} sessions of {self.host.name}", timeout=timeout)

    def stop_command(self, *flags: str) -> str:
        """`bgp-ipvlan stop`, which returns when the daemon is gone; what it printed."""
        printed = self.run("stop", *flags)
        self.process.wait()
        return printed

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        return self.process.stop()

    def kill(self) -> None:
        """SIGKILL, as in a crash."""
        self.process.signal(signal.SIGKILL)
        self.process.kill()


class PluginError(Exception):
    """The plugin refused a call; the message is what Docker's user would read."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Plugin:
    """Calls the plugin as dockerd does.

    Args:
        host: where the plugin listens.
    """

    def __init__(self, host: namespace.Host) -> None:
        self.host = host
        self.containers: list[Container] = []
        """Those that are still there."""

    def call(self, method: str, body: Any = None) -> Any:
        """One call.

        Raises:
            PluginError: not answered with 200.
        """
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/vnd.docker.plugins.v1.2+json"}
        path = self.host.root / PLUGIN_SOCKET
        with contextlib.closing(_UnixConnection(path)) as connection:
            connection.request("POST", f"/{method}", data, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status != 200:
            raise PluginError(response.status, answer["Err"])
        return answer

    def create_network(
        self,
        *subnets: str,
        gateway: str | None = None,
        gateway6: str | None = None,
        internal: bool = False,
        **options: str,
    ) -> str:
        """`docker network create --subnet SUBNET … -o …`; returns the id."""
        network_id = secrets.token_hex(32)
        data: dict[int, list[dict[str, Any]]] = {4: [], 6: []}
        for subnet in subnets:
            version = 6 if ":" in subnet else 4
            one = {"AddressSpace": "LocalDefault", "Pool": subnet, "AuxAddresses": {}}
            given = gateway6 if version == 6 else gateway
            data[version].append(one if given is None else {**one, "Gateway": given})
        all_options: dict[str, Any] = {
            "com.docker.network.enable_ipv6": bool(data[6]),
            "com.docker.network.generic": options,
        }
        if internal:
            all_options["com.docker.network.internal"] = True
        body = {
            "NetworkID": network_id,
            "Options": all_options,
            "IPv4Data": data[4],
            "IPv6Data": data[6],
        }
        self.call("NetworkDriver.CreateNetwork", body)
        return network_id

    def delete_network(self, network_id: str) -> None:
        """`docker network rm`."""
        self.call("NetworkDriver.DeleteNetwork", {"NetworkID": network_id})

    def container(self, network_id: str, address: str, address6: str = "") -> Container:
        """`docker run --network … --ip …`."""
        return Container(self, network_id, address, address6)


class Container:
    """A namespace attached as libnetwork attaches one (protocol sheet, section 3).

    Args:
        plugin: whom to ask.
        network_id: its network.
        address: with its prefix length.
        address6: its IPv6 address, if it has one.
    """

    def __init__(self, plugin: Plugin, network_id: str, address: str, address6: str = "") -> None:
        self.plugin = plugin
        self.host = plugin.host
        self.ids = {"NetworkID": network_id, "EndpointID": secrets.token_hex(32)}
        self.name = "c" + self.ids["EndpointID"][:12]
        self.addresses = [one for one in (address, address6) if one]
        plugin.call(
            "NetworkDriver.CreateEndpoint",
            {
                **self.ids,
                "Interface": {"Address": address, "AddressIPv6": address6, "MacAddress": ""},
                "Options": {"com.docker.network.portmap": []},
            },
        )
        joined = plugin.call(
            "NetworkDriver.Join",
            {**self.ids, "SandboxKey": f"/var/run/docker/netns/{self.name}", "Options": {}},
        )
        self.link = joined["InterfaceName"]["SrcName"]
        plugin.containers.append(self)
        self._attach(joined["StaticRoutes"])

    def _attach(self, routes: list[dict[str, Any]]) -> None:
        commands = [
            f"netns add {self.name}",
            f"link set {self.link} netns {self.name}",
            f"-n {self.name} link set {self.link} name eth0",
            *(f"-n {self.name} address add {a} dev eth0{_nodad(a)}" for a in self.addresses),
            f"-n {self.name} link set lo up",
            f"-n {self.name} link set eth0 up",
            *(f"-n {self.name} route add {r['Destination']} dev eth0 scope link" for r in routes),
        ]
        self.host.run("sh", "-ec", "\n".join(f"ip {command}" for command in commands))

    def run(self, *argv: str, check: bool = True) -> str:
        """A command inside."""
        # nsenter, because `ip netns exec` would give it another /sys.
        inside = ("nsenter", f"--net=/run/netns/{self.name}", "--")
        return self.host.run(*inside, *argv, check=check).stdout

    def ping(self, address: str, *, timeout: float = 3.0) -> bool:
        """Whether an answer came."""
        argv = ("ping", "-n", "-q", "-c", "1", "-W", str(timeout), address)
        inside = ("nsenter", f"--net=/run/netns/{self.name}", "--")
        return self.host.run(*inside, *argv, check=False).returncode == 0

    def remove(self) -> None:
        """Stop the container: Leave, the link comes home, DeleteEndpoint."""
        self.plugin.call("NetworkDriver.Leave", self.ids)
        commands = [
            f"-n {self.name} link set eth0 down",
            f"-n {self.name} link set eth0 name {self.link} netns 1",
        ]
        self.host.run("sh", "-ec", "\n".join(f"ip {command}" for command in commands))
        self.plugin.call("NetworkDriver.DeleteEndpoint", self.ids)
        self.die()

    def die(self) -> None:
        """End the namespace without a word to anybody, as when dockerd crashes with it."""
        self.plugin.containers.remove(self)
        self.host.run("ip", "netns", "del", self.name)


def _nodad(address: str) -> str:
    return " nodad" if ":" in address else ""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("plugin.moby.localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))
