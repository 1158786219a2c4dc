"""Makes the captured part of the corpus: what BIRD, FRR and GoBGP send in the lab.

    python -m tests.fuzz record              (root; the daemons of scripts/setup)

Our own session is the neighbour that offers everything, in a process on a host of its own,
and its octets are what is recorded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, session, update
from lab import namespace, peers
from tests.fuzz import corpus, messages, oracle, script, sessions

US, THEM, US6, THEM6 = "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"
SETTINGS = sessions.EBGP | sessions.ADD_PATH | sessions.RESTART
ROOT = Path(__file__).parents[2]
_ORIGINATE = ("10.2.0.0/16", "10.2.128.0/17", "10.2.3.4/32", "2001:db8:2::/48", "2001:db8:3::/64")
_LATER = "10.9.0.0/20"
_PATIENCE = 20.0
_BIRD = """
protocol static rich {
  ipv4 { import filter {
    bgp_community.add((65002, 7));
    bgp_large_community.add((65002, 1, 2));
    bgp_ext_community.add((rt, 65002, 9));
    bgp_med = 17; bgp_origin = ORIGIN_INCOMPLETE;
    bgp_path.prepend(65010); bgp_path.prepend(4200000009);
    accept; }; };
  route 10.20.0.0/16 blackhole;
  route 10.20.7.0/24 blackhole;
}
"""
_FRR = """\
 address-family ipv4 unicast
  neighbor 192.0.2.1 route-map RICH out
  neighbor 192.0.2.1 addpath-tx-all-paths
  aggregate-address 10.2.0.0/15 as-set
 exit-address-family
exit
route-map RICH permit 10
 set community 65002:7 no-export additive
 set large-community 65002:1:2
 set extcommunity rt 65002:9
 set metric 17
 set as-path prepend 65010 4200000009
"""


def write() -> None:
    """Record each daemon and write both corpora."""
    of_messages: dict[str, bytes] = {}
    of_sessions: dict[str, bytes] = {}
    for name, stream in _streams():
        step = script.Step(script.Kind.RAW, stream)
        of_sessions[name] = script.Script(SETTINGS, 0, (step,)).encode()
        of_messages |= _messages(name, stream)
    for target, inputs in (("messages", of_messages), ("sessions", of_sessions)):
        corpus.save(target, "captured", inputs, "Sent by daemons in the lab; see record.py.")


def _streams() -> Iterator[tuple[str, bytes]]:
    speaker = peers.Speaker(
        local_as=sessions.THEIR_AS,
        router_id=THEM,
        neighbors=(peers.Neighbor(address=US, remote_as=sessions.OUR_AS, hold_time=30),),
        originate=_ORIGINATE,
        ipv6=True,
    )
    makers: dict[str, Callable[[namespace.Host], peers.Peer]] = {
        "bird": lambda host: peers.Bird(host, dataclasses.replace(speaker, extra=_BIRD)),
        "frr": lambda host: peers.Frr(host, dataclasses.replace(speaker, extra=_FRR)),
        "gobgp": lambda host: peers.GoBgp(host, speaker),
    }
    for name, make in makers.items():
        with namespace.Lab() as lab:
            near, far = lab.host("us"), lab.host("them")
            lab.wire(
                namespace.Port(near, "eth1", (f"{US}/24", f"{US6}/64")),
                namespace.Port(far, "eth1", (f"{THEM}/24", f"{THEM6}/64")),
            )
            yield name, _record(near, make(far))


def _record(host: namespace.Host, peer: peers.Peer) -> bytes:
    peer.start()
    if isinstance(peer, peers.GoBgp):
        rich = "med 17 community 65002:7 large-community 65002:1:2 rt 65002:9 origin egp"
        words = ("add", "-a", "ipv4", "10.20.0.0/16", "aspath", "65010,4200000009", *rich.split())
        peer.host.run("gobgp", "global", "rib", *words)
    recorder = host.start(
        *(sys.executable, "-m", "tests.fuzz.record"),
        log="recorder.log",
        env={"PYTHONPATH": f"{ROOT}:{ROOT}/src"},
    )

    def has(word: str) -> Callable[[], bool]:
        return lambda: word in recorder.output().partition("Asked")[2]

    try:
        namespace.wait_until(has(_ORIGINATE[-1]), "all to come again", timeout=_PATIENCE)
        namespace.wait_until(has(_ORIGINATE[0]), "all to come again", timeout=_PATIENCE)
    except namespace.LabError as error:
        raise namespace.LabError(f"{error}\n{recorder.tail()}\n{peer.process.tail()}") from None
    peer.announce(_LATER)
    namespace.wait_until(has(_LATER), "one more prefix")
    peer.withdraw(_LATER)
    namespace.wait_until(has(f"-{_LATER}"), "its withdrawal")
    if isinstance(peer, peers.Bird):
        peer.ctl('disable to_192_0_2_1 "moving house"')
    elif isinstance(peer, peers.Frr):
        peer.configure(f"neighbor {US} shutdown message moving house")
    else:
        peer.host.run("gobgp", "neighbor", US, "shutdown", "moving house")
    recorder.wait()
    lines = [line for line in recorder.output().splitlines() if line.startswith('{"octets"')]
    return b"".join(bytes.fromhex(json.loads(line)["octets"]) for line in lines)


def _messages(name: str, stream: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {f"{name}-stream": bytes((1, 0)) + stream}
    modes = messages.FOUR_OCTET_AS | messages.EBGP
    for one in oracle.read(stream):
        if one.kind == oracle.OPEN:
            found[f"{name}-open"] = bytes((2, 0)) + one.body
            # ADD-PATH: both families to be sent, or none (capability 69).
            sends = (
                b"\x45\x04\x00\x01\x01\x02" in one.body or b"\x45\x08\x00\x01\x01\x02" in one.body
            )
            modes |= (messages.PATHS_V4 | messages.PATHS_V6) * sends
        elif one.kind in {oracle.UPDATE, oracle.NOTIFICATION}:
            kind, first = ("update", 0) if one.kind == oracle.UPDATE else ("notification", 4)
            data = bytes((first, modes if one.kind == oracle.UPDATE else 0)) + one.body
            if data not in found.values():
                found[f"{name}-{kind}-{len(found)}"] = data
    return found


# --- on the lab's host ------------------------------------------------------------------


def main() -> None:
    """Be the neighbour: print octets and events as they come, until the session ends."""
    families = frozenset(model.Family)
    neighbor = model.NeighborConfig(
        address=ipaddress.ip_address(THEM), remote_as=sessions.THEIR_AS, hold_time=30
    )
    one = session.Session(
        model.SpeakerConfig(local_as=sessions.OUR_AS, router_id=ipaddress.IPv4Address(US)),
        neighbor,
        restart=capability.GracefulRestart(
            restarted=False, time=30, families=dict.fromkeys(families, True), notification=True
        ),
        now=time.monotonic(),
        address=ipaddress.ip_address(US),
    )
    waiting = set(families)
    with _connection() as sock:
        while not one.closed:
            sock.sendall(one.take())
            data = sock.recv(65536)
            if not data:
                break
            print(json.dumps({"octets": data.hex()}), flush=True)
            for event in one.receive(data, time.monotonic()):
                _tell(event)
                if isinstance(event, session.Established):
                    # FRR says its own only then.
                    one.send(*map(update.end_of_rib, sorted(families)))
                if isinstance(event, session.EndOfRib) and event.family in waiting:
                    waiting.discard(event.family)
                    if not waiting:
                        one.send(*map(update.route_refresh, sorted(families)))
                        print("Asked", flush=True)


def _connection() -> socket.socket:
    """The daemon may need a moment, or refuse us while it connects itself."""
    until = time.monotonic() + _PATIENCE
    while True:
        with contextlib.suppress(ConnectionError):
            return socket.create_connection((THEM, 179), timeout=_PATIENCE)
        if time.monotonic() > until:
            raise TimeoutError(THEM)
        time.sleep(0.2)


def _tell(event: session.Event) -> None:
    words = [type(event).__name__]
    if isinstance(event, session.Learned):
        sign = "" if event.path else "-"
        words += [sign + str(model.prefix(event.family, key)) for key in event.prefixes]
    print(*words, flush=True)


if __name__ == "__main__":
    main()
