"""Our daemon with --engine gobgp, taking every change by itself: `python -m bench.withoutbursts COMMAND run …`."""

from __future__ import annotations

import sys

from bgp_ipvlan import daemon


def main() -> None:
    """Both halves of `bgp_ipvlan.daemon`; nothing is a burst."""
    if sys.argv[1].isdigit():
        from bgp_ipvlan.engines.gobgp import feed

        feed._MANY = sys.maxsize  # noqa: SLF001 - what is measured is what it is for
        daemon.main()
    else:
        daemon.__name__ = "bench.withoutbursts"
        sys.argv = sys.argv[1:]
        from bgp_ipvlan import cli

        cli.main()


if __name__ == "__main__":
    main()
