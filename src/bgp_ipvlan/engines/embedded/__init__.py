"""The default engine: our own edge speaker, sockets and timers around `bgp`.

engine.py     the port                          neighbors.py  which there are, who may connect
peer.py       one neighbour: retries, collisions  initial.py  its first table, its restart
link.py       a connection with its session     outbox.py     what it is still to be told
learning.py   from what it says to the tables   transport.py, sockets.py  TCP
"""

from bgp_ipvlan.engines.embedded.engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]
