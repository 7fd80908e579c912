"""One market's HTTP client: sends a GET, returns its head and a bounded body. The only user of httpx.

It does not know gates or budgets, and decides nothing. It translates httpx's exceptions. Requests go to httpx's
transport, which is all that a GET needs: without redirects, cookies and credentials, httpx's client would only cost.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpcore
import httpx
from isal import isal_zlib

from mdcache import __version__
from mdcache.errors import BodyFault, Fault, InvalidBody, TransportFailed
from mdcache.upstream.loop_network import LoopNetwork
from mdcache.upstream.models import UpstreamRequest
from mdcache.upstream.reply_head import ReplyHead

# httpx's pool is larger than our concurrency, so that it never queues: docs/design.md#flight-lifetime.
SPARE_CONNECTIONS = 4
REFUSAL_BYTES = 65_536  # of a body with another status: enough for any error and any firewall's page
_OK = 200
_IDLE_S = 50.0  # httpx's 5 s would cost most refreshes a handshake: docs/design.md#connections-to-binance
_PREPARED = 256  # requests kept prepared: those for tails are sent again and again

# From httpx's exceptions to our faults; the first match counts. A test compares it with httpx's own tree.
FAULTS: tuple[tuple[type[Exception], Fault], ...] = (
    (httpx.PoolTimeout, Fault.POOL),
    (httpx.TimeoutException, Fault.TIMEOUT),
    (httpx.ProxyError, Fault.PROXY),
    (httpx.ConnectError, Fault.CONNECT),
    (httpx.ReadError, Fault.READ),
    (httpx.WriteError, Fault.WRITE),
    (httpx.NetworkError, Fault.NETWORK),
    (httpx.ProtocolError, Fault.PROTOCOL),
    (httpx.UnsupportedProtocol, Fault.PROTOCOL),
    (httpx.TransportError, Fault.TRANSPORT),
    (httpx.InvalidURL, Fault.URL),
    (httpx.StreamError, Fault.READ),
    (OSError, Fault.OS),
)
_FOREIGN = tuple(kind for kind, _ in FAULTS)


_INFLATE_ERROR = cast("type[Exception]", isal_zlib.error)  # its stub calls the class an instance
_PROXIES = {"http", "https", "all"}  # `getproxies` also returns what needs none
_HEADERS = (("Accept", "application/json"), ("Accept-Encoding", "gzip"), ("User-Agent", f"mdcache/{__version__}"))

Transport = httpx.AsyncBaseTransport | Callable[[], httpx.AsyncBaseTransport] | None


@dataclass(slots=True, eq=False)
class _Session:
    """A pool of connections and its requests in progress."""

    transport: httpx.AsyncBaseTransport
    in_flight: int = 0
    retired: bool = False


class MarketClient:
    """The connections to one market. `base_url` may have a path; a `transport` replaces the network.

    A request that is cancelled midway may leak a slot of httpx's pool. So the pool of a cancelled request is retired:
    its other requests finish there, and later ones use a new pool.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        concurrency: int,
        transport: Transport = None,
        trust_env: bool = True,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._connections = concurrency + SPARE_CONNECTIONS
        self._transport = transport
        self._proxied = trust_env and transport is None and not getproxies().keys().isdisjoint(_PROXIES)
        self._tls = httpx.create_ssl_context(trust_env=trust_env) if transport is None else None
        self._prepared = lru_cache(_PREPARED)(self._prepare)
        self._session = self._open()
        self._closing: set[asyncio.Task[None]] = set()

    async def get(self, request: UpstreamRequest, on_head: Callable[[ReplyHead], None]) -> tuple[ReplyHead, bytes]:
        """Send a request; `on_head` is called as soon as status and headers are read, before the body.

        The whole exchange is bounded by the time-out. Raises `TransportFailed`, and `InvalidBody` for a 200's body that
        is too large or corrupt. With any other status, the body is returned as far as it could be read.
        """
        heads: list[ReplyHead] = []
        session = self._session
        session.in_flight += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._get(session.transport, request, on_head, heads)
        except TimeoutError as error:
            self._retire(session)
            fault = TransportFailed(Fault.TIMEOUT, f"no whole reply in {self._timeout_s:g} s")
            return self._fault_outcome(heads, fault, error)
        except asyncio.CancelledError:
            self._retire(session)
            raise
        except _FOREIGN as error:
            reason = next(name for kind, name in FAULTS if isinstance(error, kind))
            return self._fault_outcome(heads, TransportFailed(reason, f"{type(error).__name__}: {error}"), error)
        finally:
            session.in_flight -= 1
            if session.retired and not session.in_flight:
                self._close(session)

    async def aclose(self) -> None:
        """Close all connections."""
        self._close(self._session)
        await asyncio.gather(*self._closing)

    def _open(self) -> _Session:
        transport = self._transport() if callable(self._transport) else self._transport
        limits = httpx.Limits(max_connections=self._connections, max_keepalive_connections=self._connections)
        if self._proxied or "@" in urlsplit(self._base_url).netloc:
            whole = httpx.AsyncClient(
                transport=transport,
                verify=self._tls or True,
                trust_env=self._proxied,
                timeout=self._timeout_s,
                limits=limits,
                follow_redirects=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # no cookies are stored or sent
            )
            return _Session(_WholeClient(whole))
        return _Session(transport or self._new_pool())

    def _new_pool(self) -> httpx.AsyncHTTPTransport:
        transport = httpx.AsyncHTTPTransport(verify=False)
        transport._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001 - httpx has no parameter for the network
            ssl_context=self._tls,  # one for every pool: certificates take 20 ms to read
            max_connections=self._connections,
            max_keepalive_connections=self._connections,
            keepalive_expiry=_IDLE_S,
            network_backend=LoopNetwork(),
        )
        return transport

    def _prepare(self, path: str, query: str, headers: tuple[tuple[str, str], ...]) -> httpx.Request:
        url = f"{self._base_url}{path}" + (f"?{query}" if query else "")
        return httpx.Request("GET", url, headers=[*_HEADERS, *headers])

    def _retire(self, session: _Session) -> None:
        if isinstance(self._transport, httpx.AsyncBaseTransport):  # given by the caller, and the only one
            return
        session.retired = True
        if session is self._session:
            self._session = self._open()

    def _close(self, session: _Session) -> None:
        task = asyncio.create_task(session.transport.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _get(
        self,
        transport: httpx.AsyncBaseTransport,
        upstream_request: UpstreamRequest,
        on_head: Callable[[ReplyHead], None],
        heads: list[ReplyHead],
    ) -> tuple[ReplyHead, bytes]:
        request = self._prepared(upstream_request.path, upstream_request.query, upstream_request.headers)
        response = await transport.handle_async_request(request)
        try:
            head = ReplyHead(
                response.status_code, tuple((name.lower(), value) for name, value in response.headers.multi_items())
            )
            heads.append(head)
            on_head(head)
            if head.status == _OK:
                return head, await _read(response, upstream_request.max_bytes)
            try:
                return head, await _read(response, REFUSAL_BYTES)
            except InvalidBody:  # the status is enough
                return head, b""
        finally:
            await response.aclose()

    @staticmethod
    def _fault_outcome(heads: list[ReplyHead], fault: TransportFailed, error: Exception) -> tuple[ReplyHead, bytes]:
        """Raise a fault before a reply or in a 200's body; after any other status, return that status."""
        if heads and heads[0].status != _OK:
            return heads[0], b""
        raise fault from error


class _WholeClient(httpx.AsyncBaseTransport):
    """httpx's client, for what its transport lacks: proxies of the environment, credentials in the URL."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; return the reply without its body."""
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    """Return the whole body, inflated; never hold more than `max_bytes` of it and one chunk from the network."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip", ""}:
        raise InvalidBody(BodyFault.ENCODING, encoding)
    body = _Inflated(max_bytes) if "gzip" in encoding else _Plain(max_bytes)
    # like `aiter_raw`, also for a mocked transport's response that was made from a whole body
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the transport is not an asynchronous one")
    async for piece in stream:
        body.feed(piece)
    return body.result()


class _Plain:
    """A body without encoding."""

    def __init__(self, max_bytes: int) -> None:
        self._room = max_bytes
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        """Add a chunk from the network."""
        self._keep(piece)

    def result(self) -> bytes:
        """Return the body."""
        return b"".join(self._pieces)

    def _keep(self, piece: bytes) -> None:
        self._room -= len(piece)
        if self._room < 0:
            raise InvalidBody(BodyFault.TOO_LARGE, "more than asked for")
        self._pieces.append(piece)


class _Inflated(_Plain):
    """A gzip body, possibly of several members (RFC 1952 2.2); isal takes a third of the time of zlib."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._member = isal_zlib.decompressobj(wbits=31)
        self._begun = False

    def feed(self, piece: bytes) -> None:
        """Inflate a chunk, as far as there is room."""
        while piece:
            if self._member.eof:
                self._member = isal_zlib.decompressobj(wbits=31)
            self._begun = True
            try:
                self._keep(self._member.decompress(piece, self._room + 1))
            except _INFLATE_ERROR as error:
                raise InvalidBody(BodyFault.ENCODING, str(error)) from error
            piece = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def result(self) -> bytes:
        """Return the body, if it is a complete gzip stream."""
        if self._begun and not self._member.eof:
            raise InvalidBody(BodyFault.ENCODING, "the gzip body is cut")
        return super().result()
