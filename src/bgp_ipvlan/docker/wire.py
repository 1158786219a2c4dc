"""The bodies of libnetwork's calls of network and IPAM drivers, and their translation to our records.

Shapes only (Docker driver protocol sheet, sections 2 to 4); what happens is `network`'s.
Docker sends every key, `null` for empty maps and lists, and keys we do not know.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from bgp_ipvlan import errors, model

Json = dict[str, Any]
_T = TypeVar("_T")

GENERIC = "com.docker.network.generic"
INTERNAL = "com.docker.network.internal"
PORT_MAP = "com.docker.network.portmap"
ADDRESS_TYPE = "RequestAddressType"
GATEWAY = "com.docker.network.gateway"


class IPAMData(msgspec.Struct, rename="pascal"):
    """One subnet of a CreateNetwork. Pool and gateway are CIDR texts."""

    pool: str = ""
    gateway: str = ""


class CreateNetwork(msgspec.Struct, kw_only=True):
    """NetworkDriver.CreateNetwork."""

    network_id: str = msgspec.field(name="NetworkID")
    options: Json | None = msgspec.field(name="Options", default=None)
    ipv4: list[IPAMData] | None = msgspec.field(name="IPv4Data", default=None)
    ipv6: list[IPAMData] | None = msgspec.field(name="IPv6Data", default=None)


class GwAllocCheck(msgspec.Struct, kw_only=True):
    """NetworkDriver.GwAllocCheck, from Docker 28 on."""

    options: Json | None = msgspec.field(name="Options", default=None)


class NetworkRef(msgspec.Struct, kw_only=True):
    """NetworkDriver.DeleteNetwork, FreeNetwork."""

    network_id: str = msgspec.field(name="NetworkID")


class EndpointInterface(msgspec.Struct, rename="pascal"):
    """The addresses Docker's IPAM chose, as CIDR texts."""

    address: str = ""
    address_ipv6: str = msgspec.field(name="AddressIPv6", default="")
    mac_address: str = ""


class PortBinding(msgspec.Struct, rename="pascal"):
    """One entry of the port map. `proto` is IP's protocol number."""

    proto: int = 0
    port: int = 0
    host_port: int = 0


class CreateEndpoint(msgspec.Struct, kw_only=True):
    """NetworkDriver.CreateEndpoint."""

    network_id: str = msgspec.field(name="NetworkID")
    endpoint_id: str = msgspec.field(name="EndpointID")
    interface: EndpointInterface | None = msgspec.field(name="Interface", default=None)
    options: Json | None = msgspec.field(name="Options", default=None)


class EndpointRef(msgspec.Struct, kw_only=True):
    """Every call that names an endpoint; Join's SandboxKey and Options are not needed."""

    network_id: str = msgspec.field(name="NetworkID")
    endpoint_id: str = msgspec.field(name="EndpointID")


class RequestPool(msgspec.Struct, kw_only=True):
    """IpamDriver.RequestPool. `pool` is `--subnet`, `sub_pool` `--ip-range`, options `--ipam-opt`."""

    pool: str = msgspec.field(name="Pool", default="")
    sub_pool: str = msgspec.field(name="SubPool", default="")
    options: dict[str, str] | None = msgspec.field(name="Options", default=None)
    v6: bool = msgspec.field(name="V6", default=False)


class PoolRef(msgspec.Struct, kw_only=True):
    """IpamDriver.ReleasePool."""

    pool_id: str = msgspec.field(name="PoolID")


class AddressRef(msgspec.Struct, kw_only=True):
    """IpamDriver.RequestAddress, where an empty address means any, and ReleaseAddress."""

    pool_id: str = msgspec.field(name="PoolID")
    address: str = msgspec.field(name="Address", default="")
    options: dict[str, str] | None = msgspec.field(name="Options", default=None)

    @property
    def for_gateway(self) -> bool:
        """Whether it is to be the network's gateway."""
        return (self.options or {}).get(ADDRESS_TYPE) == GATEWAY


def decode(body: bytes, kind: type[_T]) -> _T:
    """Decode a request body.

    Raises:
        errors.BadRequest: `empty-body` (a repeated call of Docker's can lose its body,
            moby#35459), `bad-json`.
    """
    if not body.strip():
        raise errors.BadRequest(
            "empty-body",
            "the request came without a body (Docker does that when it repeats a call): try again",
        )
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise errors.BadRequest("bad-json", f"the request is not understood: {error}") from None


def generic(options: Json | None) -> dict[str, str]:
    """What the user gave with `-o`."""
    found = (options or {}).get(GENERIC) or {}
    if not isinstance(found, dict):
        raise errors.BadRequest("bad-json", f"{GENERIC} is not a map")
    return {str(key): str(value) for key, value in found.items()}


def internal(options: Json | None) -> bool:
    """Whether the user gave `--internal`."""
    return bool((options or {}).get(INTERNAL))


def subnets(request: CreateNetwork) -> tuple[model.Subnet, ...]:
    """The subnets of a network, sorted: Docker's order is that of a Go map.

    Raises:
        errors.BadRequest: `bad-subnet`, `bad-gateway`, `no-subnet`.
    """
    found = []
    for data in (*(request.ipv4 or ()), *(request.ipv6 or ())):
        prefix = _parse("bad-subnet", ipaddress.ip_network, data.pool)
        gateway = None
        if data.gateway:
            gateway = _parse("bad-gateway", ipaddress.ip_interface, data.gateway).ip
        if prefix.prefixlen == 0:
            raise errors.BadRequest(
                "no-subnet",
                "the null IPAM driver gives no subnet, and there is nothing to announce without "
                "one: use --ipam-driver bgp-ipvlan, or leave it out and give --subnet",
            )
        found.append(model.Subnet(prefix, gateway))
    if not found:
        raise errors.BadRequest("no-subnet", "the network has no subnet: give --subnet")
    return tuple(sorted(found, key=lambda s: (s.prefix.version, s.prefix)))


def addresses(request: CreateEndpoint) -> tuple[model.Interface, ...]:
    """The endpoint's addresses, IPv4 first.

    Raises:
        errors.BadRequest: `no-address`, `bad-address`, `mac-address`.
    """
    interface = request.interface or EndpointInterface()
    if interface.mac_address:
        raise errors.BadRequest(
            "mac-address",
            f"MAC address {interface.mac_address} cannot be set: all ipvlan slaves have their "
            f"parent's; leave --mac-address out",
        )
    found = tuple(
        _parse("bad-address", ipaddress.ip_interface, text)
        for text in (interface.address, interface.address_ipv6)
        if text
    )
    if not found:
        raise errors.BadRequest(
            "no-address", "the endpoint has no address: use Docker's own IPAM with --subnet"
        )
    return found


def pool(request: RequestPool) -> tuple[model.Prefix | None, model.Prefix | None]:
    """What `--subnet` and `--ip-range` say; host bits are read over, as Docker does.

    Raises:
        errors.BadRequest: `bad-subnet`.
    """

    def read(text: str) -> model.Prefix | None:
        if not text:
            return None
        return _parse("bad-subnet", lambda t: ipaddress.ip_network(t, strict=False), text)

    return read(request.pool), read(request.sub_pool)


def address(text: str) -> model.Address | None:
    """The address that was asked for, if any.

    Raises:
        errors.BadRequest: `bad-address`.
    """
    return _parse("bad-address", ipaddress.ip_address, text) if text else None


def published(options: Json | None) -> tuple[model.Port, ...]:
    """What `-p` asked for.

    Raises:
        errors.BadRequest: `bad-json`.
    """
    try:
        found = msgspec.convert((options or {}).get(PORT_MAP) or [], list[PortBinding])
    except msgspec.ValidationError as error:
        raise errors.BadRequest("bad-json", f"{PORT_MAP} is not understood: {error}") from None
    return tuple(model.Port(one.proto, one.port, one.host_port) for one in found)


def driver_options(options: Json | None) -> tuple[tuple[str, str], ...]:
    """The endpoint's own `driver-opt`s: every top-level text that is not Docker's."""
    return tuple(
        sorted(
            (key, value)
            for key, value in (options or {}).items()
            if isinstance(value, str) and not key.startswith("com.docker.network.")
        )
    )


def join_answer(network: model.Network, endpoint: model.Endpoint, link: str) -> Json:
    """What Join answers (protocol sheet, section 3).

    A default route of type 1 (on-link) per family, and no gateway: in ipvlan L3 the kernel
    routes for the container. DisableGatewayService keeps docker_gwbridge away.
    """
    families = {address.version for address in endpoint.addresses}
    destinations = [
        text for version, text in ((4, "0.0.0.0/0"), (6, "::/0")) if version in families
    ]
    if network.internal:
        destinations = []
    return {
        "InterfaceName": {"SrcName": link, "DstPrefix": "eth"},
        "StaticRoutes": [
            {"Destination": text, "RouteType": 1, "NextHop": ""} for text in destinations
        ],
        "DisableGatewayService": True,
    }


def _parse(reason: str, parser: Callable[[str], _T], text: str) -> _T:
    try:
        return parser(text)
    except ValueError as error:
        raise errors.BadRequest(reason, f"{text!r} is not usable: {error}") from None
