"""What the administrator asked for, checked once: flags, environment and file → `Settings`.

    flags.py      the command line; and `load`, where everything comes together
    settings.py   what one source says, what all say, what must fit together
    neighbors.py  one neighbour, or a range of them, from text
    file.py       the TOML file: reading it, unknown keys, what is only warned about
    gobgp.py      GoBGP's own format: its tables, and what they mean here
    values.py     numbers, addresses, prefixes out of text

Nothing here looks at the machine but to read the file and the passwords; what needs a look
(does the interface exist, which address is the router id) is checked where the machine is
read, in `app`.
"""

from bgp_ipvlan.config.flags import CONFIG_FILE, Flags, load
from bgp_ipvlan.config.neighbors import Draft, parse, parse_range
from bgp_ipvlan.config.settings import (
    CONTROL_SOCKET,
    PLUGIN_SOCKET,
    STATE_DIR,
    Settings,
    check_reachable,
)

__all__ = [
    "CONFIG_FILE",
    "CONTROL_SOCKET",
    "PLUGIN_SOCKET",
    "STATE_DIR",
    "Draft",
    "Flags",
    "Settings",
    "check_reachable",
    "load",
    "parse",
    "parse_range",
]
