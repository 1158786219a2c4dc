"""Neighbours and ranges from text: every key, and what cannot be."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
from typing import Any

import pytest

from bgp_ipvlan import config, errors, model
from bgp_ipvlan.config import neighbors

AS = 64512
NO_FILE = pathlib.Path("/nonexistent")


def read(text: str) -> model.NeighborConfig:
    """One `--neighbor` of a speaker in AS 64512."""
    return neighbors.parse(text).complete(AS, None)


def test_defaults() -> None:
    """An address alone is an iBGP neighbour with the defaults of the model."""
    expected = model.NeighborConfig(address=ipaddress.ip_address("192.0.2.2"), remote_as=AS)

    assert expected == read("192.0.2.2")


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [
        ("as=64513", "remote_as", 64513),
        ("local-as=65000", "local_as", 65000),
        ("local-as=64512", "local_as", 0),
        ("port=1179", "port", 1179),
        ("local=192.0.2.1", "local_address", ipaddress.ip_address("192.0.2.1")),
        ("bind-interface=blue", "bind_interface", "blue"),
        ("passive", "passive", True),
        ("hold=30", "keepalive", 10),
        ("hold=0", "keepalive", 0),
        ("keepalive=2", "keepalive", 2),
        ("password=a=b", "password", "a=b"),
        ("password=", "password", ""),
        ("ttl-security", "ttl_security", True),
        ("multihop=3", "multihop", 3),
        ("allow-own-as", "allow_own_as", 3),
        ("allow-own-as=1", "allow_own_as", 1),
        ("max-prefixes=10", "max_prefixes", 10),
        ("max-prefixes=0", "max_prefixes", 0),
        ("max-prefixes-warn=90", "max_prefixes_warn", 90),
        ("max-prefixes-restart=0", "max_prefixes_restart", 0),
        ("no-add-path", "add_path", False),
        ("no-graceful-restart", "graceful_restart", False),
        ("recursive", "recursive", True),
        ("families=ipv4", "families", frozenset({model.Family.IPV4})),
        ("families=ipv4+ipv6", "families", frozenset(model.Family)),
        ("name=top of rack", "description", "top of rack"),
    ],
)
def test_each_key(key: str, field: str, value: Any) -> None:
    """Each key sets its field."""
    assert value == getattr(read(f"192.0.2.2,{key}"), field)


def test_ttl_security_and_multihop_go_together() -> None:
    """GTSM over several hops: nothing below 255 - hops + 1 is taken."""
    one = read("192.0.2.2,as=64513,ttl-security,multihop=2")

    assert (one.ttl_security, one.multihop) == (True, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("host.example", "--neighbor host.example: expected an address"),
        ("0.0.0.0", "0.0.0.0 is no host's address"),
        ("224.0.0.5", "is no host's address"),
        ("fe80::1", "link-local"),
        ("::ffff:192.0.2.2", "write 192.0.2.2"),
        ("192.0.2.2,AS=3", "unknown key 'AS', did you mean 'as'?"),
        ("192.0.2.2,colour=3", "known: as, local-as"),
        ("192.0.2.2,", "unknown key ''"),
        ("192.0.2.2,as=x", "as 'x': must be a number from 1 to 4294967295"),
        ("192.0.2.2,as", "as '': must be a number"),
        ("192.0.2.2,as=0", "as 0: must be a number from 1"),
        ("192.0.2.2,as=any", "as 'any'"),
        ("192.0.2.2,as=1,as=2", "as is said twice"),
        ("192.0.2.2,password=x,password-file=/x", "password-file is said twice"),
        ("192.0.2.2,passive,no-passive", "no-passive is said twice"),
        ("192.0.2.2,passive=yes", "write passive or no-passive"),
        ("192.0.2.2,port=0", "port 0: must be a number from 1 to 65535"),
        ("192.0.2.2,hold=2", "hold 2: 0 (never) or at least 3 seconds"),
        ("192.0.2.2,hold=65536", "hold 65536: must be a number from 0 to 65535"),
        ("192.0.2.2,keepalive=9", "keepalive 9 with hold 9: must be shorter"),
        ("192.0.2.2,hold=30,keepalive=0", "keepalive 0 with hold 30"),
        ("192.0.2.2,hold=0,keepalive=3", "keepalive 3 with hold 0"),
        ("192.0.2.2,multihop=0", "multihop 0: must be a number from 1 to 255"),
        ("192.0.2.2,allow-own-as=256", "allow-own-as 256"),
        ("192.0.2.2,max-prefixes-warn=101", "max-prefixes-warn 101: must be a number from 1 to"),
        ("192.0.2.2,as=64513,local-as=64513", "local-as 64513 is the neighbour's own AS"),
        ("192.0.2.2,local=2001:db8::1", "local 2001:db8::1 is not IPv4"),
        ("192.0.2.2,local=192.0.2.2", "local 192.0.2.2 is the neighbour's own address"),
        ("192.0.2.2,local=0.0.0.0", "local 0.0.0.0 is no host's address"),
        ("192.0.2.2,local=eth1", "local eth1: expected an address"),
        ("192.0.2.2,bind-interface", "bind-interface needs a value"),
        ("192.0.2.2,bind-interface=eth0/1", "bind-interface 'eth0/1' is no name of an interface"),
        ("192.0.2.2,bind-interface=eth 1", "bind-interface 'eth 1' is no name"),
        ("192.0.2.2,bind-interface=..", "bind-interface '..' is no name"),
        ("192.0.2.2,bind-interface=" + 8 * "ä", "is no name of an interface"),
        ("192.0.2.2,families=", "families : expected ipv4, ipv6, or ipv4+ipv6"),
        ("192.0.2.2,families=evpn", "families evpn: expected ipv4"),
        ("192.0.2.2,password", "password needs a value"),
        ("192.0.2.2,password=" + 81 * "x", "password has 81 octets: TCP MD5 takes at most 80"),
        ("192.0.2.2,password=" + 41 * "ä", "password has 82 octets"),
        ("192.0.2.2,password-file=key", "password-file key: must be an absolute path"),
        ("192.0.2.2,password-file=/nonexistent", "/nonexistent: No such file"),
    ],
)
def test_what_cannot_be(text: str, says: str) -> None:
    """One line that names neighbour and key, and what would be right."""
    with pytest.raises(errors.ConfigError) as caught:
        read(text)

    assert caught.value.reason in {"bad-neighbor", "bad-value", "password-file"}
    assert says in str(caught.value)
    assert str(caught.value).startswith("--neighbor ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["password=geheim,wort", "password=geheim" + 80 * "x"])
def test_a_complaint_keeps_the_password(text: str) -> None:
    """A comma in a password, or its length: neither lets it get into the log."""
    with pytest.raises(errors.ConfigError, match="password") as caught:
        read(f"192.0.2.2,{text}")

    assert "geheim" not in str(caught.value)
    assert "wort" not in str(caught.value)


def test_nothing_shown_has_the_password() -> None:
    """Nor does what we keep show it."""
    draft = neighbors.parse("192.0.2.2,password=geheim")

    assert "geheim" not in repr(draft)
    assert "geheim" not in repr(draft.complete(AS, None))


def test_password_file(tmp_path: pathlib.Path) -> None:
    """Its first line; that everybody can read it is worth a warning."""
    file = tmp_path / "key"
    file.write_text("a,b\n")
    file.chmod(0o600)
    quiet = neighbors.parse(f"192.0.2.2,password-file={file}")
    file.chmod(0o644)
    loud = neighbors.parse(f"192.0.2.2,password-file={file}")

    assert quiet.complete(AS, None).password == "a,b"
    assert quiet.warnings == ()
    (warning,) = loud.warnings
    assert f"chmod 600 {file} [readable-password]" in warning


def test_empty_password_file(tmp_path: pathlib.Path) -> None:
    """No session without the password that was meant."""
    file = tmp_path / "key"
    file.write_text("\nx")

    with pytest.raises(errors.ConfigError, match="its first line is empty"):
        neighbors.parse(f"192.0.2.2,password-file={file}")


def test_given_twice() -> None:
    """The same neighbour, or range, twice is a mistake."""
    for flags in (
        config.Flags(local_as=AS, neighbors=("192.0.2.2", "192.0.2.2,as=1")),
        config.Flags(local_as=AS, ranges=("192.0.2.0/24", "192.0.2.0/24,as=1")),
    ):
        with pytest.raises(errors.ConfigError, match="is given twice"):
            config.load(flags, default_file=NO_FILE)


def test_set_changes_what_it_names() -> None:
    """The rest stays; a new hold time brings its keepalive, and both are checked together."""
    old = read("192.0.2.2,as=64513,password=x,keepalive=1")
    change = neighbors.parse("192.0.2.2,hold=6,no-add-path", "neighbor set")
    late = neighbors.parse("192.0.2.2,keepalive=9", "neighbor set")

    new = change.change(old, AS)

    assert dataclasses.replace(old, hold_time=6, keepalive=2, add_path=False) == new
    with pytest.raises(errors.ConfigError, match=r"neighbor set 192.0.2.2: keepalive 9 with"):
        late.change(old, AS)


def test_range() -> None:
    """A range has the keys of a neighbour, waits for connections, and may take any AS."""
    one = neighbors.parse_range("192.0.2.0/24,as=64513,limit=50,password=x").complete(AS, None)
    other = neighbors.parse_range("2001:db8::/64,as=any").complete(AS, None)

    assert (str(one.prefix), one.limit) == ("192.0.2.0/24", 50)
    template = one.template
    assert (
        str(template.address),
        template.remote_as,
        template.password,
    ) == ("192.0.2.0", 64513, "x")
    assert template.passive
    assert other.template.remote_as == 0
    assert model.DynamicNeighbors(prefix=other.prefix, template=other.template) == other


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("192.0.2.1/24", "has host bits"),
        ("192.0.2.0/24,limit=0", "limit 0: expected a number from 1 to 10000"),
        ("192.0.2.0/24,limit=x", "limit 'x'"),
        ("192.0.2.0/24,no-passive", "passive cannot be off"),
        ("192.0.2.0/24,limits=3", "did you mean 'limit'?"),
        ("192.0.2.0/24,hold=1", "hold 1"),
    ],
)
def test_bad_ranges(text: str, says: str) -> None:
    """As for neighbours."""
    with pytest.raises(errors.ConfigError) as caught:
        neighbors.parse_range(text).complete(AS, None)

    assert says in str(caught.value)
    assert str(caught.value).startswith("--neighbor-range 192.0.2.")
