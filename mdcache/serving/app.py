"""The ASGI application: dispatch requests by path, refuse keyed and oversized ones, and turn errors into responses."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from mdcache.clock import Clock
from mdcache.errors import ClientLimited, DeadlinePassed, MdcacheError
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events
from mdcache.exchange.endpoints import Endpoint, FlatWeight
from mdcache.exchange.markets import KlineEndpoint, Market
from mdcache.results import Result
from mdcache.serving.binance.handler import BinanceHandler, error_result
from mdcache.serving.binance.request import RequestParser, accepts_only_sbe, is_loopback
from mdcache.serving.errors import (
    METHOD_NOT_ALLOWED,
    NEEDS_KEY,
    QUERY_TOO_LONG,
    SBE_NOT_ENABLED,
    UNKNOWN_PATH,
    UPGRADE_REQUIRED,
)
from mdcache.serving.http.fast_lane import RAW_REQUEST_EXTENSION, FastLane
from mdcache.serving.listeners import Listeners
from mdcache.serving.native.native_app import NativeApp
from mdcache.serving.ops.operations import OpsApp
from mdcache.serving.ports import Recorder
from mdcache.serving.responses import (
    ALLOW,
    HttpResponse,
    Receive,
    Scope,
    Send,
    answer_response,
    describe_error,
    failure_response,
    refusal_response,
)
from mdcache.serving.routes import ADMIN_PATHS, ROUTES, PathKind, Route, route
from mdcache.serving.streams.paths import is_stream_path

MAX_QUERY_BYTES = 8_192
_SIGNATURE = re.compile(rb"(?:^|&)signature=", re.IGNORECASE)
_MAX_ECHOED = 100  # characters of a path that are quoted in a reply
_WRITE_METHODS = frozenset({"POST", "PUT", "DELETE"})
_UNLIMITED = frozenset({"/healthz", "/readyz", "/metrics", *ADMIN_PATHS})  # who asks for these must get through
_REFUSED_AFTER_S = 0.1  # who asks too often, and at once again, is slowed down: a refusal costs CPU, too
_READ_METHODS = ("GET", "HEAD", "OPTIONS")
_PREFLIGHT_S = 600
_EXPOSED = (
    *("Age", "Cache-Status", "ETag", "Retry-After", "X-MBX-USED-WEIGHT-1M"),
    *("X-MDCache-As-Of", "X-MDCache-Left-Out", "X-MDCache-Now"),
)
_PLAIN_PATH = re.compile(r"/(?:api|fapi|dapi|futures)/\w+(?:/[\w-]+)+", re.ASCII)
_UNKNOWN_WEIGHT = 20  # docs/design.md#paths: the weight reserved for an unknown path
_LOCAL_ENDPOINTS = {PathKind.TIME: "time", PathKind.PING: "ping"}
_UPGRADE = "This is the path of a WebSocket: connect to it with ws://."
_CALL_DIRECTLY = (
    "This path, method or signature needs an API key: call Binance directly. mdcache takes no keys and forwards none."
)


@dataclass(frozen=True, slots=True)
class Handlers:
    """What answers: Binance's paths, the operators' ones, and the native API."""

    binance: BinanceHandler
    ops: OpsApp
    native: NativeApp


class App:
    """ASGI 3 application of the daemon."""

    def __init__(
        self,
        handlers: Handlers,
        parser: RequestParser,
        clock: Clock,
        events: Events,
        recorder: Recorder,
        listeners: Listeners,
        *,
        cors_origins: Sequence[str] = (),
        forward: bool = False,
    ) -> None:
        self._handlers = handlers
        self._other_handlers: dict[PathKind, ASGIApp] = {
            PathKind.OPS: handlers.ops,
            PathKind.EVENTS: handlers.native,
            PathKind.NATIVE: handlers.native,
        }
        self._hits = handlers.binance.hits
        self._parser = parser
        self._clock = clock
        self._events = events
        self._recorder = recorder
        self._listeners = listeners
        self._limits = listeners.limits
        self._forward = forward
        self._app: ASGIApp = self._answer
        if cors_origins:
            self._app = CORSMiddleware(
                self._answer,
                allow_origins=cors_origins,
                allow_methods=_READ_METHODS,
                allow_headers=["*"],
                expose_headers=_EXPOSED,
                max_age=_PREFLIGHT_S,
            )
        self.fast_lanes = {  # of peers on this machine, and of others
            loopback: FastLane(handlers.binance.hits, clock, listeners.limits, cors=bool(cors_origins))
            for loopback in (True, False)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._app(scope, receive, send)

    def stop_being_ready(self) -> bool:
        """State on `/readyz` that the daemon stops; return whether a balancer will notice."""
        return self._handlers.ops.readiness.stop()

    def drain(self, grace_s: float) -> None:
        """End all that listen, spread over the grace of the shutdown that begins."""
        self._listeners.drain(grace_s)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # WebSockets never come so far, and lifespan events mean nothing here
            return
        began_s = self._clock.now()
        found = route(scope["path"])
        if found.kind is PathKind.OPS and scope["raw_path"] != scope["path"].encode():
            found = Route(PathKind.UNKNOWN)  # docs/design.md#operations: balancers refuse these paths by their spelling
        if self._forward and found.kind is PathKind.UNKNOWN:
            found = forwarded_route(found, scope["path"])
        if self._limits.on and scope["path"] not in _UNLIMITED and await self._refuse_limited(scope, found, send):
            return
        if (handler := self._other_handlers.get(found.kind)) is not None:
            await self._pass_on(handler, scope, receive, send)
            return
        try:
            reply = await self._respond(scope, found, began_s)
        except asyncio.CancelledError:  # only the server cancels, at the end of the drain
            reply = failure_response(DeadlinePassed(1.0, "shutting down"))
        except Exception as error:  # noqa: BLE001 - the last handler, or a client would see a traceback
            self._events.emit(BackgroundTaskFailed(BackgroundTask.REQUEST, describe_error(error)))
            self._count(found, Result.ERROR, began_s)
            reply = failure_response(error)
        await reply.send(send, head_only=scope["method"] == "HEAD")

    async def _refuse_limited(self, scope: Scope, found: Route, send: Send) -> bool:
        """Take a request from its client's bucket; refuse it, after a moment, if there is none, and return True."""
        began_s = self._clock.now()
        address = scope["client"][0] if scope.get("client") else ""
        client = self._parser.client(scope["headers"])
        try:
            self._limits.charge(address, client)
        except ClientLimited as error:
            self._count(found, Result.REFUSED, began_s, client)
            await self._clock.sleep(_REFUSED_AFTER_S)
            await failure_response(error).send(send, head_only=scope["method"] == "HEAD")
            return True
        return False

    async def _pass_on(self, handler: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await handler(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the client has its answer; only log it
            self._events.emit(BackgroundTaskFailed(BackgroundTask.REQUEST, describe_error(error)))

    async def _respond(self, scope: Scope, found: Route, began_s: float) -> HttpResponse:
        if found.kind is PathKind.UNKNOWN and is_stream_path(scope["path"]):
            self._count(found, Result.REFUSED, began_s)
            return refusal_response(*UPGRADE_REQUIRED, _UPGRADE, (b"upgrade", b"websocket"))
        no = early_refusal(found, scope["path"], scope["method"], scope["query_string"])
        if no is not None:
            self._count(found, Result.REFUSED, began_s)
            return no
        if scope["method"] == "OPTIONS":
            return HttpResponse(204, (ALLOW,), b"")
        if found.market is Market.SPOT and _wants_sbe(scope):
            self._count(found, Result.REFUSED, began_s)
            return refusal_response(*SBE_NOT_ENABLED, "SBE is not enabled.")
        if found.rule is not None:
            return await self._respond_read(scope, found.rule, began_s)
        return await self._respond_local(scope, found, began_s)

    async def _respond_read(self, scope: Scope, rule: KlineEndpoint | Endpoint, began_s: float) -> HttpResponse:
        address = scope["client"][0] if scope.get("client") else None
        request = self._parser.parse(rule, scope["query_string"], scope["headers"], address)
        hit = self._hits.answer(request, began_s)
        if hit is None:
            return await self._handlers.binance.respond(request, began_s)
        raw = (scope.get("extensions") or {}).get(RAW_REQUEST_EXTENSION)
        if raw is not None:
            self.fast_lanes[is_loopback(address)].learn(raw["bytes"], request)
        not_modified, as_of_ms, fields, body = hit
        return answer_response(as_of_ms, fields, body, not_modified=not_modified)

    async def _respond_local(self, scope: Scope, found: Route, began_s: float) -> HttpResponse:
        if found.market is None:
            return refusal_response(*UNKNOWN_PATH, _unknown_path("?", "GET"))
        try:
            query = scope["query_string"]
            if found.kind is PathKind.TIME:
                unit = next((value for name, value in scope["headers"] if name == b"x-mbx-time-unit"), None)
                text = None if unit is None else unit.decode("latin-1")
                reply = await self._handlers.binance.time(found.market, query, text)
            else:
                reply = self._handlers.binance.ping(found.market, query)
        except MdcacheError as error:
            self._count(found, error_result(error), began_s)
            return failure_response(error)
        self._count(found, Result.HIT, began_s)
        return reply

    def _count(self, found: Route, result: Result, began_s: float, client: str = "") -> None:
        market = found.market.value if found.market is not None else "other"
        endpoint = found.rule.short_path if found.rule is not None else _LOCAL_ENDPOINTS.get(found.kind, "other")
        self._recorder.record(market, endpoint, result, client, began_s, None)


def early_refusal(found: Route, path: str, method: str, query: bytes) -> HttpResponse | None:
    """Return the refusal of a request that is not handled further; `None` if it is."""
    if len(query) > MAX_QUERY_BYTES:
        return refusal_response(*QUERY_TOO_LONG, f"The query is longer than {MAX_QUERY_BYTES} bytes.")
    changing = found.market is not None and method in _WRITE_METHODS and path not in ROUTES
    if found.kind is PathKind.KEYED or changing or _has_signature(query):
        return refusal_response(*NEEDS_KEY, _CALL_DIRECTLY)
    if found.kind is PathKind.NOT_SERVED:
        return refusal_response(*UNKNOWN_PATH, f"mdcache does not serve {path[:_MAX_ECHOED]}: call Binance directly.")
    if found.kind is PathKind.UNKNOWN:
        return refusal_response(*UNKNOWN_PATH, _unknown_path(path, method))
    if method not in {"GET", "HEAD", "OPTIONS"}:
        return refusal_response(*METHOD_NOT_ALLOWED, f"Method {method[:_MAX_ECHOED]} is not supported here.", ALLOW)
    return None


def forwarded_route(found: Route, path: str) -> Route:
    """Return the route that forwards a public read in no table; `found` itself for any other path."""
    if found.market is None or not _PLAIN_PATH.fullmatch(path):
        return found
    return Route(PathKind.SNAPSHOT, found.market, Endpoint(found.market, path, FlatWeight(_UNKNOWN_WEIGHT)))


def _has_signature(query: bytes) -> bool:
    if b"signature" not in query.lower() and b"%" not in query:
        return False
    return _SIGNATURE.search(query) is not None or _SIGNATURE.search(unquote_to_bytes(query)) is not None


def _wants_sbe(scope: Scope) -> bool:
    return accepts_only_sbe(b",".join(value for name, value in scope["headers"] if name == b"accept"))


def _unknown_path(path: str, method: str) -> str:
    return f"Path {path[:_MAX_ECHOED]}, Method {method[:_MAX_ECHOED]} is invalid"  # as fapi says it
