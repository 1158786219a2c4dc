"""A gobgpd as engine (D1): `api` asks it, `engine` makes a `ports.Engine` of it."""

from bgp_ipvlan.engines.gobgp.engine import GobgpEngine

__all__ = ["GobgpEngine"]
