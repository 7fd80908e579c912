"""What the OpenAPI document says of the operators' paths: health, status, metrics, pages, and admin calls."""

from mdcache.exchange.markets import Market
from mdcache.serving.ops import pages
from tools import openapi_schemas as schemas
from tools.openapi_schemas import Json, content, ref

_PAGES = {
    "/": ("The status page.", "status.html", {"type": "string"}),
    "/chart": (
        "Candles of a series as a chart; `market`, `symbol`, `interval`, `kind`, `contract`, `zone`.",
        "chart.html",
        {"type": "string"},
    ),
    "/docs": ("This document as an interactive page.", "docs.html", {"type": "string"}),
    "/openapi.json": ("This document.", "openapi.json", {"type": "object"}),
}


def operations(path: str) -> list[tuple[str, Json]]:
    """Return the methods and the operations of one of the operators' paths."""
    return _job(*_JOBS[path]) if path in _JOBS else [_operation(path)]


def _operation(path: str) -> tuple[str, Json]:
    """The method and the operation of a path with one method."""
    match path:
        case "/healthz":
            status = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}
            return "get", _page("The process lives.", content(status))
        case "/readyz":
            made = _page("It can answer; what is degraded.", content(ref("schemas", "Readiness")))
            late = {"Retry-After": ref("headers", "Retry-After")}
            made["responses"]["503"] = {
                "description": "It can't answer: the reasons.",
                "headers": schemas.UNCACHED | late,
                **content(ref("schemas", "Readiness")),
            }
            return "get", made
        case "/metrics":
            text = {"schema": {"type": "string"}}
            both = {"text/plain": text, "application/openmetrics-text": text}
            return "get", _page("Prometheus metrics.", {"content": both})
        case "/v1/status" | "/v1/series":
            return "get", _VIEWS[path]()
        case "/v1/admin/purge":
            purged = {"type": "object", "required": ["purged"], "properties": {"purged": {"type": "integer"}}}
            return "post", _command("Forget series: all, or those that match.", "PurgeCommand", purged)
        case "/v1/admin/gate":
            return "post", _command(
                "Open a family's gate, or close it for some time.", "GateCommand", {"type": "object"}
            )
        case "/" | "/chart" | "/docs" | "/openapi.json":
            page = _static_page(*_PAGES[path])
            if path in {"/", "/chart"}:
                page["responses"]["403"] = schemas.ops_error(403)
            return "get", page
        case _ if path.startswith(("/chart/", "/docs/", "/page/")):
            return "get", _static_page("A file of a page.", path, {})
        case _:
            raise ValueError(f"{path} is served, and described nowhere")


def _status() -> Json:
    streams = {"type": "array", "items": ref("schemas", "StreamsStatus")}
    listeners = {"type": "array", "items": ref("schemas", "ListenersStatus")}
    properties = {"streams": streams, "listeners": listeners}
    shown = {"type": "object", "required": list(properties), "properties": properties}
    made = _page("Gates, budgets, series, flights, streams, stores, clocks; the last minutes.", content(shown))
    made["parameters"] = [
        {
            "name": "series",
            "in": "query",
            "description": "1: with every series in `series.list`.",
            "schema": {"type": "string", "enum": ["0", "1"], "default": "0"},
        }
    ]
    made["responses"] |= {str(status): schemas.ops_error(status) for status in (400, 403)}
    return made


def _series() -> Json:
    listed = {"type": "array", "items": ref("schemas", "SeriesLine")}
    made = _page(
        "What is kept of each series: its span, rows, holes, age, and the source of its tail.",
        content({"type": "object", "required": ["series"], "properties": {"series": listed}}),
    )
    made["parameters"] = [
        {"name": name, "in": "query", "description": f"Only those of this {name}.", "schema": schema}
        for name, schema in _SERIES_FILTER.items()
    ]
    made["responses"] |= {str(status): schemas.ops_error(status) for status in (400, 403)}
    return made


_SERIES_FILTER: dict[str, Json] = {
    "market": {"type": "string", "enum": [market.value for market in Market]},
    "symbol": {"type": "string", "examples": ["BTCUSDT"]},
    "interval": {"type": "string", "examples": ["1m"]},
}
_VIEWS = {"/v1/status": _status, "/v1/series": _series}


def _page(summary: str, body: Json) -> Json:
    return {
        "summary": summary,
        "responses": {"200": {"description": summary, "headers": schemas.UNCACHED, **body}},
    }


def _static_page(summary: str, name: str, schema: Json) -> Json:
    always = {field: {"required": True, "schema": {"const": value}} for field, value in pages.PAGE_HEADERS.items()}
    headers = always | {"ETag": ref("headers", "ETag")}
    return {
        "summary": summary,
        "parameters": [ref("parameters", "IfNoneMatch")],
        "responses": {
            "200": {"description": summary, "headers": headers, **content(schema, pages.content_type(name))},
            "304": {"description": "What the client holds is still current.", "headers": headers},
        },
    }


_JOBS = {
    "/v1/admin/warm": (
        "Warmup",
        "Read whole spans of series in the low lane; one job at a time.",
        "Cancel the job; asked for again it goes on where it stopped.",
    ),
    "/v1/admin/audit": (
        "Audit",
        "Read settled rows again, chosen at random, compare them, and mend what differs; one job at a time.",
        "Cancel the job.",
    ),
}


def _job(name: str, started: str, cancelled: str) -> list[tuple[str, Json]]:
    """The methods and operations of a path that takes three."""
    told = ref("schemas", f"{name}Progress")
    start = _command(started, f"{name}Command", told)
    start["responses"]["409"] = schemas.ops_error(409)
    return [
        ("post", start),
        ("get", _admin("How far the job is, or the last one was.", told)),
        ("delete", _admin(cancelled, told)),
    ]


COMMANDS: Json = {
    "PurgeCommand": {"market": "spot", "symbol": "BTCUSDT", "interval": "1m"},
    "GateCommand": {"family": "spot", "action": "close", "seconds": 5},
    "WarmupCommand": {
        "market": "spot",
        "symbols": ["BTCUSDT"],
        "intervals": ["1h"],
        "since_ms": 1735689600000,
        "until_ms": 1735776000000,
    },
    "AuditCommand": {"rows": 1000, "market": "spot"},
}


def _command(summary: str, command: str, done: Json) -> Json:
    made = _admin(summary, done)
    made["responses"] |= {str(status): schemas.ops_error(status) for status in (400, 413)}
    body = content(ref("schemas", command))
    body["content"][schemas.JSON]["example"] = COMMANDS[command]
    return made | {"requestBody": body}


def _admin(summary: str, done: Json) -> Json:
    made = _page(summary, content(done))
    made["responses"] |= {str(status): schemas.ops_error(status) for status in (401, 403)}
    made["responses"]["401"]["headers"] = schemas.UNCACHED | {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}
    return made | {"security": [{"adminToken": []}]}
