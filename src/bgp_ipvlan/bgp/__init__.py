"""Pure BGP: bytes and time in, bytes and events out. No sockets, no clock, no asyncio.

message.py     frames, OPEN, NOTIFICATION       capability.py  what an OPEN offers
attributes.py  path attributes, both ways       update.py      UPDATE, both ways
session.py     one connection's state machine   rib.py         tables and decision process
"""
