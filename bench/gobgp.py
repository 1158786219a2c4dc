"""Ways from a gobgpd into the FIB of its host; each an `installers.Installer`.

`Table`: our daemon with --engine gobgp, which reads the table after a burst. `Stream`: the same,
but each change by itself, as gobgpd tells it. `Session`: our daemon with its own speaker, as a
route-reflector client of gobgpd on loopback.
"""

from __future__ import annotations

from bench import contenders, installers, transfer
from bench.sender import HOLD_TIME
from lab import namespace, peers, process

CLIENT = "127.0.0.2"
"""Our speaker, as gobgpd knows it: 127.0.0.1 is what gobgpd's own end has."""


def _daemon(host: namespace.Host, extra: str = "") -> peers.GoBgp:
    neighbor = peers.Neighbor(
        address=str(transfer.SENDER),
        remote_as=contenders.AS,
        passive=True,
        hold_time=HOLD_TIME,
        graceful_restart=False,
    )
    speaker = peers.Speaker(
        local_as=contenders.AS,
        router_id=transfer.RECEIVER,
        neighbors=(neighbor,),
        ipv6=True,
        extra=extra,
    )
    return peers.GoBgp(host, speaker)


class Table(installers.Speaker):
    """`bgp-ipvlan run --engine gobgp`, attached."""

    without = ""

    def __init__(self, host: namespace.Host) -> None:
        self._gobgpd = _daemon(host)
        self._agent = installers.ours(host, "--engine", "gobgp", without=self.without)

    def start(self) -> None:
        """First gobgpd; ours says when it is ready."""
        self._gobgpd.start()
        self._agent.start()

    def established(self) -> bool:
        """By our own control socket."""
        return bool(self._agent.ask("status")["neighbors"]["established"])

    @property
    def processes(self) -> tuple[process.Process, ...]:
        """Both have the routes."""
        return (self._gobgpd.process, self._agent.process)


class Stream(Table):
    """Changes one by one, however many there are."""

    without = "bursts"


class Session(installers.Speaker):
    """A BGP session between the two."""

    def __init__(self, host: namespace.Host) -> None:
        extra = f"""
[[neighbors]]
  [neighbors.config]
    neighbor-address = "{CLIENT}"
    peer-as = {contenders.AS}
  [neighbors.transport.config]
    passive-mode = true
  [neighbors.route-reflector.config]
    route-reflector-client = true
    route-reflector-cluster-id = "{transfer.RECEIVER}"
"""
        self._gobgpd = _daemon(host, extra)
        neighbor = f"127.0.0.1,local={CLIENT},hold={HOLD_TIME},no-graceful-restart"
        self._agent = installers.ours(
            host, "--router-id", CLIENT, "--listen-port", "0", "--neighbor", neighbor
        )

    def start(self) -> None:
        """Likewise."""
        self._gobgpd.start()
        self._agent.start()

    def established(self) -> bool:
        """Both sessions."""
        return self._gobgpd.established(str(transfer.SENDER)) and self._gobgpd.established(CLIENT)

    @property
    def processes(self) -> tuple[process.Process, ...]:
        """Both have the routes."""
        return (self._gobgpd.process, self._agent.process)
