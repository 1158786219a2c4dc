"""Import policy: rules as text, and which prefixes they let in."""

from __future__ import annotations

import ipaddress

import hypothesis
import pytest
from hypothesis import strategies as st

from bgp_ipvlan import model
from bgp_ipvlan.bgp import policy

V4, V6 = model.Family.IPV4, model.Family.IPV6


def networks(family: model.Family) -> st.SearchStrategy[model.Prefix]:
    """Prefixes near each other, so that many lie in one another."""
    kind = ipaddress.IPv4Network if family is V4 else ipaddress.IPv6Network
    high = st.sampled_from([0, 0x0A000000, 0x0A800000, 0x0A800100, 0x0AC0FF17])
    raw = st.tuples(high, st.integers(0, family.bits))
    return raw.map(lambda pair: kind((pair[0] << (family.bits - 32), pair[1]), strict=False))


@st.composite
def rules(draw: st.DrawFn) -> model.PrefixRule:
    """Rules of either family, of every range of lengths."""
    prefix = draw(st.sampled_from([V4, V6]).flatmap(networks))
    least = draw(st.integers(prefix.prefixlen, prefix.max_prefixlen))
    return model.PrefixRule(prefix, least, draw(st.integers(least, prefix.max_prefixlen)))


def _lets_in(rule: model.PrefixRule, prefix: model.Prefix) -> bool:
    return (
        rule.prefix.version == prefix.version
        and prefix.subnet_of(rule.prefix)  # type: ignore[arg-type]  # of the same version
        and rule.least <= prefix.prefixlen <= rule.most
    )


@hypothesis.given(
    st.lists(rules(), max_size=5),
    st.sampled_from([V4, V6]).flatmap(lambda f: st.tuples(st.just(f), st.lists(networks(f)))),
)
def test_split_is_what_the_rules_say(
    given: list[model.PrefixRule], batch: tuple[model.Family, list[model.Prefix]]
) -> None:
    """Each prefix comes out once, accepted if and only if some rule lets it in."""
    family, prefixes = batch
    accepted, refused = policy.Policy(given).split(family, [model.nlri(one) for one in prefixes])

    wanted = [model.nlri(p) for p in prefixes if any(_lets_in(rule, p) for rule in given)]
    assert sorted(accepted) == sorted(wanted)
    assert sorted(accepted + refused) == sorted(model.nlri(one) for one in prefixes)


def test_no_rules_refuse_and_none_accepts() -> None:
    """An empty list is a rule too: nothing comes in; without a list everything does."""
    batch = [bytes((8, 10)), bytes((32, 10, 0, 0, 1)), b"\0"]

    accepted, refused = policy.Policy(()).split(V4, batch)

    assert accepted == []
    assert sorted(refused) == sorted(batch)
    assert policy.Policy(None).split(V4, batch) == (batch, [])


def test_rules_of_the_other_family_let_nothing_in() -> None:
    """A default of IPv6 says nothing of IPv4."""
    asked = policy.Policy([policy.parse("::/0 le 128")])

    assert asked.split(V4, [b"\0"]) == ([], [b"\0"])
    assert asked.split(V6, [b"\0", bytes((128, *range(16)))])[1] == []


def test_rules_of_several_lengths_add_up() -> None:
    """What one rule leaves over another may let in, all of it or some."""
    asked = policy.Policy(map(policy.parse, ("10.1.0.0/16 le 24", "10.2.3.0/24", "10.3.3.0/24")))
    batch = [bytes((24, 10, n, 3)) for n in (1, 2, 3)]

    assert asked.split(V4, batch) == (batch, [])
    assert asked.split(V4, [*batch, bytes((24, 10, 2, 4))]) == (batch, [bytes((24, 10, 2, 4))])


def test_impossible_lengths_do_no_harm() -> None:
    """A rule built by hand with lengths outside of its prefix matches where it can."""
    asked = policy.Policy([model.PrefixRule(ipaddress.ip_network("10.0.0.0/8"), 0, 200)])

    assert asked.split(V4, [b"\0", bytes((4, 0)), bytes((8, 10))]) == (
        [bytes((8, 10))],
        [b"\0", bytes((4, 0))],
    )


@hypothesis.given(rules())
def test_a_rule_is_read_as_it_is_printed(rule: model.PrefixRule) -> None:
    """What status and log print can be put into the configuration."""
    assert policy.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("10.0.0.0/8", 8, 8),
        ("10.0.0.0/8 le 32", 8, 32),
        ("10.0.0.0/8 ge 16", 16, 32),
        ("10.0.0.0/8 ge 16 le 24", 16, 24),
        ("  10.0.0.0/8   le 24 ge 16 ", 16, 24),
        ("2001:db8::/32 ge 48", 48, 128),
        ("0.0.0.0/0", 0, 0),
        ("::/0 le 0", 0, 0),
    ],
)
def test_parse(text: str, least: int, most: int) -> None:
    """As in FRR's prefix lists: `le` from the prefix's own length on, `ge` to the longest."""
    prefix = ipaddress.ip_network(text.split(maxsplit=1)[0])

    assert policy.parse(text) == model.PrefixRule(prefix, least, most)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty rule"),
        ("10.0.0.0", "no prefix, as 10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "no prefix, as 10.0.0.0/8"),
        ("10.0.0.0/33", "no prefix of IPv4 or IPv6"),
        ("host/8", "no prefix of IPv4 or IPv6"),
        ("10.0.0.1/8", "is 10.0.0.0/8 meant"),
        ("10.0.0.0/8 ge", "`ge` needs a prefix length, not ''"),
        ("10.0.0.0/8 le many", "`le` needs a prefix length, not 'many'"),
        ("10.0.0.0/8 le 33", "`le 33` is not between /8 and /32"),
        ("10.0.0.0/8 ge 7", "`ge 7` is not between /8 and /32"),
        ("10.0.0.0/8 ge 24 le 16", "at least 24 and at most 16"),
        ("10.0.0.0/8 le 16 le 24", "`le` stands there twice"),
        ("10.0.0.0/8 upto 16", "expected `ge` or `le` after the prefix, not 'upto'"),
        ("10.0.0.0/8 le 16 17", "expected `ge` or `le` after the prefix, not '17'"),
    ],
)
def test_bad_rules(text: str, says: str) -> None:
    """The error names the rule and what is wrong with it."""
    with pytest.raises(ValueError) as caught:
        policy.parse(text)

    assert says in str(caught.value)
    assert text in str(caught.value)
