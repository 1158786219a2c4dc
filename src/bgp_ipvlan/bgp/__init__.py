"""Pure BGP: bytes and time in, bytes and events out. No sockets, no clock, no asyncio.

message.py     frames, OPEN, NOTIFICATION       capability.py  what an OPEN offers, what is agreed
attributes.py  path attributes, both ways       update.py      UPDATE, both ways
session.py     one connection's state machine   events.py      what it tells
reception.py   a received path, and what keeps it out whatever the policy
policy.py      which prefixes may come in       adj_rib_in.py  what one neighbour told us
rib.py         all tables                       decision.py    which paths are used
"""
