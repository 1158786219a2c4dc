"""The kernel: links, routes, events. The only place that speaks netlink.

links.py       make and delete ipvlan slaves          namespaces.py  find them in containers
routes.py      write routes, read them back           pack.py, readback.py, nexthops.py  its parts
monitor.py     what the kernel tells                  devices.py     link and address messages
netlink.py     sockets, requests, attributes
"""

from bgp_ipvlan.kernel import links, monitor, routes

__all__ = ["links", "monitor", "routes"]
