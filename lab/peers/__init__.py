"""Foreign BGP speakers on the lab's hosts: BIRD, FRR, GoBGP, as real processes.

Each has the same small face: start, announce and withdraw, witness calls in the
daemon's own tool (birdc, vtysh, gobgp), stop, kill. What a test needs beyond
that goes into `extra`, in the daemon's own configuration language, or through
`ctl`. Nothing of ours takes part, so what they say is evidence.
"""

from lab.peers.bird import Bird
from lab.peers.common import (
    Learned,
    Neighbor,
    Peer,
    Speaker,
    wait_established,
    wait_forgotten,
    wait_learned,
)
from lab.peers.frr import Frr
from lab.peers.gobgp import GoBgp

__all__ = [
    "Bird",
    "Frr",
    "GoBgp",
    "Learned",
    "Neighbor",
    "Peer",
    "Speaker",
    "wait_established",
    "wait_forgotten",
    "wait_learned",
]
