"""The default engine: our own edge speaker, sockets and timers around `bgp`.

engine.py   the port: announcements, tables       peer.py  one neighbour: connections, retries, restart
transport.py  sockets
"""

from bgp_ipvlan.engines.embedded.engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]
