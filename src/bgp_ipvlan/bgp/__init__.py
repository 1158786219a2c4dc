"""Pure BGP: bytes and time in, bytes and events out. No sockets, no clock, no asyncio."""
