"""The control API: `/_sim/...`, JSON in and out, never counted in any weight (docs/sim.md).

`GET /_sim/status`, `/_sim/log` and `/_sim/truth` only read; `POST /_sim/<action>` calls a method of `Control` with the
members of the JSON object as its arguments. Errors are 400 with {"error": text}.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import islice
from typing import get_type_hints
from urllib.parse import parse_qs

import msgspec

from mdcache.sim.api.replies import ExchangeReply
from mdcache.sim.control.actions import Control
from mdcache.sim.exchange import Exchange

PREFIX = "/_sim/"
READS = ("status", "log", "truth")
ACTIONS: Mapping[str, Callable[..., object]] = {
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
    "stream_fault": Control.stream_fault,
    "clear_stream_faults": Control.clear_stream_faults,
    "close_streams": Control.close_streams,
    "quiet_topics": Control.quiet_topics,
    "dump_fault": Control.dump_fault,
    "clear_dump_faults": Control.clear_dump_faults,
    "reset": Control.reset,
}
_DEFAULT_LOG = 1_000


def answer(exchange: Exchange, method: str, path: str, query: str, body: bytes) -> ExchangeReply:
    """Answer one request to the control API."""
    name = path.removeprefix(PREFIX).strip("/")
    if method == "GET" and name in READS:
        sent = {key: values[0] for key, values in parse_qs(query).items()}
        match name:
            case "status":
                return _json(200, _status(exchange))
            case "log":
                return _json(200, _log(exchange, sent))
            case _:
                return _truth(exchange, sent)
    if method == "POST" and name in ACTIONS:
        try:
            _call(exchange.control, ACTIONS[name], json.loads(body or b"{}"))
        except (TypeError, ValueError, ArithmeticError) as error:  # msgspec's errors are ValueErrors
            return _json(400, {"error": str(error)})
        return _json(200, {"ok": True})
    return _json(404, {"error": "unknown", "get": READS, "post": sorted(ACTIONS)})


def parameters(action: str) -> tuple[str, ...]:
    """Return the names of an action's arguments."""
    names = list(inspect.signature(ACTIONS[action]).parameters)[1:]
    return (*names, "lags_s") if action == "replicas" else tuple(names)


def _call(control: Control, action: Callable[..., object], arguments: object) -> None:
    """Call an action with checked arguments; `lags_s` stands for `lags_ms`, in seconds."""
    if not isinstance(arguments, dict):
        raise TypeError("the body is a JSON object with the arguments by name")
    if action is Control.set_replicas and "lags_s" in arguments:
        lags_s = msgspec.convert(arguments.pop("lags_s"), list[float])
        arguments["lags_ms"] = [round(lag * 1000) for lag in lags_s]
    inspect.signature(action).bind(control, **arguments)
    hints = get_type_hints(action)
    action(control, **{name: msgspec.convert(value, hints[name]) for name, value in arguments.items()})


def _status(exchange: Exchange) -> dict[str, object]:
    counts = sorted(exchange.counts.items())
    requests = [{"path": path, "status": status, "count": count} for (path, status), count in counts]
    streams = [
        {"market": one.market, "path": one.path, "client": one.client, "topics": one.topics}
        for one in exchange.open_streams()
    ]
    return {"now_ms": exchange.now_ms(), "requests": requests, "streams": streams, **exchange.control.status()}


def _log(exchange: Exchange, sent: Mapping[str, str]) -> list[dict[str, object]]:
    """Return the newest entries, oldest first; `limit` of them."""
    limit = int(sent["limit"]) if sent.get("limit", "").isdecimal() else _DEFAULT_LOG
    return [asdict(entry) for entry in list(islice(reversed(exchange.log), limit))[::-1]]


def _truth(exchange: Exchange, sent: Mapping[str, str]) -> ExchangeReply:
    """Return the body for `path` and `query` (percent-encoded) at `at_ms` (default: now), `lag_ms` behind."""
    at_ms, lag_ms = sent.get("at_ms", str(exchange.now_ms())), sent.get("lag_ms", "0")
    if "path" not in sent or not (at_ms.isdecimal() and lag_ms.isdecimal()):
        return _json(400, {"error": "give path, and query, at_ms, lag_ms if need be"})
    body = exchange.truth(sent["path"], sent.get("query", ""), at_ms=int(at_ms), lag_ms=int(lag_ms))
    return ExchangeReply(200, (("Content-Type", "application/json"),), body)


def _json(status: int, body: object) -> ExchangeReply:
    headers = (("Content-Type", "application/json"),)
    return ExchangeReply(status, headers, json.dumps(body, ensure_ascii=False).encode())
