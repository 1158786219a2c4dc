"""Decisions, pure: state → what we announce and route; best paths → routes or a reason why not.

    own.py      our networks → announcements, blackholes, host routes
    learned.py  what neighbours announce → a route, or a refusal with its reason
    claims.py   a learned prefix that is the very same as one of ours
    create.py   may this network be created?
    pools.py    which subnet for a network, which address for a container
    arp.py      what nobody on a parent's LAN may be asked for

Values in, values out; no I/O, no clock, nothing remembered between calls.
"""

from bgp_ipvlan.plan import arp, claims, create, learned, own, pools

__all__ = ["arp", "claims", "create", "learned", "own", "pools"]
