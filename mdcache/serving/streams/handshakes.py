"""Answer the handshakes of listeners, and know their connections (docs/design.md#listeners).

Refusals come before the upgrade, in Binance's form. If the relay has nothing to send now, the
handshake is accepted, and a closing code says so: clients take that for a reason to come back.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.http11 import Request
from websockets.server import ServerProtocol

from mdcache.clock import Clock
from mdcache.errors import ClientLimited
from mdcache.serving.errors import (
    CLIENT_LIMITED,
    CLIENT_LIMITED_TEXT,
    NEEDS_KEY,
    UNKNOWN_PATH,
    retry_after_seconds,
)
from mdcache.serving.listeners import ListenerEnd, Listeners
from mdcache.serving.ops.allowed_hosts import AllowedHosts
from mdcache.serving.streams.batched_writes import BatchedWrites
from mdcache.serving.streams.listener_connection import ListenerConnection, ListenerRelay, ListenerTimes
from mdcache.serving.streams.paths import StreamPath, is_stream_path, is_topic, parse_stream_path

_SWITCHING_PROTOCOLS = 101
_BAD_HANDSHAKE = -1100
_FULL = (503, -1008)
_FOREIGN = (403, -2015)
_BAD_ADDRESS = (400, -1100)
_OFF = (
    "No streams are relayed here: they are off, or none belong to the upstream (MDCACHE_STREAMS, MDCACHE_SPOT_WS_URL)."
)
_RETRY_AFTER = (b"retry-after", b"5")


@dataclass(frozen=True, slots=True)
class UpgradeOffer:
    """The head of a request that offers to upgrade."""

    method: str
    target: str
    version: str
    headers: Sequence[tuple[bytes, bytes]]
    address: str = ""

    def value(self, name: bytes) -> str | None:
        """Return a header's first value."""
        return next((value.decode("latin-1") for found, value in self.headers if found == name), None)

    def request(self) -> Request:
        """Return it as the library has it, with the headers that count; raise `InvalidHeader`."""
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers if _counts(name)]
        return Request(self.target, Headers(fields), self.method, f"HTTP/{self.version}")


@dataclass(frozen=True, slots=True)
class UpgradeRefused:
    """The answer to a handshake that is refused."""

    status: int
    code: int
    msg: str
    end: ListenerEnd = ListenerEnd.PROTOCOL
    fields: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class UpgradeAccepted:
    """The bytes that answer a handshake, and the connection's protocol from then on."""

    response: bytes
    connection: ListenerConnection


class ListenerHandshakes:
    """Answers handshakes: accepts as many as `listeners` admits; without a `relay`, none: streams are off.

    `cors_origins`: of pages that may listen, beside the daemon's own; `hosts`: its own names; `clients`: names of
    clients that are told apart, whatever their addresses; they may be replaced.
    """

    def __init__(
        self,
        relay: ListenerRelay | None,
        listeners: Listeners,
        clock: Clock,
        hosts: AllowedHosts,
        *,
        cors_origins: Sequence[str] = (),
        clients: Container[str] = (),
        times: ListenerTimes | None = None,
    ) -> None:
        self._relay = relay
        self._listeners = listeners
        self._clock = clock
        self._hosts = hosts
        self.clients = clients
        self._cors_origins = frozenset(origin.lower() for origin in cors_origins)
        self._writes = BatchedWrites(clock)
        self._times = times or ListenerTimes()

    def serves(self, headers: Sequence[tuple[bytes, bytes]], target: bytes) -> bool:
        """Return whether a request is a handshake of these streams."""
        offered = (value.strip().lower() for name, value in headers if name == b"upgrade")
        return b"websocket" in offered and is_stream_path(target.decode("latin-1"))

    def answer(self, handshake: UpgradeOffer, peers: set[Any]) -> UpgradeAccepted | UpgradeRefused:
        """Accept a handshake, or refuse it. `peers`: all connections of the server."""
        path = parse_stream_path(handshake.target)
        if path is None or self._relay is None:
            return UpgradeRefused(*UNKNOWN_PATH, _OFF)
        name = (handshake.value(b"x-mdcache-client") or "").strip()
        client = name if name in self.clients else ""
        refusal = (
            _bad_address(path) or self._foreign(handshake) or self._full() or self._limited(handshake.address, client)
        )
        if refusal is not None:
            self._listeners.count_end(path.market, refusal.end)
            return refusal
        try:
            response = ServerProtocol().accept(handshake.request())
        except InvalidHeader as invalid:
            response = ServerProtocol().reject(400, str(invalid))
        if response.status_code != _SWITCHING_PROTOCOLS:
            self._listeners.count_end(path.market, ListenerEnd.PROTOCOL)
            return UpgradeRefused(response.status_code, _BAD_HANDSHAKE, (response.body or b"").decode().split("\n")[0])
        response.headers["Server"] = "mdcache"
        connection = ListenerConnection(
            path, self._relay, self._clock, self._listeners, self._writes, peers, self._times, client
        )
        return UpgradeAccepted(response.serialize(), connection)

    def _foreign(self, handshake: UpgradeOffer) -> UpgradeRefused | None:
        """Refuse a page of another site: browsers let any of them open a WebSocket, and name it in `Origin`."""
        origin = handshake.value(b"origin")
        if origin is None or not self._cors_origins.isdisjoint({"*", origin.lower()}):
            return None
        host = handshake.value(b"host") or ""
        if not _is_of_host(origin.lower(), host.lower()):
            msg = "Pages of this origin may not listen: add it to MDCACHE_CORS_ORIGINS."
            return UpgradeRefused(*_FOREIGN, msg, end=ListenerEnd.ORIGIN)
        if self._hosts.allows(host):
            return None
        msg = "No host by this name is known: add it to MDCACHE_ALLOWED_HOSTS."
        return UpgradeRefused(*_FOREIGN, msg, end=ListenerEnd.ORIGIN)

    def _limited(self, address: str, client: str) -> UpgradeRefused | None:
        try:
            self._listeners.limits.charge(address, client)
        except ClientLimited as error:
            retry_after = b"retry-after", b"%d" % retry_after_seconds(error.retry_after_s)
            return UpgradeRefused(*CLIENT_LIMITED, CLIENT_LIMITED_TEXT, ListenerEnd.LIMITED, (retry_after,))
        return None

    def _full(self) -> UpgradeRefused | None:
        refusal = self._listeners.refusal()
        return None if refusal is None else UpgradeRefused(*_FULL, refusal, ListenerEnd.NO_ROOM, (_RETRY_AFTER,))


def _counts(name: bytes) -> bool:
    return name in {b"connection", b"upgrade"} or name.startswith(b"sec-websocket-")


def _is_of_host(origin: str, host: str) -> bool:
    """Return whether a page's origin is the host that was asked; proxies often leave the port out of `Host`."""
    try:
        page = urlsplit(origin)
    except ValueError:
        return False
    return bool(host) and host in {page.netloc, page.hostname}


def _bad_address(path: StreamPath) -> UpgradeRefused | None:
    if path.keyed:
        return UpgradeRefused(
            *NEEDS_KEY, "This stream needs an account's key: call Binance directly.", ListenerEnd.ACCOUNT
        )
    if not all(map(is_topic, path.topics)):
        return UpgradeRefused(*_BAD_ADDRESS, "A stream's name is invalid.")
    return None
