"""The OpenAPI document that the daemon serves, made from the tables that it serves by.

Nothing is listed here a second time: a path without a description is an error when the document is made.
"""

import json
from pathlib import Path
from typing import assert_never

from mdcache import __version__
from mdcache.exchange.endpoints import ENDPOINTS, Endpoint
from mdcache.exchange.markets import KlineEndpoint, Market
from mdcache.serving.binance.headers import CONTENT_TYPE
from mdcache.serving.routes import ROUTES, PathKind, Route
from tools import openapi_native, openapi_operations, openapi_streams
from tools import openapi_schemas as schemas
from tools.openapi_schemas import MARKETS, Json, content, ref
from tools.openapi_words import SUMMARIES

_ABOUT = """
Binance's public market data, cached. Change a base URL and nothing else: bodies are byte for byte what Binance
would have sent at the answer's as-of. Every GET may be a HEAD. Keyed or signed paths are refused (403, -2015), other
paths are unknown (404, -5000), other methods not supported (405, -1020).
"""
_OPERATIONS, _NATIVE, _STREAMS, _FUTURES_DATA = "operations", "native", "streams", "futures-data"
_TAGS = {
    **{name: f"Binance's public paths of {name}, answered as Binance does." for name in MARKETS.values()},
    _FUTURES_DATA: "Binance's statistics of both futures markets.",
    _STREAMS: "Binance's streams over WebSockets: one subscription there, however many listen here.",
    _NATIVE: "Many series in one answer, waiting for a close, tables, events, the price at a moment, charts.",
    _OPERATIONS: "Health, status, metrics, pages, and admin calls.",
}
EXAMPLES = Path(__file__).with_name("openapi_examples.json")


def text() -> str:
    """Return the document as JSON, with a line for each path and for each component."""
    whole = document()
    _add_examples(whole, json.loads(EXAMPLES.read_text(encoding="utf-8")))
    paths, components = whole.pop("paths"), whole.pop("components")
    sections = ",\n".join(f'"{name}": {_lines(section)}' for name, section in components.items())
    head = json.dumps(whole, ensure_ascii=False).removesuffix("}")
    return f'{head},\n"paths": {_lines(paths)},\n"components": {{\n{sections}\n}}}}\n'


def _lines(section: Json) -> str:
    lines = (f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in section.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def _add_examples(whole: Json, captured: Json) -> None:
    """Put captured answers into the document: bodies by path and method, headers, and bodies of status 400."""
    for path, methods in captured["answers"].items():
        for method, answer in methods.items():
            found = whole["paths"][path][method]["responses"]["200"]["content"]
            found[answer["type"]]["example"] = answer["body"]
    for name, value in captured["headers"].items():
        whole["components"]["headers"][name]["example"] = value
    for component, bodies in captured["refusals"].items():
        refused = whole["components"]["responses"][component]["content"][schemas.JSON]
        refused["examples"] = {what: {"value": body} for what, body in bodies.items()}
    for each in captured["own_refusals"]:
        response = whole["paths"][each["path"]][each["method"]]["responses"][each["status"]]
        response["content"][schemas.JSON]["example"] = each["body"]


def _handshake(path: str) -> Json:
    name = path.strip("/").translate(str.maketrans("/", "_", "{}"))
    return {"operationId": name, "tags": [_STREAMS], **openapi_streams.item(path)}


def document() -> Json:
    """Return the whole document but for its examples."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mdcache",
            "version": __version__,
            "description": " ".join(_ABOUT.split()),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": said} for name, said in _TAGS.items()],
        "paths": {path: _item(path, found) for path, found in ROUTES.items()}
        | {path: {"get": _handshake(path)} for path in openapi_streams.PATHS},
        "components": {
            "schemas": schemas.SCHEMAS | openapi_native.SCHEMAS,
            "headers": schemas.RESPONSE_HEADERS,
            "parameters": schemas.REQUEST_HEADERS | {"TimeUnit": schemas.TIME_UNIT},
            "responses": {f"Status{status}": made for status, made in _SHARED.items()},
            "securitySchemes": {"adminToken": {"type": "http", "scheme": "bearer"}},
        },
    }


_SHARED = schemas.REFUSALS | schemas.FAILURES


def _item(path: str, found: Route) -> Json:
    match found.kind:
        case PathKind.KLINES | PathKind.SNAPSHOT | PathKind.EXCHANGE_INFO | PathKind.TIME | PathKind.PING:
            return {"get": {"operationId": path.strip("/").replace("/", "_"), **_read(path, found)}}
        case PathKind.OPS:
            name = path.strip("/").replace("/", "_") or "page"
            described = openapi_operations.operations(path)
            return {
                method: {
                    "operationId": f"{name}_{method}" if described[1:] else name,
                    "tags": [_OPERATIONS],
                    **operation,
                }
                for method, operation in described
            }
        case PathKind.EVENTS:
            return {
                "get": {"operationId": path.strip("/").replace("/", "_"), "tags": [_NATIVE], **openapi_native.events()}
            }
        case PathKind.NATIVE:
            name = path.strip("/").replace("/", "_").replace(".", "_")
            return {"get": {"operationId": name, "tags": [_NATIVE], **openapi_native.operation(path)}}
        case PathKind.KEYED | PathKind.NOT_SERVED | PathKind.UNKNOWN:
            raise ValueError(f"{path} is not served")
        case _:
            assert_never(found.kind)


# ----------------------------------------------------------------------------------- Binance-compatible paths


def _read(path: str, found: Route) -> Json:
    if isinstance(found.rule, KlineEndpoint):
        return _klines(found.rule)
    if isinstance(found.rule, Endpoint):
        return _snapshot(ENDPOINTS.get(path, (found.rule,)), info=found.kind is PathKind.EXCHANGE_INFO)
    if found.market is None:
        raise ValueError(f"{path} has no market")
    return _local(found.market, found.kind)


def _klines(rule: KlineEndpoint) -> Json:
    nearest = "newest" if rule.nearest_end else "oldest"
    return {
        "tags": [MARKETS[rule.market]],
        "summary": f"{SUMMARIES[rule.kind]} ({MARKETS[rule.market]})",
        "description": f"Candles. A range with more than `limit` rows keeps the {nearest} of them."
        + (f" Ends lie at most {rule.max_span_ms // 86_400_000} days apart." if rule.max_span_ms else ""),
        "parameters": [
            *schemas.query_parameters(rule.market, schemas.kline_parameters(rule)),
            *_request_headers(rule.market),
        ],
        "responses": _answers(rule.market, "Rows"),
    }


def _snapshot(endpoints: tuple[Endpoint, ...], *, info: bool) -> Json:
    first, *others = endpoints
    said = [f"{MARKETS[each.market]}: {_rules(each)}" for each in endpoints]
    if others:
        query = schemas.shared_parameters(endpoints)
        said.append("With `symbol` it is USD-M's. A `pair` is COIN-M's where USD-M takes none, else if it ends in USD.")
    else:
        query = schemas.query_parameters(first.market, first.parameters)
    return {
        "tags": [_FUTURES_DATA if first.path.startswith("/futures/") else MARKETS[first.market]],
        "summary": f"{SUMMARIES[first.short_path]} ({' and '.join(MARKETS[each.market] for each in endpoints)})",
        "description": " ".join(said),
        "parameters": [*query, *_request_headers(first.market)],
        "responses": _answers(first.market, "ExchangeInfo" if info else "Snapshot"),
    }


def _rules(endpoint: Endpoint) -> str:
    said = f"weight {endpoint.weight}."
    if endpoint.exclusive:
        names = ", ".join(f"`{name}`" for name in endpoint.exclusive)
        said += f" {'Exactly' if endpoint.one_required else 'At most'} one of {names}."
    return said


def _local(market: Market, kind: PathKind) -> Json:
    timed = kind is PathKind.TIME
    body = ref("schemas", "Time") if timed else {"type": "object", "maxProperties": 0}
    refused = {"403", "414", *({"502", "503"} if timed else ()), *({"400"} if market is Market.SPOT else ())}
    answer = {"description": "As Binance answers.", "headers": schemas.LOCAL, **_body(market, body)}
    return {
        "tags": [MARKETS[market]],
        "summary": f"{SUMMARIES[kind.value]} ({MARKETS[market]})",
        "description": "Answered here, from the exchange-synchronised clock." if timed else "Answered here.",
        **({"parameters": [ref("parameters", "TimeUnit")]} if timed and market is Market.SPOT else {}),
        "responses": {"200": answer} | {each: _shared(each) for each in sorted(refused)},
    }


def _answers(market: Market, schema: str) -> Json:
    body = _body(market, ref("schemas", schema))
    answer = {"description": "As Binance answers.", "headers": schemas.ENCODED, **body}
    return {"200": answer} | {status: _shared(status) for status in _SHARED}


def _body(market: Market, schema: Json) -> Json:
    return content(schema, CONTENT_TYPE[market].decode())


def _shared(status: str) -> Json:
    return ref("responses", f"Status{status}")


def _request_headers(market: Market) -> list[Json]:
    units = ["TimeUnit"] if market is Market.SPOT else []
    return [ref("parameters", name) for name in (*schemas.REQUEST_HEADERS, *units)]
