"""The ASGI application: which path is whose, and what no path may do (keyed requests, long queries, tracebacks)."""

import asyncio
import re
import traceback
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import unquote_to_bytes

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from mdcache.clock import Clock
from mdcache.errors import DeadlinePassed, MdcacheError
from mdcache.events import Events, Failed
from mdcache.exchange.endpoints import Endpoint, Flat
from mdcache.exchange.markets import KlinePath
from mdcache.serving.asked import Reader, is_near
from mdcache.serving.binance import Binance, fault
from mdcache.serving.lane import FastLane
from mdcache.serving.ops import Ops
from mdcache.serving.paths import Kind, Route, route
from mdcache.serving.ports import Recorder
from mdcache.serving.refusals import DIRECTLY, LONG, METHOD, UNKNOWN
from mdcache.serving.replies import Receive, Reply, Scope, Send, refusal, refusal_of

MAX_QUERY_BYTES = 8_192
WHOLE_REQUEST = "mdcache.request"  # ASGI extension of our server: the request's very bytes, where they are known
_ALLOW = (b"allow", b"GET, HEAD, OPTIONS")
_SIGNATURE = re.compile(rb"(?:^|&)signature=", re.IGNORECASE)
_SHOWN = 100  # characters of a path that are repeated to its sender
_CHANGING = frozenset({"POST", "PUT", "DELETE"})
_READING = ("GET", "HEAD", "OPTIONS")
_PREFLIGHT_S = 600
_EXPOSED = ("Age", "Cache-Status", "ETag", "Retry-After", "X-MBX-USED-WEIGHT-1M", "X-MDCache-As-Of")
_PLAIN_PATH = re.compile(r"/(?:api|fapi|dapi|futures)/\w+(?:/[\w-]+)+", re.ASCII)
_UNKNOWN_WEIGHT = 20  # DESIGN 2.1: what is reserved for a path nobody here knows
_ENDPOINT = {Kind.TIME: "time", Kind.PING: "ping"}
_CALL_DIRECTLY = (
    "This path, method or signature needs an API key: call Binance directly. mdcache takes no keys and forwards none."
)


class App:
    """ASGI 3 application of the daemon."""

    def __init__(
        self,
        binance: Binance,
        ops: Ops,
        reader: Reader,
        clock: Clock,
        events: Events,
        recorder: Recorder,
        *,
        cors_origins: Sequence[str] = (),
        forward: bool = False,
    ) -> None:
        self._binance = binance
        self._ops = ops
        self._reader = reader
        self._clock = clock
        self._events = events
        self._recorder = recorder
        self._forward = forward
        self._cross = bool(cors_origins)
        self._whole: ASGIApp = self._answer
        if cors_origins:
            self._whole = CORSMiddleware(
                self._answer,
                allow_origins=cors_origins,
                allow_methods=_READING,
                allow_headers=["*"],
                expose_headers=_EXPOSED,
                max_age=_PREFLIGHT_S,
            )
        self.lane = FastLane(binance, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._whole(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # no web sockets, and nothing to do at start and end
            return
        began_s = self._clock.now()
        found = route(scope["path"])
        if self._forward and found.kind is Kind.UNKNOWN:
            found = passed_on(found, scope["path"])
        if found.kind is Kind.OPS:
            await self._operate(scope, receive, send)
            return
        try:
            reply = await self._reply(scope, found, began_s)
        except asyncio.CancelledError:  # only the server cancels, at the end of its grace
            reply = refusal_of(DeadlinePassed(1.0, "shutting down"))
        except Exception as error:  # noqa: BLE001 - the last line before a client would see a traceback
            self._events.emit(Failed("request", where(error)))
            self._count(found, "error", began_s)
            reply = refusal_of(error)
        await reply.send(send, bodiless=scope["method"] == "HEAD")

    async def _operate(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._ops(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the client has its answer; the log has not
            self._events.emit(Failed("request", where(error)))

    async def _reply(self, scope: Scope, found: Route, began_s: float) -> Reply:
        no = objection(found, scope["path"], scope["method"], scope["query_string"])
        if no is not None:
            self._count(found, "refused", began_s)
            return no
        if scope["method"] == "OPTIONS":
            return Reply(204, (_ALLOW,), b"")
        if found.rule is not None:
            return await self._read(scope, found.rule, began_s)
        return await self._local(scope, found, began_s)

    async def _read(self, scope: Scope, rule: KlinePath | Endpoint, began_s: float) -> Reply:
        near = is_near(scope["client"][0] if scope.get("client") else None)
        asked = self._reader.read(rule, scope["query_string"], scope["headers"], near=near)
        ready = self._binance.ready(asked, began_s)
        if ready is None:
            return await self._binance.read(asked, began_s)
        whole = (scope.get("extensions") or {}).get(WHOLE_REQUEST)
        crosses = self._cross and any(name == b"origin" for name, _ in scope["headers"])
        if whole is not None and not crosses:
            self.lane.learn(whole["bytes"], asked, near=near)
        return ready

    async def _local(self, scope: Scope, found: Route, began_s: float) -> Reply:
        if found.market is None:
            return refusal(*UNKNOWN, _unknown("?", "GET"))
        try:
            query = scope["query_string"]
            if found.kind is Kind.TIME:
                unit = next((value for name, value in scope["headers"] if name == b"x-mbx-time-unit"), None)
                told = None if unit is None else unit.decode("latin-1")
                reply = await self._binance.time(found.market, query, told)
            else:
                reply = self._binance.ping(found.market, query)
        except MdcacheError as error:
            self._count(found, fault(error), began_s)
            return refusal_of(error)
        self._count(found, "hit", began_s)
        return reply

    def _count(self, found: Route, result: str, began_s: float) -> None:
        market = found.market.value if found.market is not None else "other"
        endpoint = found.rule.tail if found.rule is not None else _ENDPOINT.get(found.kind, "other")
        self._recorder.record(market, endpoint, result, "", self._clock.now() - began_s, None)


def objection(found: Route, path: str, method: str, query: bytes) -> Reply | None:
    """The refusal of what is never looked into any further; `None` if there is nothing against it."""
    if len(query) > MAX_QUERY_BYTES:
        return refusal(*LONG, f"The query is longer than {MAX_QUERY_BYTES} bytes.")
    changing = found.market is not None and method in _CHANGING
    if found.kind is Kind.KEYED or changing or _signed(query):
        return refusal(*DIRECTLY, _CALL_DIRECTLY)
    if found.kind is Kind.UNKNOWN:
        return refusal(*UNKNOWN, _unknown(path, method))
    if method not in {"GET", "HEAD", "OPTIONS"}:
        return refusal(*METHOD, f"Method {method[:_SHOWN]} is not supported here.", _ALLOW)
    return None


def passed_on(found: Route, path: str) -> Route:
    """The route of a public read that no table knows, where such are forwarded; else as it was."""
    if found.market is None or not _PLAIN_PATH.fullmatch(path):
        return found
    return Route(Kind.SNAPSHOT, found.market, Endpoint(found.market, path, Flat(_UNKNOWN_WEIGHT)))


def where(error: BaseException) -> str:
    """What was raised and where, without its text, which may quote a request."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def _signed(query: bytes) -> bool:
    if b"signature" not in query.lower() and b"%" not in query:
        return False
    return _SIGNATURE.search(query) is not None or _SIGNATURE.search(unquote_to_bytes(query)) is not None


def _unknown(path: str, method: str) -> str:
    return f"Path {path[:_SHOWN]}, Method {method[:_SHOWN]} is invalid"  # as fapi says it
