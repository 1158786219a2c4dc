"""Neighbours in GoBGP's messages: as configured, and as they are."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from bgp_ipvlan import errors, model
from bgp_ipvlan.engines.gobgp import dialects, paths
from bgp_ipvlan.engines.gobgp.proto import gobgp_pb2 as messages

_STATES = dict(enumerate(model.SessionState, 1))
_UP, _DOWN, _TOO_MANY = range(3)
_RECEIVE, _SEND = 1, 2
_NOTIFICATION = 0x04
"""Of the flags of the graceful restart capability, its four bits: RFC 8538's N bit."""
_CONNECT_RETRY = 5
"""Seconds between two tries to connect; gobgpd's own default is two minutes."""
_IDLE_AFTER_RESET = 5
"""Seconds of peace after a reset. GoBGP 3 does not listen to it and takes 30."""
_DEFERRAL = 60
"""RFC 4724 section 4.1: seconds that gobgpd, restarted, waits for others' End-of-RIB at most; as
in the file that one of ours is started with. Its own are 360, for which a dead neighbour would keep
us from being heard of."""
_GROUP = "bgp-ipvlan "
_PLAIN = {
    "FourOctetASNCapability": "4-octet-as",
    "RouteRefreshCapability": "route-refresh",
    "EnhancedRouteRefreshCapability": "enhanced-route-refresh",
    "ExtendedMessageCapability": "extended-message",
    "ExtendedNexthopCapability": "extended-next-hop",
}


def state(number: int) -> model.SessionState:
    """A session's, as both versions number it."""
    return _STATES.get(number, model.SessionState.IDLE)


def status(dialect: dialects.Dialect, peer: Any) -> model.NeighborStatus | None:
    """A neighbour as it is; None for one without an address yet (unnumbered)."""
    address = paths.source(peer.state.neighbor_address)
    if address is None:
        return None
    session = state(peer.state.session_state)
    up = session is model.SessionState.ESTABLISHED
    agreed = _Agreed(dialect, peer) if up else None
    counts = [one.state for one in peer.families]
    received = sum(one.received for one in counts)
    timers = peer.timers.state
    router_id = paths.source(peer.state.router_id)
    return model.NeighborStatus(
        address=address,
        remote_as=peer.state.peer_asn or peer.conf.peer_asn,
        state=session,
        since=float((timers.uptime if up else timers.downtime).seconds),
        local_as=peer.conf.local_asn,
        local_address=paths.source(peer.transport.local_address) if up else None,
        router_id=router_id if isinstance(router_id, ipaddress.IPv4Address) and up else None,
        hold_time=timers.negotiated_hold_time if up else 0,
        received=received,
        refused=max(received - sum(one.accepted for one in counts), 0),
        sent=sum(one.advertised for one in counts) if up else 0,
        end_of_rib=agreed is not None and agreed.end_of_rib,
        graceful_restart=agreed is not None and "graceful-restart" in agreed.names,
        capabilities=agreed.names if agreed is not None else (),
        families=agreed.families if agreed is not None else (),
        # What gobgpd keeps of a neighbour that is away is from before its restart.
        stale=0 if up else received,
        idle_reason=_idle_reason(peer.state.admin_state - dialect.base),
        password=bool(peer.conf.password),
        dynamic=not peer.conf.neighbor_interface
        and paths.source(peer.conf.neighbor_address) is None,
        description=peer.conf.description,
    )


def _idle_reason(admin: int) -> str:
    return {_DOWN: "shutdown", _TOO_MANY: "max-prefixes"}.get(admin, "")


class _Agreed:
    """What both sides of a session can, in the words of `bgp.capability`."""

    def __init__(self, dialect: dialects.Dialect, peer: Any) -> None:
        ours = _Side(dialect, peer.state.local_capabilities)
        theirs = _Side(dialect, peer.state.remote_capabilities)
        self.families = tuple(f for f in model.Family if f in ours.families & theirs.families)
        names = [name for kind, name in _PLAIN.items() if kind in ours.kinds & theirs.kinds]
        if ours.receives & theirs.sends & set(self.families):
            names.append("add-path-receive")
        if ours.restart is not None and theirs.restart is not None:
            names.append("graceful-restart")
            if ours.restart & theirs.restart & _NOTIFICATION:
                names.append("graceful-restart-notification")
        self.names = tuple(names)
        said = {
            one.config.family.afi
            for one in peer.families
            if one.graceful_restart.state.end_of_rib_received
        }
        self.end_of_rib = bool(self.families) and said.issuperset(self.families)


class _Side:
    """What one side can."""

    def __init__(self, dialect: dialects.Dialect, capabilities: Iterable[bytes]) -> None:
        self.kinds: set[str] = set()
        self.families: set[int] = set()
        self.receives: set[int] = set()
        self.sends: set[int] = set()
        self.restart: int | None = None
        for one in capabilities:
            kind, value = dialect.capability(one)
            self.kinds.add(kind)
            if kind == "MultiProtocolCapability":
                family = messages.CapabilityFamily.FromString(value).family
                self.families |= {family.afi} if family.safi == 1 else set()
            elif kind == "GracefulRestartCapability":
                self.restart = messages.CapabilityRestart.FromString(value).flags
            elif kind == "AddPathCapability":
                self._add_path(messages.CapabilityFamilies.FromString(value).entries)
        if "MultiProtocolCapability" not in self.kinds:
            self.families = {model.Family.IPV4}  # RFC 4760 section 8

    def _add_path(self, entries: Iterable[Any]) -> None:
        for entry in entries:
            if entry.family.safi == 1:
                self.receives |= {entry.family.afi} if entry.mode & _RECEIVE else set()
                self.sends |= {entry.family.afi} if entry.mode & _SEND else set()


# --- as configured --------------------------------------------------------------------------


def peer(
    dialect: dialects.Dialect, config: model.NeighborConfig, *, local_as: int, restart_time: int
) -> Any:
    """A neighbour to be added or changed.

    All that gobgpd would fill in stands in it, or an update would be taken for a change of
    everything, and end the session.

    Raises:
        errors.EngineError: `gobgp-unsupported`.
    """
    external = config.remote_as != (config.local_as or local_as)
    found = messages.Peer(
        conf=messages.PeerConfig(
            password=config.password,
            description=config.description,
            local_asn=config.local_as or local_as,
            neighbor_address=str(config.address),
            peer_asn=config.remote_as,
            type=dialect.base + external,
            allow_own_asn=config.allow_own_as,
        )
    )
    _common(found, config, restart_time)
    any_ = "0.0.0.0" if config.address.version == 4 else "::"  # noqa: S104
    found.transport.local_address = str(config.local_address or any_)
    return found


def group(
    dialect: dialects.Dialect,
    config: model.DynamicNeighbors,
    *,
    description: str,
    local_as: int,
    restart_time: int,
) -> Any:
    """The peer group that neighbours of a range belong to.

    Raises:
        errors.EngineError: `gobgp-unsupported`.
    """
    template = config.template
    if dialect is dialects.V3 and template.password:
        # It would set no key on its socket, and so let in whoever comes without one.
        raise unsupported("a password for a range of neighbours (GoBGP 4 can)")
    if dialect is dialects.V3 and template.allow_own_as:
        raise unsupported("allow-own-as for a range of neighbours (GoBGP 4 can)")
    found = messages.PeerGroup(
        conf=messages.GroupConfig(
            password=template.password,
            description=description,
            local_asn=template.local_as or local_as,
            peer_asn=template.remote_as,
            name=group_name(config.prefix),
            allow_own_asn=template.allow_own_as,
        )
    )
    _common(found, template, restart_time)
    if template.local_address is not None:
        found.transport.local_address = str(template.local_address)
    return found


def group_name(prefix: model.Prefix) -> str:
    """Of the peer group that a range has."""
    return f"{_GROUP}{prefix}"


def group_prefix(name: str) -> model.Prefix | None:
    """The range whose group has such a name; None if it is not one of ours."""
    if not name.startswith(_GROUP):
        return None
    try:
        return ipaddress.ip_network(name.removeprefix(_GROUP))
    except ValueError:
        return None


def _common(found: Any, config: model.NeighborConfig, restart_time: int) -> None:
    """What neighbours and groups have in common."""
    if not config.hold_time:
        raise unsupported("a hold time of 0 (it takes that for its default, 90 s)")
    if config.allow_own_as > 255:
        raise unsupported("allow-own-as above 255")
    timers = found.timers.config
    timers.connect_retry = _CONNECT_RETRY
    timers.hold_time = config.hold_time
    timers.keepalive = config.keepalive or max(config.hold_time // 3, 1)
    timers.idle_hold_after_reset = _IDLE_AFTER_RESET
    found.transport.passive = config.passive
    found.transport.remote_port = config.port
    found.transport.bind_interface = config.bind_interface
    if config.ttl_security:  # gobgpd has the one or the other
        found.ttl_security.enabled = True
        found.ttl_security.ttl_min = 256 - config.multihop
    elif config.multihop > 1:
        found.ebgp_multihop.enabled = True
        found.ebgp_multihop.ttl = config.multihop
    if config.graceful_restart:
        found.graceful_restart.enabled = True
        found.graceful_restart.restart_time = restart_time
        found.graceful_restart.deferral_time = _DEFERRAL
        found.graceful_restart.notification = True
    found.families.extend(_family(config, family) for family in sorted(config.families))


def _family(config: model.NeighborConfig, family: model.Family) -> Any:
    name = messages.Family(afi=family, safi=1)
    one = messages.AfiSafi(config=messages.FamilyConfig(family=name, enabled=True))
    one.graceful_restart.config.enabled = config.graceful_restart
    one.add_paths.config.receive = config.add_path
    if config.max_prefixes:
        one.prefix_limit.family.CopyFrom(name)
        one.prefix_limit.max_prefixes = config.max_prefixes
        one.prefix_limit.threshold_percent = config.max_prefixes_warn
    return one


def unsupported(what: str) -> errors.EngineError:
    """Something that gobgpd has no word for."""
    return errors.EngineError("gobgp-unsupported", f"gobgpd has not {what}")
