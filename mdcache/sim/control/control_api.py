"""The control door: `/_sim/...`, JSON in and out, never counted in anybody's weight.

`GET /_sim/status`, `/_sim/log` and `/_sim/truth` look; `POST /_sim/<action>` calls the method of `Control`
with the members of the JSON object as its arguments. Errors are 400 with {"error": text}.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from typing import get_type_hints
from urllib.parse import parse_qs

import msgspec

from mdcache.sim.api.replies import ExchangeReply
from mdcache.sim.control.actions import Control
from mdcache.sim.exchange import Exchange

PREFIX = "/_sim/"
_DEFAULT_LOG = 1_000
_ACTIONS: dict[str, Callable[..., object]] = {
    "latency": Control.latency,
    "fault": Control.fault,
    "clear_faults": Control.clear_faults,
    "ban": Control.ban,
    "unban": Control.unban,
    "spend": Control.spend,
    "revise": Control.revise,
    "late_rows": Control.late_rows,
    "replicas": Control.set_replicas,
    "weight_header": Control.weight_header,
    "skew_date": Control.skew_date,
    "offset_time": Control.offset_time,
    "step_clock": Control.step_clock,
    "list": Control.list_symbol,
    "halt": Control.halt,
    "delist": Control.delist,
    "relist": Control.relist,
    "reset": Control.reset,
}


def answer(exchange: Exchange, method: str, path: str, query: str, body: bytes) -> ExchangeReply:
    """Answer one request to the door."""
    name = path.removeprefix(PREFIX).strip("/")
    if method == "GET" and name == "status":
        return _json(200, _status(exchange))
    if method == "GET" and name == "log":
        return _json(200, _log(exchange, query))
    if method == "GET" and name == "truth":
        return _truth(exchange, query)
    if method == "POST" and name in _ACTIONS:
        try:
            _call(exchange.control, _ACTIONS[name], json.loads(body or b"{}"))
        except (TypeError, ValueError, ArithmeticError) as error:  # msgspec's errors are ValueErrors
            return _json(400, {"error": str(error)})
        return _json(200, {"ok": True})
    return _json(404, {"error": "unknown", "get": ["status", "log", "truth"], "post": sorted(_ACTIONS)})


def _call(control: Control, action: Callable[..., object], arguments: object) -> None:
    """Call a lever with checked arguments; `lags_s` stands for `lags_ms`, in seconds."""
    if not isinstance(arguments, dict):
        raise TypeError("the body is a JSON object with the arguments by name")
    if action is Control.set_replicas and "lags_s" in arguments:
        lags_s = msgspec.convert(arguments.pop("lags_s"), list[float])
        arguments["lags_ms"] = [round(lag * 1000) for lag in lags_s]
    inspect.signature(action).bind(control, **arguments)
    hints = get_type_hints(action)
    action(control, **{name: msgspec.convert(value, hints[name]) for name, value in arguments.items()})


def _status(exchange: Exchange) -> dict[str, object]:
    return {
        "now_ms": exchange.now_ms(),
        "requests": [
            {"path": path, "status": status, "count": count}
            for (path, status), count in sorted(exchange.counts.items())
        ],
        **exchange.control.status(),
    }


def _log(exchange: Exchange, query: str) -> list[dict[str, object]]:
    """The newest entries, oldest first; `?limit=` of them (default 1000)."""
    asked = parse_qs(query).get("limit", [""])[0]
    limit = int(asked) if asked.isdecimal() else _DEFAULT_LOG
    newest = list(islice(reversed(exchange.log), limit))
    return [asdict(entry) for entry in reversed(newest)]


def _truth(exchange: Exchange, query: str) -> ExchangeReply:
    """The body for `path` and `query` (percent-encoded) at `at_ms` (default: now), `lag_ms` behind."""
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    at_ms, lag_ms = asked.get("at_ms", str(exchange.now_ms())), asked.get("lag_ms", "0")
    if "path" not in asked or not (at_ms.isdecimal() and lag_ms.isdecimal()):
        return _json(400, {"error": "give path, and query, at_ms, lag_ms if need be"})
    body = exchange.truth(asked["path"], asked.get("query", ""), at_ms=int(at_ms), lag_ms=int(lag_ms))
    return ExchangeReply(200, (("Content-Type", "application/json"),), body)


def _json(status: int, body: object) -> ExchangeReply:
    return ExchangeReply(status, (("Content-Type", "application/json"),), json.dumps(body, ensure_ascii=False).encode())
