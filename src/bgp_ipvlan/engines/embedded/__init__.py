"""The default engine: our own edge speaker, sockets and timers around `bgp`."""
