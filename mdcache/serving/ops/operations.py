"""The operators' paths: health, readiness, metrics, status, documentation, and the admin commands.

Starlette is used here and in `pages.py`. Errors have Binance's form here, too, so that clients parse only one form.
"""

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mdcache.cache.audit import Audit
from mdcache.cache.purge import Purge
from mdcache.cache.warmup import Warmup
from mdcache.candles.persistence import SeriesFilter
from mdcache.exchange.markets import Market
from mdcache.exchange.undecodable import UNDECODABLE
from mdcache.serving.errors import OPS_CODES, error_body, error_response
from mdcache.serving.ops import pages
from mdcache.serving.ops.commands import AuditCommand, GateCommand, PurgeCommand, WarmupCommand
from mdcache.serving.ops.foreign_pages import ForeignPages
from mdcache.serving.ops.status import Status
from mdcache.serving.ops.watched_readiness import WatchedReadiness
from mdcache.serving.responses import Receive, Scope, Send
from mdcache.upstream.governor import Governor

_MAX_BODY_BYTES = 65_536
_BODY_TIMEOUT_S = 10.0  # the server's own bound lets what is being answered go on
_JSON = "application/json"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CommandTargets:
    """The parts on which the admin commands act."""

    purge: Purge
    gates: Governor
    warmup: Warmup
    audit: Audit


class OpsApp:
    """ASGI application of the operators' paths.

    `exposition`: returns the metrics page for an `Accept` header: body and content type.
    """

    def __init__(
        self,
        status: Status,
        readiness: WatchedReadiness,
        metrics_page: Callable[[str], tuple[bytes, str]],
        targets: CommandTargets,
        admin_token: str | None,
        foreign_pages: ForeignPages,
    ) -> None:
        self._status = status
        self.readiness = readiness
        self._metrics_page = metrics_page
        self._targets = targets
        self.set_token(admin_token)
        self._foreign_pages = foreign_pages
        self._app = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
                Route("/v1/series", self._series_json),
                Route("/v1/status", self._status_json),
                Route("/v1/admin/purge", self._purge, methods=["POST"]),
                Route("/v1/admin/gate", self._gate, methods=["POST"]),
                Route("/v1/admin/warm", self._warm, methods=["GET", "POST", "DELETE"]),
                Route("/v1/admin/audit", self._audit, methods=["GET", "POST", "DELETE"]),
                *pages.page_routes(),
            ],
            exception_handlers={HTTPException: _http_error, Exception: _unexpected_error},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything raised has already been answered with a 500."""
        refusal = self._foreign_pages.refusal(scope)
        await (self._app if refusal is None else _forbidden(refusal))(scope, receive, send)

    def set_token(self, admin_token: str | None) -> None:
        """Let admin calls need this token from now on; without one they are refused."""
        self._token = admin_token.encode() if admin_token else None

    async def _healthz(self, _: Request) -> Response:
        return _json_ok({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        found = self.readiness.ask()
        body = {"ready": not found.reasons, "reasons": found.reasons, "degraded": found.degraded}
        if found.reasons:
            return _json_response(msgspec.json.encode(body), 503, {"retry-after": "1"})
        return _json_ok(body)

    async def _metrics(self, request: Request) -> Response:
        body, content_type = self._metrics_page(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    async def _status_json(self, request: Request) -> Response:
        match request.query_params.get("series", "0"):
            case "0":
                return _json_response(await self._status.json())
            case "1":
                return _json_response(await self._status.with_series())
            case _:
                raise HTTPException(400, '"series" must be 0 or 1.')

    async def _series_json(self, request: Request) -> Response:
        sent = request.query_params
        market, symbol = sent.get("market"), sent.get("symbol")
        if market is not None and market not in set(Market):
            raise HTTPException(400, '"market" must be spot, usdm or coinm.')
        chosen = Market(market) if market else None
        which = SeriesFilter(chosen, symbol.upper() if symbol else None, sent.get("interval"))
        return _json_response(await self._status.series(which))

    async def _purge(self, request: Request) -> Response:
        self._authorize(request)
        order = _decode(await _body(request), PurgeCommand)
        return _json_ok({"purged": await self._targets.purge.run(_filter(order))})

    async def _gate(self, request: Request) -> Response:
        self._authorize(request)
        order = _decode(await _body(request), GateCommand)
        if (order.action == "close") != (order.seconds is not None):
            raise HTTPException(400, '"seconds" is required with "close", and not allowed otherwise.')
        if order.seconds is None:
            self._targets.gates.open_gate(order.family)
        else:
            self._targets.gates.close_gate(order.family, order.seconds)
        return _json_ok({"family": order.family.value, "action": order.action})

    async def _warm(self, request: Request) -> Response:
        self._authorize(request)
        if request.method == "DELETE":
            await self._targets.warmup.cancel()
        elif request.method == "POST":
            command = _decode(await _body(request), WarmupCommand)
            if command.until_ms is not None and command.until_ms < command.since_ms:
                raise HTTPException(400, '"until_ms" is before "since_ms".')
            if not self._targets.warmup.start(command.request()):
                raise HTTPException(409, "A warm-up job is running: cancel it with DELETE, or wait until it ends.")
        return _json_ok(self._targets.warmup.progress())

    async def _audit(self, request: Request) -> Response:
        self._authorize(request)
        if request.method == "DELETE":
            await self._targets.audit.cancel()
        elif request.method == "POST":
            command = _decode(await _body(request), AuditCommand)
            if not self._targets.audit.start(_filter(command), command.rows):
                raise HTTPException(409, "An audit is running: cancel it with DELETE, or wait until it ends.")
        return _json_ok(self._targets.audit.progress())

    def _authorize(self, request: Request) -> None:
        if self._token is None:
            raise HTTPException(403, "No admin token is configured, so admin calls are refused.")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._token)
        if scheme.lower() != "bearer" or not right:
            raise HTTPException(401, "The admin token is missing or wrong.", {"www-authenticate": "Bearer"})


def _filter(order: PurgeCommand | AuditCommand) -> SeriesFilter:
    symbol = None if order.symbol is None else order.symbol.upper()
    return SeriesFilter(order.market, symbol, order.interval)


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_BODY_BYTES:
                    raise HTTPException(413, f"The body is longer than {_MAX_BODY_BYTES} bytes.")
    except TimeoutError:
        raise HTTPException(408, "The body did not arrive in time.") from None
    return body


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except UNDECODABLE as error:
        raise HTTPException(400, str(error)) from error


def _json_ok(content: object) -> Response:
    return _json_response(msgspec.json.encode(content))


def _json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, {"content-type": _JSON, "cache-control": "no-store", **(headers or {})})


def _forbidden(why: str) -> Response:
    return _json_response(error_body(OPS_CODES[403], why), 403)


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    body = error_body(OPS_CODES.get(error.status_code, OPS_CODES[400]), str(error.detail))
    return _json_response(body, error.status_code, dict(error.headers or {}))


async def _unexpected_error(_: Request, error: Exception) -> Response:
    """Return the response that Starlette sends before it raises the error again, for the log."""
    answer = error_response(error)
    return _json_response(answer.body, answer.status)
