"""Every key that may stand in a file: GoBGP's own (3.10 to 4.8), and ours.

GoBGP's are the names in its `bgp_configs.go` (OpenConfig with its additions), without `state`, which is no
configuration. Names only: what a value may be, the tables that read it know, or gobgpd itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TypeAlias

Tree: TypeAlias = Mapping[str, "Tree"]
"""Name of a key → what may stand below it; a key with a value of its own has nothing below."""

_LIMIT = {"prefix-limit.config": "max-prefixes shutdown-threshold-pct restart-timer"}
_MULTIPATH = {
    "use-multiple-paths.config": "enabled",
    "use-multiple-paths.ebgp.config": "allow-multiple-as maximum-paths",
    "use-multiple-paths.ibgp.config": "maximum-paths",
}
_POLICY = {
    "apply-policy.config": "import-policy-list default-import-policy export-policy-list "
    "default-export-policy in-policy-list default-in-policy",
}
_SELECTION = {
    "route-selection-options.config": "always-compare-med ignore-as-path-length "
    "external-compare-router-id advertise-inactive-routes enable-aigp ignore-next-hop-igp-metric "
    "disable-best-path-selection",
}
_RESTART = {
    "graceful-restart.config": "enabled restart-time stale-routes-time helper-only deferral-time "
    "notification-enabled long-lived-enabled",
}
_FAMILIES = [
    "ipv4-unicast",
    "ipv6-unicast",
    "ipv4-labelled-unicast",
    "ipv6-labelled-unicast",
    "l3vpn-ipv4-unicast",
    "l3vpn-ipv6-unicast",
    "l3vpn-ipv4-multicast",
    "l3vpn-ipv6-multicast",
    "l2vpn-vpls",
    "l2vpn-evpn",
]
_AFI_SAFI = {
    "config": "afi-safi-name enabled",
    "mp-graceful-restart.config": "enabled",
    "add-paths.config": "receive send-max",
    "ipv4-unicast.config": "send-default-route",
    "ipv6-unicast.config": "send-default-route",
    "route-target-membership.config": "deferral-time",
    "long-lived-graceful-restart.config": "enabled restart-time",
    **{f"{family}.{path}": keys for family in _FAMILIES for path, keys in _LIMIT.items()},
    **_LIMIT,
    **_MULTIPATH,
    **_POLICY,
    **_SELECTION,
}
_GROUP = {
    "config": "peer-as local-as peer-type auth-password remove-private-as route-flap-damping "
    "send-community description send-software-version",
    "timers.config": "connect-retry hold-time keepalive-interval minimum-advertisement-interval "
    "idle-hold-time-after-reset",
    "transport.config": "tcp-mss mtu-discovery passive-mode local-address local-port remote-port "
    "bind-interface ip-tos ttl",
    "error-handling.config": "treat-as-withdraw",
    "logging-options.config": "log-neighbor-state-changes",
    "ebgp-multihop.config": "enabled multihop-ttl",
    "ttl-security.config": "enabled ttl-min",
    "route-reflector.config": "route-reflector-cluster-id route-reflector-client",
    "route-server.config": "route-server-client secondary-route",
    "as-path-options.config": "allow-own-as replace-peer-as allow-as-path-loop-local",
    "add-paths.config": "receive send-max",
    "bfd.config": "enabled port desired-minimum-tx-interval required-minimum-receive "
    "detection-multiplier",
    **{f"afi-safis.{path}": keys for path, keys in _AFI_SAFI.items()},
    **_RESTART,
    **_MULTIPATH,
    **_POLICY,
}
_GLOBAL = {
    "config": "as router-id port local-address-list bind-to-device",
    "default-route-distance.config": "external-route-distance internal-route-distance",
    "confederation.config": "enabled identifier member-as-list",
    **{f"afi-safis.{path}": keys for path, keys in _AFI_SAFI.items()},
    **_RESTART,
    **_MULTIPATH,
    **_POLICY,
    **_SELECTION,
}
_SETS = {
    "prefix-sets": "prefix-set-name",
    "prefix-sets.prefix-list": "ip-prefix rtc-prefix masklength-range",
    "neighbor-sets": "neighbor-set-name neighbor-info-list",
    "tag-sets": "tag-set-name",
    "tag-sets.tag-list": "value",
    "bgp-defined-sets.community-sets": "community-set-name community-list",
    "bgp-defined-sets.ext-community-sets": "ext-community-set-name ext-community-list",
    "bgp-defined-sets.as-path-sets": "as-path-set-name as-path-list",
    "bgp-defined-sets.large-community-sets": "large-community-set-name large-community-list",
}
_CONDITIONS = {
    "": "call-policy install-protocol-eq igp-conditions",
    "match-prefix-set": "prefix-set match-set-options",
    "match-neighbor-set": "neighbor-set match-set-options",
    "match-tag-set": "tag-set match-set-options",
    "bgp-conditions": "med-eq origin-eq next-hop-in-list afi-safi-in-list local-pref-eq "
    "route-type rpki-validation-result",
    "bgp-conditions.match-community-set": "community-set match-set-options",
    "bgp-conditions.match-ext-community-set": "ext-community-set match-set-options",
    "bgp-conditions.match-large-community-set": "large-community-set match-set-options",
    "bgp-conditions.match-as-path-set": "as-path-set match-set-options",
    "bgp-conditions.community-count": "operator value",
    "bgp-conditions.as-path-length": "operator value",
}
_ACTIONS = {
    "": "route-disposition",
    "igp-actions": "set-tag",
    "bgp-actions": "set-route-origin set-local-pref set-next-hop set-med",
    "bgp-actions.set-as-path-prepend": "repeat-n as",
    "bgp-actions.set-community": "options",
    "bgp-actions.set-community.set-community-method": "communities-list community-set-ref",
    "bgp-actions.set-ext-community": "options",
    "bgp-actions.set-ext-community.set-ext-community-method": "communities-list "
    "ext-community-set-ref",
    "bgp-actions.set-large-community": "options",
    "bgp-actions.set-large-community.set-large-community-method": "communities-list",
}
_GOBGP: dict[str, Mapping[str, str]] = {
    "global": _GLOBAL,
    "neighbors": _GROUP
    | {
        "config": f"{_GROUP['config']} peer-group neighbor-address admin-down neighbor-interface "
        "vrf"
    },
    "peer-groups": _GROUP | {"config": f"{_GROUP['config']} peer-group-name"},
    "dynamic-neighbors": {"config": "prefix peer-group"},
    "rpki-servers": {
        "config": "address port refresh-time hold-time record-lifetime preference",
    },
    "bmp-servers": {
        "config": "address port route-monitoring-policy statistics-timeout "
        "route-mirroring-enabled sys-name sys-descr",
    },
    "vrfs": {"config": "name id rd import-rt-list export-rt-list both-rt-list"},
    "mrt-dump": {"config": "dump-type file-name table-name dump-interval rotation-interval"},
    "zebra": {
        "config": "enabled url redistribute-route-type-list version nexthop-trigger-enable "
        "nexthop-trigger-delay mpls-label-range-size software-name",
    },
    "collector": {"config": "url db-name table-dump-interval"},
    "defined-sets": _SETS,
    "policy-definitions": {
        "": "name",
        "statements": "name",
        **{f"statements.conditions.{path}": keys for path, keys in _CONDITIONS.items()},
        **{f"statements.actions.{path}": keys for path, keys in _ACTIONS.items()},
    },
}
OURS = {
    "ipvlan": "host-interface mode ipvlan-subnet gateway mtu table",
    "docker": "socket",
    "policy": "accept import max-routes",
    "engine": "name gobgp-api gobgp-spawn gobgp-command",
}
"""Our tables."""
OURS_INSIDE = {
    "neighbors.config": "auth-password-file recursive",
    "peer-groups.config": "auth-password-file recursive",
    "dynamic-neighbors.config": "limit",
}
"""Our keys in GoBGP's tables."""

GONE = {"global.mpls-label-range": "min-label max-label"}
"""GoBGP's once: taken, and told to do nothing."""


def gobgp_keys() -> Iterator[str]:
    """The path of each key of GoBGP's that has a value, such as `global.config.as`."""
    for table, sections in _GOBGP.items():
        for section, keys in sections.items():
            for key in keys.split():
                yield ".".join(filter(None, (*f"{table}.{section}".split("."), key)))


@functools.cache
def tree() -> Tree:
    """All keys, ours too."""
    root: dict[str, dict] = {}  # type: ignore[type-arg]
    others = (OURS | OURS_INSIDE | GONE).items()
    more = (f"{table}.{key}" for table, keys in others for key in keys.split())
    for path in (*gobgp_keys(), *more):
        node = root
        for name in path.split("."):
            node = node.setdefault(name, {})
    return root
