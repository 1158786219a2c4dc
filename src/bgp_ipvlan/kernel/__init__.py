"""The kernel: links, routes, events. The only place that speaks netlink.

links.py       make and delete ipvlan slaves          namespaces.py  find them in containers
routes.py      write routes, read them back           pack.py, readback.py, nexthops.py  its parts
rules.py       which tables are looked into
monitor.py     what the kernel tells                  devices.py     link and address messages
arp.py         what a LAN may not be asked for        nftables.py    its rules
conntrack.py   flows of addresses that are gone      announced.py   routes for a routing daemon to read
netlink.py     sockets, requests, attributes
"""

from bgp_ipvlan.kernel import announced, arp, conntrack, links, monitor, namespaces, routes

__all__ = ["announced", "arp", "conntrack", "links", "monitor", "namespaces", "routes"]
