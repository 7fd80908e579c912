"""The event loop's own connections under httpcore's pool (docs/design.md#connections-to-binance).

httpx leaves the network to anyio, which fits any event loop and costs more CPU at each step of a read, TLS above all.
Only GETs are sent: what is written is short, so that nothing ever waits to be written.
"""

import asyncio
import socket
import ssl
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, cast

import httpcore

_Address = tuple[Any, ...]  # as `getaddrinfo` returns it
_NEXT_ADDRESS_S = 0.25  # RFC 8305: the next address is tried when one has not answered for so long
_MAX_UNREAD = 1 << 18  # bytes; above this, TCP holds the sender back


class LoopNetwork(httpcore.AsyncNetworkBackend):
    """Opens connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,  # noqa: ARG002 - neither is set
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - nor this
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that answers."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                connected = await _connect(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
                try:
                    _, stream = await loop.create_connection(LoopStream, sock=connected)
                except BaseException:
                    connected.close()
                    raise
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, RuntimeError) as error:  # uvloop's sockets raise either
            raise httpcore.ConnectError(str(error)) from error
        return stream


async def _connect(addresses: Sequence[_Address]) -> socket.socket:
    """Connect to the first address that answers: each is given a moment before the next is tried beside it."""
    seen: Counter[int] = Counter()
    ranks = []
    for family, *_ in addresses:  # the families take turns: one of them may lead nowhere
        ranks.append(seen[family])
        seen[family] += 1
    left = [address for _, address in sorted(zip(ranks, addresses, strict=True), key=itemgetter(0))]
    tries: set[asyncio.Task[socket.socket]] = set()
    error: BaseException | None = None
    try:
        while left or tries:
            if left:
                tries.add(asyncio.create_task(_connect_to(left.pop(0))))
            done, tries = await asyncio.wait(
                tries, timeout=_NEXT_ADDRESS_S if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            found = [each.result() for each in done if (error := each.exception()) is None]
            for late in found[1:]:
                late.close()
            if found:
                return found[0]
        raise error or OSError("no address")
    finally:
        for each in tries:
            each.cancel()


async def _connect_to(address: _Address) -> socket.socket:
    family, kind, protocol, _, where = address
    found = socket.socket(family, kind, protocol)
    try:
        found.settimeout(0.0)
        await asyncio.get_running_loop().sock_connect(found, where)
    except BaseException:
        found.close()
        raise
    return found


class LoopStream(httpcore.AsyncNetworkStream, asyncio.Protocol):
    """One connection, with or without TLS."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._received: deque[bytes] = deque()
        self._unread = 0
        self._waiter: asyncio.Future[None] | None = None
        self._at_end = False
        self._error: Exception | None = None
        self._lost = asyncio.Event()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        """Return what came, as soon as something has; empty at the end."""
        if not self._received and not self._at_end:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._waiter
            except TimeoutError as error:
                raise httpcore.ReadTimeout(str(error)) from error
            finally:
                self._waiter = None
        if not self._received:
            if self._error is not None:
                raise httpcore.ReadError(str(self._error)) from self._error
            return b""
        data = self._received.popleft()
        if len(data) > max_bytes:
            self._received.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._unread -= len(data)
        if not self._unread and not self._at_end:
            self._transport.resume_reading()  # does nothing unless it was paused
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - httpcore's
        """Send it; what waits to be sent is bounded by the length of a request."""
        if self._transport.is_closing():
            raise httpcore.WriteError("the connection is closed")
        self._transport.write(buffer)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore.AsyncNetworkStream:
        """Shake hands for TLS."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                found = await loop.start_tls(self._transport, self, ssl_context, server_hostname=server_hostname)
        except BaseException as error:
            self._transport.abort()
            if isinstance(error, TimeoutError):
                raise httpcore.ConnectTimeout(str(error)) from error
            if isinstance(error, OSError):  # ssl.SSLError is one
                raise httpcore.ConnectError(str(error)) from error
            raise
        if found is None:
            raise httpcore.ConnectError("the connection was lost in the handshake")
        self._transport = found
        return self

    async def aclose(self) -> None:
        """Close it at once."""
        self._transport.abort()
        await self._lost.wait()
        self._received.clear()  # what holds this may wait for the garbage collector

    def get_extra_info(self, info: str) -> object:
        """Return whether there is something to read; on an idle connection, that is its end or something unasked."""
        if info == "is_readable":
            return self._at_end or bool(self._received)
        return self._transport.get_extra_info(info)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep what came until it is read."""
        self._received.append(data)
        self._unread += len(data)
        if self._unread > _MAX_UNREAD:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Note that nothing more comes; the transport then closes itself."""
        self._at_end = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._at_end, self._error = True, exc
        self._lost.set()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
