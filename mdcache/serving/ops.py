"""The operators' paths: health, readiness, metrics, status, documentation, and what the admin token opens.

Starlette lives here and in `docs.py`. Errors have Binance's form here too, so that one client reads them all.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mdcache.cache.copying import Copying, Single
from mdcache.cache.library import Library
from mdcache.cache.sharing import Alone, Sharing
from mdcache.cache.warming import Warming
from mdcache.candles.atrest import Which
from mdcache.serving import docs
from mdcache.serving.openapi import document
from mdcache.serving.orders import GateOrder, Purge, WarmOrder
from mdcache.serving.ports import Forgetful, Gates, Readiness
from mdcache.serving.ready import Readies
from mdcache.serving.refusals import OPS_CODES, body_of, told
from mdcache.serving.replies import Receive, Scope, Send
from mdcache.serving.status import Status

_MOST_BYTES = 65_536
_JSON = "application/json"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Hands:
    """What the orders of the admin token act on."""

    library: Library
    readies: Readies
    bodies: Forgetful
    gates: Gates
    warming: Warming
    sharing: Sharing = field(default_factory=Alone)
    copying: Copying = field(default_factory=Single)

    async def forget(self, which: Which) -> int:
        """Make this daemon forget the matching series, on its disk too; how many they were.

        Those in memory forget in the step in which this is called, and so do the answers that are ready.
        """
        matching = self.library.forget(which)
        self.readies.clear()  # those of other series are made again in no time
        if which.subject is None and which.interval is None:
            await self.bodies.clear()
        return max(matching, await self.library.rest.purge(which))


class Ops:
    """ASGI application of the operators' paths.

    `exposition` makes the metrics page for an `Accept` header: body and content type.
    """

    def __init__(
        self,
        status: Status,
        readiness: Callable[[], Readiness],
        exposition: Callable[[str], tuple[bytes, str]],
        hands: Hands,
        admin_token: str | None,
    ) -> None:
        self._status = status
        self._readiness = readiness
        self._exposition = exposition
        self._hands = hands
        self._token = admin_token.encode() if admin_token else None
        self._app = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
                Route("/v1/status", self._state),
                Route("/v1/admin/purge", self._purge, methods=["POST"]),
                Route("/v1/admin/gate", self._gate, methods=["POST"]),
                Route("/v1/admin/warm", self._warm, methods=["GET", "POST", "DELETE"]),
                *docs.routes(document()),
            ],
            exception_handlers={HTTPException: _explain, Exception: _unforeseen},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is raised was answered with a 500 already."""
        await self._app(scope, receive, send)

    async def _healthz(self, _: Request) -> Response:
        return _json({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        found = self._readiness()
        body = {"ready": not found.reasons, "reasons": found.reasons, "degraded": found.degraded}
        if found.reasons:
            return _sent(msgspec.json.encode(body), 503, {"retry-after": "1"})
        return _json(body)

    async def _metrics(self, request: Request) -> Response:
        body, content_type = self._exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    async def _state(self, request: Request) -> Response:
        match request.query_params.get("series", "0"):
            case "0":
                return _sent(self._status.json())
            case "1":
                return _sent(await self._status.listing())
            case _:
                raise HTTPException(400, '"series" is 0 or 1.')

    async def _purge(self, request: Request) -> Response:
        self._admit(request)
        order = _decode(await _body(request), Purge)
        which = Which(order.market, order.symbol.upper() if order.symbol is not None else None, order.interval)
        purged = await self._hands.forget(which)
        await self._hands.sharing.purge(which)
        if which.subject is None and which.interval is None:
            await self._hands.copying.purge()
        return _json({"purged": purged})

    async def _gate(self, request: Request) -> Response:
        self._admit(request)
        order = _decode(await _body(request), GateOrder)
        if (order.action == "close") != (order.seconds is not None):
            raise HTTPException(400, '"seconds" belongs to "close", and only there.')
        if order.seconds is None:
            self._hands.gates.open_gate(order.family)
        else:
            self._hands.gates.close_gate(order.family, order.seconds)
        return _json({"family": order.family.value, "action": order.action})

    async def _warm(self, request: Request) -> Response:
        self._admit(request)
        if request.method == "DELETE":
            await self._hands.warming.cancel()
        elif request.method == "POST":
            asked = _decode(await _body(request), WarmOrder)
            if asked.until_ms is not None and asked.until_ms < asked.since_ms:
                raise HTTPException(400, '"until_ms" lies before "since_ms".')
            if not self._hands.warming.start(asked.order()):
                raise HTTPException(409, "A job is under way: DELETE it, or wait for its end.")
        return _json(self._hands.warming.progress())

    def _admit(self, request: Request) -> None:
        if self._token is None:
            raise HTTPException(403, "No admin token is configured: administration is off.")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._token)
        if scheme.lower() != "bearer" or not right:
            raise HTTPException(401, "The admin token is missing or wrong.", {"www-authenticate": "Bearer"})


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise HTTPException(413, f"The body is longer than {_MOST_BYTES} bytes.")
    return body


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HTTPException(400, str(error)) from error


def _json(content: object) -> Response:
    return _sent(msgspec.json.encode(content))


def _sent(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, {"content-type": _JSON, "cache-control": "no-store", **(headers or {})})


async def _explain(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    body = body_of(OPS_CODES.get(error.status_code, OPS_CODES[400]), str(error.detail))
    return _sent(body, error.status_code, dict(error.headers or {}))


async def _unforeseen(_: Request, error: Exception) -> Response:
    """Starlette sends this and raises the error again, for whoever keeps the log."""
    answer = told(error)
    return _sent(answer.body, answer.status)
