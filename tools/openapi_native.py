"""The native API in the OpenAPI document."""

from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market
from mdcache.serving.native.candles_query import DEFAULT_LIMIT, MAX_ROWS, MAX_WAIT_S, MEDIA_TYPES
from mdcache.serving.native.tables import COLUMNS
from mdcache.serving.routes import CANDLES_ARROW_PATH, CANDLES_CSV_PATH, CANDLES_PATH, PRICE_PATH, UDF_PATHS
from tools import openapi_schemas as schemas
from tools.openapi_schemas import Json, ref

_TEXT: Json = {"type": "string"}
_MARKET: Json = {"type": "string", "enum": [market.value for market in Market], "examples": ["spot"]}
_TABLES: Json = {"csv": _TEXT, "arrow": {}}
_FLAG: Json = {"type": "string", "enum": ["true", "false"], "default": "false"}
_MS: Json = {"type": "integer", "format": "int64", "minimum": 0}
_TIME = "Milliseconds, or RFC 3339."

ROW: Json = {
    "description": ", ".join(COLUMNS) + ": Binance's own text, but the last.",
    "type": "array",
    "prefixItems": [
        _MS,
        *[_TEXT] * 5,
        _MS,
        _TEXT,
        {"type": "integer", "minimum": 0},
        *[_TEXT] * 2,
        {"type": "boolean"},
    ],
    "minItems": len(COLUMNS),
    "maxItems": len(COLUMNS),
}
_NAMED: Json = {"market": _MARKET, "symbol": _TEXT, "interval": {"type": "string", "enum": list(INTERVALS)}}
SCHEMAS: Json = {
    "NativeRow": ROW,
    "Candles": {
        "type": "object",
        "required": ["token", "series"],
        "properties": {"token": _TEXT, "series": {"type": "array", "items": ref("schemas", "CandleSeries")}},
        "additionalProperties": False,
    },
    "UdfError": {
        "type": "object",
        "required": ["code", "msg"],
        "properties": {"s": {"const": "error"}, "errmsg": _TEXT, "code": {"type": "integer"}, "msg": _TEXT},
    },
    "PriceAt": {
        "type": "object",
        "required": [*_NAMED, "price", "row"],
        "properties": _NAMED | {"price": _TEXT, "row": ref("schemas", "NativeRow")},
        "additionalProperties": False,
    },
    "CandleSeries": {
        "description": "A series; `error` takes the place of all else where it can't be answered.",
        "type": "object",
        "required": list(_NAMED),
        "properties": _NAMED
        | {
            "as_of": _MS,
            "stale": {"type": "boolean"},
            "etag": _TEXT,
            "rows": {"type": "array", "items": ref("schemas", "NativeRow")},
            "error": {
                "type": "object",
                "required": ["code", "msg"],
                "properties": {"code": {"type": "integer"}, "msg": _TEXT, "retry_after": {"type": "integer"}},
            },
        },
    },
}


def operation(path: str) -> Json:
    """Return the operation of a native path."""
    match path:
        case _ if path == CANDLES_PATH:
            forms = {
                schemas.JSON: {"schema": ref("schemas", "Candles")},
                **{MEDIA_TYPES[name]: {"schema": _TABLES[name]} for name in _TABLES},
            }
            formats: Json = {"type": "string", "enum": list(MEDIA_TYPES)}
            made = _candles([_query("format", "The form, whatever `Accept` says.", formats)])
            made["responses"]["200"]["content"] = forms
            return made
        case _ if path in (CANDLES_CSV_PATH, CANDLES_ARROW_PATH):
            form = path.rpartition(".")[2]
            made = _candles([])
            made["summary"] = f"Candles of many series as one {'CSV' if form == 'csv' else 'Arrow'} table"
            made["responses"]["200"]["content"] = {MEDIA_TYPES[form]: {"schema": _TABLES[form]}}
            return made
        case _ if path == PRICE_PATH:
            return _price()
        case _ if path in UDF_PATHS:
            return _udf(path.removeprefix("/udf/"))
        case _:
            raise ValueError(f"{path} is served, and described nowhere")


def events() -> Json:
    """Return the operation of Server-Sent Events."""

    def parameter(name: str, text: str, schema: Json, *examples: str) -> Json:
        shown = {"example": examples[0]} if examples else {}
        needed = bool(examples)
        return {"name": name, "in": "query", "required": needed, "description": text, "schema": schema, **shown}

    last_id = {"name": "Last-Event-ID", "in": "header", "description": "Where it was.", "schema": {"type": "string"}}
    refused = {"400": schemas.error("The question is wrong.", (), schemas.UNCACHED)}
    refused["410"] = schemas.error("`Last-Event-ID` is too old to resume from.", [-1130], schemas.UNCACHED)
    return {
        "summary": "Candles as Server-Sent Events",
        "description": "Events `candle`, `closed`, `revised`, `stale` and `fresh`; the `id` of each is a position that "
        "`Last-Event-ID` resumes from. A comment comes every 15 s without an event.",
        "parameters": [
            parameter("market", "The market.", {"type": "string", "enum": [market.value for market in Market]}, "spot"),
            parameter("symbols", "Symbols, separated by commas.", {"type": "string"}, "BTCUSDT,ETHUSDT"),
            parameter("intervals", "Intervals, separated by commas.", {"type": "string"}, "1m"),
            parameter("closed", "Closed candles only.", {"type": "string", "enum": ["true", "false"]}),
            last_id,
        ],
        "responses": {
            "200": {
                "description": "Events.",
                "headers": schemas.UNCACHED,
                **schemas.content({"type": "string"}, "text/event-stream"),
            },
            **refused,
            "502": ref("responses", "Status502"),
            "503": ref("responses", "Status503"),
        },
    }


def _candles(more: list[Json]) -> Json:
    made = _question(more)
    made["responses"]["200"]["headers"] |= {"X-MDCache-Left-Out": ref("headers", "X-MDCache-Left-Out")}
    made["responses"]["406"] = schemas.error(
        "The form is not served here: `Accept` names none that is, or Arrow is not installed.",
        [-1155],
        schemas.UNCACHED,
    )
    return made


def _question(more: list[Json]) -> Json:
    names: Json = {"type": "string", "examples": ["BTCUSDT,ETHUSDT"]}
    limit: Json = {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": DEFAULT_LIMIT, "examples": [5]}
    wait: Json = {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S}
    return _get(
        "Candles of many series in one answer",
        f"At most 1,000 series and {MAX_ROWS:,} rows. Rows are {', '.join(COLUMNS)}. A series that can't be answered "
        "has an `error` in its place; a table fails as a whole then, unless `partial`.",
        [
            _query("market", "The market.", _MARKET, required=True),
            _query("symbols", "Symbols, separated by commas.", names, required=True),
            _query(
                "intervals", "Intervals, separated by commas.", {"type": "string", "examples": ["1h"]}, required=True
            ),
            _query("limit", "The newest rows of each series; not with `start`.", limit),
            _query("start", f"Rows that open from here on. {_TIME}", _TEXT),
            _query("end", f"Rows that open until here, with `start` or `limit`. {_TIME}", _TEXT),
            _query("closed", "Closed candles only.", _FLAG),
            _query("since", "`token` of the last answer to this question: only series that changed since.", _TEXT),
            _query("wait", "Seconds to wait until one has, with `since`.", wait),
            _query("partial", "A table leaves out series that can't be answered.", _FLAG),
            *more,
        ],
    )


def _price() -> Json:
    made = _get(
        "The price at a moment",
        "The close of the candle of one second that shows it, with its row; on futures of a minute, unless its seconds"
        " are listened to.",
        [
            _query("market", "The market.", _MARKET, required=True),
            _query("symbol", "The symbol.", {"type": "string", "examples": ["BTCUSDT"]}, required=True),
            _query("at", f"The moment. {_TIME}", _TEXT | {"examples": ["2025-01-01T03:02:14Z"]}, required=True),
        ],
    )
    made["responses"]["200"] |= schemas.content(ref("schemas", "PriceAt"))
    made["responses"]["200"]["headers"].pop("Content-Encoding")
    del made["responses"]["204"]
    made["responses"]["404"] = schemas.error("There is a hole at that moment.", [-1130], schemas.UNCACHED)
    return made


_UDF: dict[str, tuple[str, list[tuple[str, bool, str]], Json]] = {
    "config": ("What the data feed can do", [], {"type": "object"}),
    "symbols": ("A symbol, as charts want it", [("symbol", True, "spot:BTCUSDT")], {"type": "object"}),
    "search": (
        "Symbols that trade, by a part of their name",
        [("query", False, "BTC"), ("exchange", False, "spot"), ("type", False, ""), ("limit", False, "30")],
        {"type": "array", "items": {"type": "object"}},
    ),
    "history": (
        "Candles as columns, with times in seconds",
        [
            ("symbol", True, "spot:BTCUSDT"),
            ("resolution", True, "1"),
            ("from", False, "1735689600"),
            ("to", True, "1735693200"),
            ("countback", False, "300"),
        ],
        {"type": "object", "required": ["s"], "properties": {"s": {"enum": ["ok", "no_data"]}}},
    ),
    "time": ("The exchange's time in seconds", [], {"type": "string"}),
}


def _udf(name: str) -> Json:
    summary, parameters, schema = _UDF[name]
    shown = [
        _query(each, "", {"type": "string", "examples": [example]}, required=needed)
        for each, needed, example in parameters
    ]
    made = _get(summary, "TradingView's UDF protocol. Errors have `s` and `errmsg`, too.", shown)
    failed: Json = {schemas.JSON: {"schema": ref("schemas", "UdfError")}}
    for status in ("400", "502", "503", "504"):
        headers = schemas.UNCACHED | ({"Retry-After": ref("headers", "Retry-After")} if status == "503" else {})
        made["responses"][status] = {"description": "An error.", "headers": headers, "content": failed}
    del made["responses"]["204"]
    dated = made["responses"]["200"]["headers"] if name == "history" else dict(schemas.UNCACHED)
    body = {"text/plain" if name == "time" else schemas.JSON: {"schema": schema}}
    made["responses"]["200"] = {"description": f"{summary}.", "headers": dated, "content": body}
    return made


def _query(name: str, text: str, schema: Json, *, required: bool = False) -> Json:
    """A parameter; the first of its schema's examples is what the page asks for."""
    schema = dict(schema)
    shown = {"example": example} if (example := next(iter(schema.pop("examples", ())), "")) else {}
    return {"name": name, "in": "query", "required": required, "description": text, "schema": schema, **shown}


def _get(summary: str, description: str, parameters: list[Json]) -> Json:
    headers = {
        name: ref("headers", name) for name in ("Cache-Status", "X-MDCache-As-Of", "X-MDCache-Now", "Age", "Vary")
    }
    dated = headers | schemas.UNCACHED
    encoded = dated | {"Content-Encoding": ref("headers", "Content-Encoding")}
    refused = {
        "400": schemas.error("The question is wrong: `msg` says what would be right.", (), schemas.UNCACHED),
        "414": ref("responses", "Status414"),
    }
    return {
        "summary": summary,
        "description": description,
        "parameters": [*parameters, *(ref("parameters", name) for name in ("CacheControl", "MinAsOf", "Client"))],
        "responses": {
            "200": {"description": summary + ".", "headers": encoded},
            "204": {"description": "Nothing has changed since.", "headers": dated},
            **refused,
            **{status: ref("responses", f"Status{status}") for status in ("502", "503", "504")},
        },
    }
