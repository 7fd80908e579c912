"""Connections by the library `websockets`, and its only user: translates its exceptions, and decides nothing.

No pings are sent: they would count as messages, and a dead connection is found by its silence. Pings of the other side
are answered by the library as soon as they are read, also while the reader is busy. Compression is not offered: to
inflate a frame costs more CPU than all else that is done with it, and 2,500 of them a second are a megabyte.
"""

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)

from mdcache import __version__
from mdcache.errors import Fault, TransportFailed
from mdcache.upstream.reply_head import ReplyHead
from mdcache.upstream.streams.limits import FRAME_BYTES
from mdcache.upstream.streams.ports import ConnectionEnded, HandshakeRefused

_CLOSE_S = 2.0
_QUEUE = 256  # messages read from the socket and not yet taken; then TCP holds the sender back

# From the library's exceptions to our faults; the first match counts.
FAULTS: tuple[tuple[type[Exception], Fault], ...] = (
    (InvalidProxyStatus, Fault.PROXY),  # our own proxy's: Binance saw no handshake
    (InvalidProxy, Fault.PROXY),
    (ProxyError, Fault.PROXY),
    (InvalidURI, Fault.URL),
    (InvalidHandshake, Fault.PROTOCOL),
    (TimeoutError, Fault.TIMEOUT),
    (OSError, Fault.CONNECT),
    (EOFError, Fault.READ),
)
_FOREIGN = tuple(kind for kind, _ in FAULTS)


class _Connect(connect):
    """A connect that follows no redirects: they are refusals, as for requests."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return the refusal."""
        return exc


class WebSocketConnector:
    """Opens connections; proxies and certificates are those of requests."""

    def __init__(self, *, timeout_s: float, trust_env: bool = True) -> None:
        self._timeout_s = timeout_s
        self._trust_env = trust_env
        self._tls = httpx.create_ssl_context(trust_env=trust_env)

    async def __call__(self, url: str) -> "WebSocketConnection":
        """Connect to `url`; raise `HandshakeRefused`, or `TransportFailed` if no answer came."""
        try:
            connection = await _Connect(
                url,
                compression=None,
                user_agent_header=f"mdcache/{__version__}",
                proxy=True if self._trust_env else None,
                open_timeout=self._timeout_s,
                close_timeout=_CLOSE_S,
                ping_interval=None,
                max_size=FRAME_BYTES,
                max_queue=_QUEUE,
                ssl=self._tls if url.startswith("wss:") else None,
            )
        except InvalidStatus as refused:
            response = refused.response
            headers = tuple((name.lower(), value) for name, value in response.headers.raw_items())
            raise HandshakeRefused(ReplyHead(response.status_code, headers), bytes(response.body)) from refused
        except _FOREIGN as error:
            reason = next(name for kind, name in FAULTS if isinstance(error, kind))
            # the text of these two shows the address, and a proxy's may hold a password
            text = error.msg if isinstance(error, InvalidProxy | InvalidURI) else str(error)
            raise TransportFailed(reason, f"{type(error).__name__}: {text}") from error
        return WebSocketConnection(connection)


class WebSocketConnection:
    """An open connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        """Send a message; raise `ConnectionEnded` if that is so."""
        try:
            await self._connection.send(text)
        except ConnectionClosed as closed:
            raise _ended(closed) from closed

    async def receive(self) -> bytes:
        """Return the next message; raise `ConnectionEnded` after the last one."""
        try:
            return await self._connection.recv(decode=False)
        except ConnectionClosed as closed:
            raise _ended(closed) from closed

    async def close(self) -> None:
        """Close it; two seconds are enough for the other side's answer."""
        await self._connection.close()


def _ended(closed: ConnectionClosed) -> ConnectionEnded:
    return ConnectionEnded(None if closed.rcvd is None else closed.rcvd.code, str(closed))
