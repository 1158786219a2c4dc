"""Calls to gobgpd: the channel, time limits, and failures in this package's words."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any

import grpc
import grpc.aio

from bgp_ipvlan import errors

TIMEOUT = 10.0
"""Seconds that gobgpd has for an answer. It has one thread of control: while a neighbour's large
table comes in, calls wait."""
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # a whole table is one message
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # gobgpd comes back within seconds, gRPC would look again after minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    # For a peer that is gone without a word. More often than every five minutes, and gobgpd, which
    # leaves grpc-go's limits as they are, ends the connection ("too many pings"). That gobgpd hangs
    # is noticed by the calls that are made now and then.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def is_missing(error: grpc.aio.AioRpcError) -> bool:
    """Whether the service or method is unknown there."""
    return error.code() is grpc.StatusCode.UNIMPLEMENTED


@contextlib.contextmanager
def translated(target: str) -> Iterator[None]:
    """Foreign exceptions become `errors.EngineError`."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        lost = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        if error.code() in lost or error.code() is grpc.StatusCode.CANCELLED:
            raise unreachable(target, error.details() or error.code().name) from None
        detail = error.details() or error.code().name
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise errors.EngineError("gobgp-large", f"gobgpd says: {detail}") from None
        raise errors.EngineError("gobgp-refused", f"gobgpd says: {detail}") from None
    except grpc.aio.UsageError as error:  # the channel was closed
        raise unreachable(target, str(error)) from None


def unreachable(target: str, detail: str) -> errors.EngineError:
    """Nobody answers."""
    return errors.EngineError(
        "gobgp-unreachable",
        f"gobgpd does not answer at {target} ({detail}): start it, or say where it is with "
        f"--gobgp-api",
    )


class Channel:
    """A connection to one gobgpd, made and made again by gRPC.

    Args:
        target: `HOST:PORT` or `unix:/PATH`.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)

    async def close(self) -> None:
        """End all calls."""
        await self._channel.close()

    async def call(self, method: str, request: Any, answer: Any) -> Any:
        """One request, one answer.

        Args:
            method: `SERVICE/METHOD`.
            request: a message.
            answer: the type of the answer.

        Raises:
            grpc.aio.AioRpcError: see `translated`.
        """
        call = self._channel.unary_unary(
            f"/{method}",
            request_serializer=_serialize,
            response_deserializer=answer.FromString,
        )
        return await call(request, timeout=TIMEOUT)

    async def push(self, method: str, requests: Iterable[Any]) -> None:
        """Many requests, one answer, in which nothing is.

        Raises:
            grpc.aio.AioRpcError: see `translated`.
        """
        call: Any = self._channel.stream_unary(f"/{method}", request_serializer=_serialize)
        await call(iter(requests), timeout=TIMEOUT)

    async def stream(
        self, method: str, request: Any, *, timeout: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        """One request, many answers, as they come.

        Raises:
            grpc.aio.AioRpcError: see `translated`.
        """
        start: grpc.aio.UnaryStreamMultiCallable[Any, bytes] = self._channel.unary_stream(
            f"/{method}", request_serializer=_serialize
        )
        call = start(request, timeout=timeout)
        try:
            while True:
                answer = await call.read()
                if not isinstance(answer, bytes):
                    return  # the end of the stream, an object of gRPC's
                yield answer
        finally:
            call.cancel()


def _serialize(message: Any) -> bytes:
    octets: bytes = message.SerializeToString()
    return octets
