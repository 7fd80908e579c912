"""Capture what a daemon answers in front of the simulated exchange: the examples of the OpenAPI document.

Each path is asked what the document's own parameters show, as the page's "Try it out" does; everything is in one
process and in virtual time, so that the same comes each time. Long lists are cut.
"""

import json
from http import HTTPStatus
from urllib.parse import urlencode

from mdcache.serving.native.candles_query import MEDIA_TYPES
from mdcache.serving.routes import ROUTES, STREAM_PATH, PathKind
from tests.support.asgi_client import Response, ask
from tests.support.event_client import EventClient
from tests.support.served_daemon import TOKEN, ServedDaemon
from tests.support.virtual_time import run
from tools import openapi, openapi_operations
from tools.openapi_schemas import Json

_TOKEN = {"authorization": f"Bearer {TOKEN}"}
_HIT = "/api/v3/klines"  # whose second answer gives the headers
_HEADERS = ("Cache-Status", "X-MDCache-As-Of", "Age", "Cache-Control", "ETag", "Vary", "X-MBX-USED-WEIGHT-1M")
_KLINES = "symbol=BTCUSDT&interval=1h"
_REFUSALS = {  # that many paths share: by the component's name, and by what is wrong
    "Status400": {
        "unknown_symbol": ("/api/v3/klines", "symbol=NOSUCH&interval=1h"),
        "missing_parameter": ("/api/v3/klines", "symbol=BTCUSDT"),
        "futures": ("/fapi/v1/klines", "symbol=BTCUSDT&interval=2s"),
    },
    "Status403": {"signed": ("/api/v3/klines", f"{_KLINES}&signature=00")},
    "Status414": {"long": ("/api/v3/klines", f"{_KLINES}&{'x' * 40_000}")},
}
# of one path: method, path, query, headers, body
_OWN_REFUSALS: tuple[tuple[str, str, str, dict[str, str], bytes], ...] = (
    ("get", "/v1/status", "series=2", {}, b""),
    ("get", "/v1/candles", "market=spot&symbols=BTCUSDT&intervals=1m&limit=5&start=2025-01-01", {}, b""),
    ("get", "/v1/candles", "market=spot&symbols=BTCUSDT&intervals=1m", {"accept": "image/png"}, b""),
    ("get", "/v1/price", "market=spot&symbol=BTCUSDT&at=2099-01-01T00:00:00Z", {}, b""),
    ("get", "/udf/symbols", "symbol=spot:NOSUCH", {}, b""),
    ("get", "/ws", "", {}, b""),
    ("post", "/v1/admin/purge", "", {}, b"{}"),
    ("post", "/v1/admin/purge", "", _TOKEN, b'{"symbols":["BTCUSDT"]}'),
    ("post", "/v1/admin/gate", "", _TOKEN, b'{"family":"spot","action":"close"}'),
    ("post", "/v1/admin/warm", "", _TOKEN, json.dumps(openapi_operations.COMMANDS["WarmupCommand"]).encode()),
)
_ADMIN = "/v1/admin/"
_LISTEN_S = 32.0  # the virtual time begins half a minute before a close
_OPS = ("/healthz", "/readyz", "/metrics", "/v1/status", "/v1/series")
_NO_TEXT = {"text/event-stream", MEDIA_TYPES["arrow"]}  # an answer without an end, and one that nobody can read
_OF_THE_MACHINE = ("settings", "stores")  # members of /v1/status
_LISTED, _WHOLE, _LINES = 2, 12, 5  # elements of a long list, and of one that is shown whole: a row; lines of a text


def text() -> str:
    """Return the captured answers as JSON."""
    return json.dumps(run(_capture()), indent=1, ensure_ascii=False) + "\n"


async def _capture() -> Json:
    daemon = ServedDaemon()
    document = openapi.document()
    answers: dict[str, Json] = {}
    for path in sorted(document["paths"], key=lambda path: path.startswith(_ADMIN)):  # these last: one closes a gate
        for method, operation in document["paths"][path].items():
            if _has_example(path, operation):
                answers.setdefault(path, {})[method] = _shown(path, await _ask(daemon, path, method, operation))
    events = await _events(daemon, _query(document["paths"][STREAM_PATH]["get"]).decode())
    answers[STREAM_PATH] = {"get": {"type": "text/event-stream", "body": events}}
    again = await daemon.get(_HIT, _query(document["paths"][_HIT]["get"]))
    return {
        "answers": answers,
        "headers": {name: again.headers[name.lower()] for name in _HEADERS},
        "refusals": {
            component: {what: await _refused(daemon, *asked) for what, asked in cases.items()}
            for component, cases in _REFUSALS.items()
        },
        "own_refusals": await _own_refusals(daemon),
    }


async def _events(daemon: ServedDaemon, query: str) -> str:
    """Return the first event of each name, of half a minute in which a candle closes."""
    client = await EventClient(daemon.app, query).started()
    await daemon.clock.sleep(_LISTEN_S)
    await client.close()
    blocks = client.body.decode().split("\n\n")
    named = {
        name: next((each for each in blocks if f"event: {name}\n" in f"{each}\n"), "") for name in ("candle", "closed")
    }
    return "".join(f"{block}\n\n" for block in named.values())


async def _refused(daemon: ServedDaemon, path: str, query: str) -> Json:
    body: Json = json.loads((await daemon.get(path, query.encode())).body)
    return body


async def _own_refusals(daemon: ServedDaemon) -> list[Json]:
    command = json.dumps(openapi_operations.COMMANDS["WarmupCommand"]).encode()
    await ask(daemon.app, "/v1/admin/warm", b"", method="POST", headers=_TOKEN, body=command)  # a second one is refused
    found = []
    for method, path, query, headers, body in _OWN_REFUSALS:
        reply = await ask(daemon.app, path, query.encode(), method=method.upper(), headers=headers, body=body)
        found.append({"path": path, "method": method, "status": str(reply.status), "body": json.loads(reply.body)})
    return found


def _has_example(path: str, operation: Json) -> bool:
    bodies = operation["responses"].get("200", {}).get("content", {})
    if bodies.keys() <= _NO_TEXT:
        return False
    return ROUTES[path].kind is not PathKind.OPS or path in _OPS or path.startswith(_ADMIN)


async def _ask(daemon: ServedDaemon, path: str, method: str, operation: Json) -> Response:
    command = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    body = b"" if command is None else json.dumps(command).encode()
    headers = _TOKEN if "security" in operation else {}
    query = _query(operation)
    reply = await ask(daemon.app, path, query, method=method.upper(), headers=headers, body=body)
    if reply.status != HTTPStatus.OK:
        raise ValueError(f"{method} {path}?{query.decode()}: {reply.status} {reply.body!r}")
    return reply


def _query(operation: Json) -> bytes:
    """Return what the page sends if nobody changes anything."""
    shown = {each["name"]: each["example"] for each in operation.get("parameters", ()) if "example" in each}
    return urlencode(shown).encode()


def _shown(path: str, reply: Response) -> Json:
    kind = reply.headers["content-type"]
    if "json" not in kind:
        lines = reply.body.decode().splitlines(keepends=True)
        if path == "/metrics":  # the others tell of the machine
            lines = [line for line in lines if "mdcache_requests" in line]
        return {"type": kind.partition(";")[0], "body": "".join(lines[:_LINES])}
    body = json.loads(reply.body)
    if path == "/v1/status":
        body |= {name: {} for name in _OF_THE_MACHINE}
    return {"type": kind, "body": _cut(body)}


def _cut(value: object) -> object:
    """Return a value with its long lists cut, but those that are rows."""
    match value:
        case dict():
            return {name: _cut(each) for name, each in value.items()}
        case list() if value and isinstance(value[0], list | dict):
            return [_cut(each) for each in value[:_LISTED]]
        case list():
            return value if len(value) <= _WHOLE else value[:_LISTED]
        case _:
            return value
