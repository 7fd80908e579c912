"""One market's HTTP client: a sealed GET in, a head and a bounded body out. The one user of httpx's client.

It knows nothing of gates and budgets, and decides nothing. Faults of httpx are translated here.
"""

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from mdcache import __version__
from mdcache.errors import BodyFault, Fault, InvalidBody, TransportFailed
from mdcache.upstream.models import UpstreamRequest
from mdcache.upstream.reply_status import ReplyHead

SPARE_CONNECTIONS = (
    4  # httpx's pool is larger than our concurrency, so that it never queues: docs/design.md#flight-lifetime
)
REFUSAL_BYTES = 65_536  # of a body that is not a 200's: enough for any reason and any firewall's page
_OK = 200

# httpx's tree to our closed set of reasons; the first that fits. A test holds it against httpx's own tree.
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


Transport = httpx.AsyncBaseTransport | Callable[[], httpx.AsyncBaseTransport] | None


@dataclass(slots=True, eq=False)
class _Session:
    """A client and the requests it carries."""

    client: httpx.AsyncClient
    in_flight: int = 0
    retired: bool = False


class MarketClient:
    """The connections to one market. `base_url` may have a path; a `transport` replaces the network.

    A request that is cut off in the middle may cost httpx's pool a slot for good. So the pool that one was
    cut off in is retired: what it carries ends there, and what comes next has a new one.
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
        self._trust_env = trust_env and transport is None
        self._session = self._open()
        self._closing: set[asyncio.Task[None]] = set()

    async def get(self, request: UpstreamRequest, on_head: Callable[[ReplyHead], None]) -> tuple[ReplyHead, bytes]:
        """Send `wire`; `on_head` is called as soon as status and headers are read, before the body.

        All of it takes at most the time-out. Raises `TransportFailed`, and `InvalidBody` for a 200's body
        that is too large or garbled. The body of any other status is best effort: cut where it breaks.
        """
        heads: list[ReplyHead] = []
        session = self._session
        session.in_flight += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._get(session.client, request, on_head, heads)
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
        client = httpx.AsyncClient(
            transport=transport,
            trust_env=self._trust_env,
            timeout=self._timeout_s,
            limits=limits,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # nothing remembered, nothing sent
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": f"mdcache/{__version__}",
            },
        )
        return _Session(client)

    def _retire(self, session: _Session) -> None:
        if isinstance(self._transport, httpx.AsyncBaseTransport):  # somebody else's, and the only one
            return
        session.retired = True
        if session is self._session:
            self._session = self._open()

    def _close(self, session: _Session) -> None:
        task = asyncio.create_task(session.client.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _get(
        self,
        client: httpx.AsyncClient,
        upstream_request: UpstreamRequest,
        on_head: Callable[[ReplyHead], None],
        heads: list[ReplyHead],
    ) -> tuple[ReplyHead, bytes]:
        url = f"{self._base_url}{upstream_request.path}" + (
            f"?{upstream_request.query}" if upstream_request.query else ""
        )
        request = client.build_request("GET", url, headers=list(upstream_request.headers))
        response = await client.send(request, stream=True)
        try:
            head = ReplyHead(
                response.status_code, tuple((name.lower(), value) for name, value in response.headers.items())
            )
            heads.append(head)
            on_head(head)
            if head.status == _OK:
                return head, await _read(response, upstream_request.max_bytes)
            try:
                return head, await _read(response, REFUSAL_BYTES)
            except InvalidBody:  # the status says enough
                return head, b""
        finally:
            await response.aclose()

    @staticmethod
    def _fault_outcome(heads: list[ReplyHead], fault: TransportFailed, error: Exception) -> tuple[ReplyHead, bytes]:
        """Raise a fault that came before or in a 200; after any other status, return that status."""
        if heads and heads[0].status != _OK:
            return heads[0], b""
        raise fault from error


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    """Return the whole body, inflated; never holds more than `max_bytes` of it and one piece from the wire."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip", ""}:
        raise InvalidBody(BodyFault.ENCODING, encoding)
    body = _Inflated(max_bytes) if "gzip" in encoding else _Plain(max_bytes)
    # what `aiter_raw` gives, also where a mocked transport's response was made of a whole body
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the transport is not an asynchronous one")
    async for piece in stream:
        body.feed(piece)
    return body.result()


class _Plain:
    """A body as it came."""

    def __init__(self, max_bytes: int) -> None:
        self._room = max_bytes
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        """Take a piece from the wire."""
        self._keep(piece)

    def result(self) -> bytes:
        """Return all of it."""
        return b"".join(self._pieces)

    def _keep(self, piece: bytes) -> None:
        self._room -= len(piece)
        if self._room < 0:
            raise InvalidBody(BodyFault.TOO_LARGE, "more than asked for")
        self._pieces.append(piece)


class _Inflated(_Plain):
    """A gzip body, maybe of several members (RFC 1952 2.2)."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._member = zlib.decompressobj(wbits=31)
        self._begun = False

    def feed(self, piece: bytes) -> None:
        """Inflate a piece, no further than there is room."""
        while piece:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            self._begun = True
            try:
                self._keep(self._member.decompress(piece, self._room + 1))
            except zlib.error as error:
                raise InvalidBody(BodyFault.ENCODING, str(error)) from error
            piece = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def result(self) -> bytes:
        """Return all of it, if it ended where gzip says it ends."""
        if self._begun and not self._member.eof:
            raise InvalidBody(BodyFault.ENCODING, "the gzip body is cut")
        return super().result()
