"""bgp-ipvlan: routable addresses for Docker containers, by ipvlan and BGP."""

__version__ = "0.1.0"
