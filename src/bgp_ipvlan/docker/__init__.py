"""The front door: what dockerd calls over the plugin socket.

network.py  the life of a network and an endpoint: start reading here
ipam.py     subnets and addresses for --ipam-driver bgp-ipvlan
server.py   HTTP                 wire.py        shapes
options.py  -o KEY=VALUE         attributes.py  the values of -o bgp.…
"""

from bgp_ipvlan.docker import ipam, network, options, server

__all__ = ["ipam", "network", "options", "server"]
