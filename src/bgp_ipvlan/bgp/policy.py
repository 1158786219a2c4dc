"""Import policy: which prefixes a neighbour may tell us of. Pure.

Rules are written as in FRR's prefix lists. A batch of prefixes is told apart by length first,
which alone settles most: no prefix becomes an address object (D2).
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable

from bgp_ipvlan import model

REASON = "import-policy"
"""Reason code of what no rule lets in."""

_Networks = dict[int, set[int]]
"""Length of a rule's prefix → its network bits, of every such rule."""


class Policy:
    """Rules, made ready to be asked.

    Args:
        rules: what may come in; none at all refuses everything, None takes everything.
    """

    def __init__(self, rules: Iterable[model.PrefixRule] | None) -> None:
        self._lengths: dict[model.Family, dict[int, _Networks]] | None = None
        """Family → length of a learned prefix → what it has to lie in."""
        if rules is None:
            return
        self._lengths = {family: defaultdict(dict) for family in model.Family}
        for rule in rules:
            family = model.Family.of(rule.prefix)
            size = rule.prefix.prefixlen
            network = int(rule.prefix.network_address) >> (family.bits - size)
            # Nothing shorter than a prefix lies in it.
            for length in range(max(rule.least, size), min(rule.most, family.bits) + 1):
                self._lengths[family][length].setdefault(size, set()).add(network)

    def split(
        self, family: model.Family, prefixes: list[model.Nlri]
    ) -> tuple[list[model.Nlri], list[model.Nlri]]:
        """Part a batch in what may come in, and what may not.

        Args:
            family: of the batch.
            prefixes: canonical NLRI.

        Returns:
            Accepted and refused prefixes, in any order.
        """
        if self._lengths is None:
            return prefixes, []
        rules = self._lengths[family]
        accepted: list[model.Nlri] = []
        refused: list[model.Nlri] = []
        for length, same in _by_length(prefixes).items():
            inside, outside = _match(length, same, rules.get(length, {}))
            accepted += inside
            refused += outside
        return accepted, refused


def _by_length(prefixes: list[model.Nlri]) -> dict[int, list[model.Nlri]]:
    lengths = {prefix[0] for prefix in prefixes}
    if len(lengths) == 1:  # as in most UPDATEs
        return {lengths.pop(): prefixes}
    found: dict[int, list[model.Nlri]] = {length: [] for length in lengths}
    for prefix in prefixes:
        found[prefix[0]].append(prefix)
    return found


def _match(
    length: int, prefixes: list[model.Nlri], rules: _Networks
) -> tuple[list[model.Nlri], list[model.Nlri]]:
    """Part prefixes of one length in those inside some network and the rest."""
    if 0 in rules:
        return prefixes, []
    inside: list[model.Nlri] = []
    octets = (length + 7) // 8
    for size, networks in rules.items():
        spare = 8 * octets - size
        # The octet of length stands above the network's bits.
        wanted = {length << size | network for network in networks}
        found = [int.from_bytes(prefix) >> spare in wanted for prefix in prefixes]
        if all(found):
            return inside + prefixes, []
        if any(found):
            pairs = list(zip(prefixes, found, strict=True))
            inside += [prefix for prefix, is_in in pairs if is_in]
            prefixes = [prefix for prefix, is_in in pairs if not is_in]
    return inside, prefixes


def parse(text: str) -> model.PrefixRule:
    """Read a rule: `PREFIX [ge LENGTH] [le LENGTH]`.

    A prefix alone matches itself only. `le` lets in longer ones up to that length, `ge` from
    that length on, up to the longest of the family where no `le` is given.

    Args:
        text: such as `10.0.0.0/8`, `10.0.0.0/8 le 32`, `2001:db8::/32 ge 48 le 64`.

    Raises:
        ValueError: it is no rule; says what is wrong with it.
    """
    words = text.split()
    if not words:
        raise ValueError("an empty rule: expected PREFIX [ge LENGTH] [le LENGTH]")
    prefix = _prefix(text, words[0])
    limits: dict[str, int] = {}
    for word, value in zip(words[1::2], [*words[2::2], ""], strict=False):
        if word not in {"ge", "le"}:
            raise ValueError(f"{text!r}: expected `ge` or `le` after the prefix, not {word!r}")
        if word in limits:
            raise ValueError(f"{text!r}: `{word}` stands there twice")
        limits[word] = _length(text, word, value, prefix)
    own = prefix.prefixlen
    least = limits.get("ge", own)
    most = limits.get("le", prefix.max_prefixlen if "ge" in limits else own)
    if least > most:
        raise ValueError(f"{text!r}: no length is at least {least} and at most {most}")
    return model.PrefixRule(prefix, least, most)


def _prefix(text: str, word: str) -> model.Prefix:
    address, slash, length = word.partition("/")
    if not slash or not (length.isascii() and length.isdigit()):
        raise ValueError(f"{text!r}: {word!r} is no prefix, as 10.0.0.0/8 or 2001:db8::/32 are")
    try:
        host = ipaddress.ip_interface(word)
    except ValueError:
        raise ValueError(f"{text!r}: {word!r} is no prefix of IPv4 or IPv6") from None
    if host.ip != host.network.network_address:
        raise ValueError(f"{text!r}: {address} has bits beyond /{length}; is {host.network} meant?")
    return host.network


def _length(text: str, word: str, value: str, prefix: model.Prefix) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{text!r}: `{word}` needs a prefix length, not {value!r}")
    if not prefix.prefixlen <= int(value) <= prefix.max_prefixlen:
        raise ValueError(
            f"{text!r}: `{word} {value}` is not between /{prefix.prefixlen} "
            f"and /{prefix.max_prefixlen}"
        )
    return int(value)
