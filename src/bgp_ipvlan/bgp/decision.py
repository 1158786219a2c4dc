"""Which of several paths to one prefix are used (RFC 4271 section 9.1.2.2).

Pure, and blind to tables: some paths go in, the best comes out with those that are equal to it.
What may enter: a rule of the RFCs, or ECMP. What may not: policy, prefixes, order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bgp_ipvlan import model

Usable = Callable[[model.Path], bool]
"""Whether a path's next hop can be resolved (RFC 4271 section 9.1.2.1)."""


def everything(path: model.Path) -> bool:  # noqa: ARG001 - a `Usable`
    """Take every next hop for usable."""
    return True


def select(
    paths: Iterable[model.Path], *, usable: Usable = everything, maximum: int = 1
) -> tuple[model.Path, ...]:
    """The best of some paths, and behind it those that are as good (ECMP).

    The RFC's elimination: each step leaves the best in one respect, so the order of the paths
    cannot matter, MED included. What is left before the tie-breaks is equal and may be used at
    once; the contents of AS_PATH need not be the same, its length is (as BIRD does it).

    Args:
        paths: at most one for each neighbour and path identifier.
        usable: where no path is, the best path of all is taken, for a reader to see why.
        maximum: how many to return; of paths with the same next hop only the first is.

    Returns:
        Best first; empty only if there are no paths.
    """
    left = _least(paths, lambda path: (not usable(path), *_preference(path)))
    if len(left) > 1:
        left = _least(_lowest_med(left), lambda path: (not path.ebgp,))  # c, d
        left.sort(key=_ties)
    # Two routers may have the same link-local address, on two wires.
    by_next_hop: dict[model.Gateway, model.Path] = {}
    for path in left:
        by_next_hop.setdefault(model.Gateway.of(path), path)
        if len(by_next_hop) == maximum:
            break
    return tuple(by_next_hop.values())


def _least(
    paths: Iterable[model.Path], key: Callable[[model.Path], tuple[int, ...]]
) -> list[model.Path]:
    """Those whose key is the smallest."""
    least: tuple[int, ...] | None = None
    found: list[model.Path] = []
    for path in paths:
        value = key(path)
        if least is None or value < least:
            least, found = value, [path]
        elif value == least:
            found.append(path)
    return found


def _preference(path: model.Path) -> tuple[int, int, int]:
    """Section 9.1.1, then 9.1.2.2 a and b: LOCAL_PREF, AS_PATH, ORIGIN; least is best."""
    # RFC 8326 section 4.2: a path about to go stays in use only while there is no other.
    leaving = model.GRACEFUL_SHUTDOWN in path.communities
    return (0 if leaving else -path.local_pref, path.as_path_length, path.origin)


def _lowest_med(paths: list[model.Path]) -> list[model.Path]:
    """Section 9.1.2.2 c: MEDs mean something only among paths of one neighbouring AS.

    No MED is the lowest. An empty AS_PATH began in our own AS.
    """
    lowest: dict[int | None, int] = {}
    for path in paths:
        med, by = path.med or 0, path.as_path[0] if path.as_path else None
        lowest[by] = min(med, lowest.get(by, med))
    return [
        path
        for path in paths
        if (path.med or 0) == lowest[path.as_path[0] if path.as_path else None]
    ]


def _ties(path: model.Path) -> tuple[int | str, ...]:
    """Section 9.1.2.2 f and g, with RFC 4456 section 9 in between: never equal for two paths.

    The lowest identifier (a reflected route's is its originator's), the shortest CLUSTER_LIST,
    the lowest address, and of one neighbour the lowest path identifier (RFC 7911). All next
    hops are as near, so e, the interior cost, is equal.
    """
    identifier = path.router_id if path.originator_id is None else path.originator_id
    address = path.neighbor
    # Two neighbours may have the same link-local address, on different interfaces.
    scope = "" if address.version == 4 else address.scope_id or ""
    return (
        identifier,
        len(path.cluster_list),
        address.version,
        int(address),
        scope,
        path.path_id,
    )
