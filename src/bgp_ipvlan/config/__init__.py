"""What the administrator asked for, checked once: flags, environment and file → `Settings`.

    flags.py      the command line; and `load`, where everything comes together
    said.py       what one source says            settings.py   what all say, what must fit together
    neighbors.py  one neighbour, or a range of them, from text
    engines.py    what fits to who speaks BGP
    file.py       the TOML file                   source.py     its text: which keys, on which lines
    lines.py      the line of each key            vocabulary.py every key there is
    legacy.py     GoBGP's format of 2015          gobgp.py      that of today: what it means here
    schema.py     one table: values, what is refused, what does nothing
    passed.py     what is GoBGP's alone           gobgp_file.py the file that a gobgpd is started with
    describe.py   what it all came to
    values.py     numbers, addresses, prefixes out of text

Nothing here looks at the machine but to read the file and the passwords; what needs a look
(does the interface exist, which address is the router id) is checked where the machine is
read, in `app`.
"""

from bgp_ipvlan.config.describe import describe
from bgp_ipvlan.config.describe import text as description
from bgp_ipvlan.config.flags import CONFIG_FILE, Flags, load
from bgp_ipvlan.config.gobgp_file import differs as gobgp_differs
from bgp_ipvlan.config.gobgp_file import gobgp_document
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
    "describe",
    "description",
    "gobgp_differs",
    "gobgp_document",
    "load",
    "parse",
    "parse_range",
]
