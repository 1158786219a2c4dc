"""The front door: what dockerd calls over the plugin socket.

server.py   HTTP       wire.py  shapes       options.py  -o KEY=VALUE
network.py  the life of a network and an endpoint: start reading here
"""

from bgp_ipvlan.docker import network, options, server

__all__ = ["network", "options", "server"]
