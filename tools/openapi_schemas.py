"""Pieces of the OpenAPI document that several paths share: parameters, headers, refusals. Plain JSON values.

Names, choices, caps, statuses and codes come out of the tables that serve them; only words for people are written here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, assert_never

import msgspec

from mdcache.cache.answers import CacheStatus
from mdcache.cache.audit import AuditProgress
from mdcache.cache.stream_status import StreamsStatus
from mdcache.cache.warmup import WarmupProgress
from mdcache.errors import BudgetSpent, Fault, GateClosed, MdcacheError, NotCached, TransportFailed
from mdcache.exchange.endpoints import Endpoint, Parameter, ParameterKind
from mdcache.exchange.intervals import INTERVALS, SPOT_ONLY
from mdcache.exchange.markets import KlineEndpoint, Market, Subject
from mdcache.exchange.rows import Columns
from mdcache.serving.errors import NEEDS_KEY, OPS_CODES, QUERY_TOO_LONG, TABLE, error_response
from mdcache.serving.listener_status import ListenersStatus
from mdcache.serving.ops.commands import AuditCommand, GateCommand, PurgeCommand, WarmupCommand
from mdcache.serving.ops.series_list import SeriesLine
from mdcache.upstream.backoff import ClosureReason
from mdcache.upstream.reply_status import CAUSES

Json = dict[str, Any]

JSON = "application/json"
MARKETS = {Market.SPOT: "spot", Market.USDM: "USD-M", Market.COINM: "COIN-M"}
_EXAMPLES = {  # what "Try it out" asks for: it is there at Binance and at the simulated exchange
    (Market.SPOT, ParameterKind.SYMBOL): "BTCUSDT",
    (Market.USDM, ParameterKind.SYMBOL): "BTCUSDT",
    (Market.USDM, ParameterKind.PAIR): "BTCUSDT",
    (Market.COINM, ParameterKind.SYMBOL): "BTCUSD_PERP",
    (Market.COINM, ParameterKind.PAIR): "BTCUSD",
}
_MINUTES = "(:[0-5][0-9])?"
_ZONE = (  # from -12:00 to +14:00
    f"^(-(0?[0-9]|1[01]){_MINUTES}|-12(:00)?|[+]?(0?[0-9]|1[0-3]){_MINUTES}|[+]?14(:00)?)$"
)
_MS = {"type": "integer", "format": "int64", "minimum": 0}


# ------------------------------------------------------------------------------------- what a request may say


def kline_parameters(rule: KlineEndpoint) -> tuple[Parameter, ...]:
    """The parameters of a kline path, in the form of the other paths' tables."""
    spot = rule.market is Market.SPOT
    intervals = tuple(each for each in INTERVALS if spot or each not in SPOT_ONLY)
    subject = ParameterKind.SYMBOL if rule.subject is Subject.SYMBOL else ParameterKind.PAIR
    contract = Parameter("contractType", ParameterKind.CHOICE, required=True, choices=rule.contract_types)
    return (
        Parameter(rule.subject.value, subject, required=True),
        *((contract,) if rule.contract_types else ()),
        Parameter("interval", ParameterKind.CHOICE, required=True, choices=intervals),
        Parameter("startTime", ParameterKind.NUMBER),
        Parameter("endTime", ParameterKind.NUMBER),
        *((Parameter("timeZone", ParameterKind.ZONE, default="0"),) if spot else ()),
        Parameter("limit", ParameterKind.LIMIT, default=str(rule.default_limit), maximum=rule.max_limit),
    )


def query_parameters(market: Market, parameters: Sequence[Parameter]) -> list[Json]:
    """The parameters of one market's path."""
    return [_parameter(each, market, "") for each in parameters]


def shared_parameters(endpoints: Sequence[Endpoint]) -> list[Json]:
    """The parameters of a path that serves several markets: all there are, and whose each of them is."""
    made = []
    for name in dict.fromkeys(each.name for endpoint in endpoints for each in endpoint.parameters):
        found = [(endpoint.market, each) for endpoint in endpoints if (each := endpoint.parameter(name))]
        common = len(found) == len(endpoints)
        market, first = found[0]
        whole = replace(
            first,
            required=common and all(each.required for _, each in found),
            choices=tuple(dict.fromkeys(choice for _, each in found for choice in each.choices)),
        )
        notes = [f"{MARKETS[of]} only{', required there' if each.required else ''}." for of, each in found]
        made.append(_parameter(whole, market, "" if common else " ".join(notes)))
    return made


def _parameter(each: Parameter, market: Market, note: str) -> Json:
    schema, said = _schema(each, spot=market is Market.SPOT)
    made: Json = {"name": each.name, "in": "query", "required": each.required}
    if description := " ".join(filter(None, (said, note))):
        made["description"] = description
    if each.kind is ParameterKind.SYMBOLS:  # JSON inside the query string
        return made | {"content": {JSON: {"schema": schema}}}
    if example := _example(each, market):
        made["example"] = example
    return made | {"schema": schema}


def _example(each: Parameter, market: Market) -> str:
    """What to ask for first: one symbol, since all of them are dear, and an interval that is fresh for seconds."""
    if each.kind is ParameterKind.SYMBOL or (each.kind is ParameterKind.PAIR and each.required):
        return _EXAMPLES[market, each.kind] if each.listed or each.required else ""  # else it is an index's name
    if each.kind is ParameterKind.LIMIT and each.maximum != 1 and "5" in (each.choices or ("5",)):
        return "5"  # the page draws few rows at once
    if each.kind is ParameterKind.CHOICE and each.required:
        return next((choice for choice in ("1h", "PERPETUAL") if choice in each.choices), each.choices[0])
    return ""


def _schema(each: Parameter, *, spot: bool) -> tuple[Json, str]:
    """What the parser takes, and what is to be said about it."""
    match each.kind:
        case ParameterKind.SYMBOL | ParameterKind.PAIR:
            said = "Letters (upper case), digits, `-`, `_` and `.`." if spot else "Letters, digits, `-`, `_` and `.`."
            return {"type": "string", "minLength": 1, "maxLength": 50}, said
        case ParameterKind.SYMBOLS:
            most = {"maxItems": each.maximum} if each.maximum else {}
            items = {"type": "string", "minLength": 1, "maxLength": 50}
            return {"type": "array", "items": items, "minItems": 1, "uniqueItems": True, **most}, "A JSON list."
        case ParameterKind.NUMBER:
            micros = spot and each.name.endswith("Time")
            return dict(_MS), "Milliseconds, or microseconds." if micros else ""
        case ParameterKind.LIMIT:
            return _limit(each, spot=spot)
        case ParameterKind.CHOICE:
            return {"type": "string", "enum": list(each.choices), **_default(each.default)}, ""
        case ParameterKind.ZONE:
            return {"type": "string", "pattern": _ZONE, **_default(each.default)}, "Hours, or hours:minutes."
        case ParameterKind.TEXT:
            return {"type": "string", "minLength": 1}, "One, or a JSON list."
        case _:
            assert_never(each.kind)


def _limit(each: Parameter, *, spot: bool) -> tuple[Json, str]:
    schema: Json = {"type": "integer", "default": int(each.default)}
    if each.choices:
        return schema | {"enum": [int(choice) for choice in each.choices]}, ""
    if spot:  # more is no error there, so the schema must not forbid it
        return schema | {"minimum": 1}, f"More than {each.maximum} counts as {each.maximum}."
    return schema | {"minimum": 1, "maximum": each.maximum}, ""


def _default(value: str) -> Json:
    return {"default": value} if value else {}


def _request_header(name: str, description: str, schema: Json, **examples: object) -> Json:
    shown = {"examples": {key: {"value": value} for key, value in examples.items()}} if examples else {}
    return {"name": name, "in": "header", "description": description, "schema": schema, **shown}


REQUEST_HEADERS: Json = {
    "CacheControl": _request_header(
        "Cache-Control",
        "`max-age=N`: not older than N s, refresh first. `max-stale=N`: where Binance can't be asked, older by N s and "
        "marked is fine, even past the candle's close. `no-cache`: refresh now. `only-if-cached`: 504 rather than a "
        "read. What is malformed counts as unsaid.",
        {"type": "string"},
        nothing="",  # the first is what the page sends
        fresh="max-age=1",
        patient="max-stale=60",
        now="no-cache",
        thrifty="only-if-cached",
    ),
    "MinAsOf": _request_header(
        "X-MDCache-Min-As-Of", "Milliseconds: the oldest as-of that the answer may have.", dict(_MS)
    ),
    "Client": _request_header("X-MDCache-Client", "A configured name: a metrics label and a lane.", {"type": "string"}),
    "IfNoneMatch": _request_header(
        "If-None-Match", "Entity tags of what the client holds: 304 if one is still current.", {"type": "string"}
    ),
}
TIME_UNIT: Json = _request_header(
    "X-MBX-TIME-UNIT",
    "The unit of times in the answer.",
    {"type": "string", "enum": ["MILLISECOND", "MICROSECOND"], "default": "MILLISECOND"},
)

# --------------------------------------------------------------------------------------- what an answer may say


def _response_header(description: str, schema: Json, *, required: bool = True) -> Json:
    return {"description": description, "required": required, "schema": schema}


_HOWS = "|".join(how.value for how in CacheStatus if how is not CacheStatus.HIT)
RESPONSE_HEADERS: Json = {
    "Cache-Status": _response_header(
        "RFC 9211: `hit`, or why Binance was asked (`fwd`), with `collapsed`, `stored`, `ttl`. `detail=stale` is the "
        "mark: past its TTL, served because Binance can't be asked now. `detail=derived`: the open candle was computed "
        "from a shorter series.",
        {"type": "string", "pattern": f"^mdcache; (hit|fwd=({_HOWS}))(; .+)?$"},
    ),
    "X-MDCache-As-Of": _response_header("Exchange time (ms) at which the data was true.", dict(_MS)),
    "X-MDCache-Now": _response_header("Exchange time (ms) when the answer was made.", dict(_MS)),
    "X-MDCache-Left-Out": _response_header(
        "Of a table with `partial=true`: the series that it lacks, with their codes.",
        {"type": "string"},
        required=False,
    ),
    "Age": _response_header("Whole seconds since the as-of.", {"type": "integer", "minimum": 0}),
    "Cache-Control": _response_header(
        "The whole lifetime from the as-of; `immutable` for old, fully bounded ranges, else not to be used past it.",
        {"type": "string", "pattern": "^max-age=[0-9]+, (immutable|must-revalidate, stale-while-revalidate=0)$"},
    ),
    "X-Accel-Expires": _response_header(
        "For nginx, which ignores `Age`: seconds that the answer may still be kept.",
        {"type": "integer", "minimum": 0},
        required=False,
    ),
    "ETag": _response_header("Strong, from the content.", {"type": "string", "pattern": '^"[0-9a-f]{32}(-gzip)?"$'}),
    "Vary": _response_header("The request headers on which the answer depends.", {"type": "string"}),
    "Content-Encoding": _response_header(
        "If the client accepts it.", {"type": "string", "const": "gzip"}, required=False
    ),
    "X-MBX-USED-WEIGHT-1M": _response_header(
        "Usage Binance reported in this UTC minute, if any.", {"type": "integer", "minimum": 0}, required=False
    ),
    "Retry-After": _response_header("Seconds until it is worth asking again.", {"type": "integer", "minimum": 1}),
    "NoStore": _response_header("The response must not be stored.", {"type": "string", "const": "no-store"}),
}
_USAGE = {"X-MBX-USED-WEIGHT-1M": {"$ref": "#/components/headers/X-MBX-USED-WEIGHT-1M"}}
UNCACHED: Json = {"Cache-Control": {"$ref": "#/components/headers/NoStore"}}  # of what is no cached answer
_FRESHNESS = ("Cache-Status", "X-MDCache-As-Of", "Age", "Cache-Control", "X-Accel-Expires", "ETag", "Vary")
DATED: Json = {name: {"$ref": f"#/components/headers/{name}"} for name in _FRESHNESS} | _USAGE
ENCODED: Json = DATED | {"Content-Encoding": {"$ref": "#/components/headers/Content-Encoding"}}
LOCAL: Json = UNCACHED | _USAGE
_RETRY: Json = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}


def content(schema: Json, content_type: str = JSON) -> Json:
    """The body of an answer of one type."""
    return {"content": {content_type: {"schema": schema}}}


def ref(section: str, name: str) -> Json:
    """A reference to a component."""
    return {"$ref": f"#/components/{section}/{name}"}


def error(
    description: str, codes: Sequence[int] = (), headers: Json = LOCAL, examples: Mapping[str, bytes] | None = None
) -> Json:
    """An error in Binance's form, of these codes if they are known; `examples`: its bodies, by what each is of."""
    schema = ref("schemas", "Error")
    if codes:
        schema = {"allOf": [schema, {"properties": {"code": {"enum": sorted(set(codes))}}}]}
    made = {"description": description, "headers": headers, **content(schema)}
    if examples:
        made["content"][JSON]["examples"] = {name: {"value": json.loads(body)} for name, body in examples.items()}
    return made


def ops_error(status: int) -> Json:
    """A refusal of the operators' paths."""
    return error(f"{HTTPStatus(status).phrase}.", [OPS_CODES[status]], UNCACHED)


_CAUSES: Mapping[str, MdcacheError] = {
    "ban": GateClosed(97.0, CAUSES[ClosureReason.BAN]),
    "spent": BudgetSpent(12.0, "the weight budget is spent"),
    "failed": TransportFailed(Fault.TIMEOUT),
    "not_cached": NotCached(),
}


def _cannot(status: int) -> Json:
    """What `TABLE` says of a status."""
    shapes = [shape for shape in TABLE.values() if shape.status == status]
    said = dict.fromkeys(f"{shape.code}: {shape.text(MdcacheError())}" for shape in shapes)
    retry = _RETRY if all(shape.retry_after for shape in shapes) else {}
    bodies = {cause: error_response(example) for cause, example in _CAUSES.items()}
    examples = {cause: made.body for cause, made in bodies.items() if made.status == status}
    return error(" ".join(said), [shape.code for shape in shapes], LOCAL | retry, examples)


FAILURES = {str(status): _cannot(status) for status in sorted({shape.status for shape in TABLE.values()})}
REFUSALS = {
    "304": {"description": "What the client holds is still current.", "headers": DATED},
    "400": error("The question is wrong; code and text are Binance's."),
    str(NEEDS_KEY[0]): error("It has a signature: call Binance directly.", [NEEDS_KEY[1]], UNCACHED),
    str(QUERY_TOO_LONG[0]): error("The query is too long.", [QUERY_TOO_LONG[1]], UNCACHED),
    "4XX": error("Another refusal of Binance's own, passed on as it came."),
}


# ---------------------------------------------------------------------------------------------------- schemas


def _row() -> Json:
    """A kline as `rows.py` reads it, but that more columns are let through."""
    made = msgspec.json.schema(Columns)
    return {key: value for key, value in made.items() if key not in {"maxItems", "items"}} | {
        "description": "Open time, open, high, low, close, volume, close time, quote volume, trades, and three more.",
    }


_, _orders = msgspec.json.schema_components(
    [
        PurgeCommand,
        GateCommand,
        WarmupCommand,
        WarmupProgress,
        AuditCommand,
        AuditProgress,
        StreamsStatus,
        ListenersStatus,
        SeriesLine,
    ],
    ref_template="#/components/schemas/{name}",
)
_STRINGS = {"type": "array", "items": {"type": "string"}}
SCHEMAS: Json = {
    "Error": {
        "description": "Binance's form of an error.",
        "type": "object",
        "required": ["code", "msg"],
        "properties": {"code": {"type": "integer", "maximum": -1}, "msg": {"type": "string"}},
        "additionalProperties": False,
    },
    "Row": _row(),
    "Rows": {"type": "array", "items": ref("schemas", "Row")},
    "Snapshot": {"description": "As Binance answers this path.", "type": ["object", "array"]},
    "ExchangeInfo": {
        "type": "object",
        "required": ["serverTime", "symbols"],
        "properties": {"serverTime": _MS, "symbols": {"type": "array", "items": {"type": "object"}}},
    },
    "Time": {
        "type": "object",
        "required": ["serverTime"],
        "properties": {"serverTime": _MS},
        "additionalProperties": False,
    },
    "Readiness": {
        "type": "object",
        "required": ["ready", "reasons", "degraded"],
        "properties": {"ready": {"type": "boolean"}, "reasons": _STRINGS, "degraded": _STRINGS},
        "additionalProperties": False,
    },
    **_orders,
}
