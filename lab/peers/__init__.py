"""Foreign BGP speakers on the lab's hosts: BIRD, FRR, GoBGP, OpenBGPD, ExaBGP, as real processes.

Each has the same small face, `common.Peer`: start, announce and withdraw, witness calls in the
daemon's own tool (birdc, vtysh, gobgp, bgpctl; of ExaBGP what it tells its script), stop, kill.
What one cannot raises `Unsupported`. What a test needs beyond that goes into `extra`, in the
daemon's own configuration language, or through `ctl`. Nothing of ours takes part, so what they
say is evidence.
"""

from lab.peers.bird import Bird
from lab.peers.common import (
    Learned,
    Neighbor,
    Originated,
    Peer,
    Speaker,
    Unsupported,
    wait_count,
    wait_established,
    wait_forgotten,
    wait_learned,
)
from lab.peers.exabgp import ExaBgp
from lab.peers.frr import Frr
from lab.peers.gobgp import GoBgp
from lab.peers.openbgpd import OpenBgpd

__all__ = [
    "Bird",
    "ExaBgp",
    "Frr",
    "GoBgp",
    "Learned",
    "Neighbor",
    "OpenBgpd",
    "Originated",
    "Peer",
    "Speaker",
    "Unsupported",
    "wait_count",
    "wait_established",
    "wait_forgotten",
    "wait_learned",
]
