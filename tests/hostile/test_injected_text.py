"""Text of clients and of replies stays text: in log lines, header fields, requests to Binance, and JSON."""

import dataclasses
import io
import json
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest

from mdcache import events, store_events, stream_events
from mdcache.events import Event
from mdcache.telemetry.log import LogSink, make_logger
from tests.serving.test_snapshots import world
from tests.support.serving_harness import ServingHarness

LINES = "a\n2026-01-01 [error] banned\r\x1b[2K\x9b1A\x85b\u2028c\u2029d\x00e\x7ff\u202eg"
MARKUP = "<img src=x onerror=alert(1)>"


class Terminal(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: terminal  # type: ignore[method-assign] # a test's terminal


def hostile_events() -> Iterator[Event]:
    """Every event that has texts, with a hostile one in each field that takes any."""
    for module in (events, store_events, stream_events):
        for kind in vars(module).values():
            if not (isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__):
                continue
            made: dict[str, Any] = {}
            for field in dataclasses.fields(kind):
                known = {"str": LINES, "bytes": LINES.encode(), "int": 7, "float": 7.0, "bool": True}
                made[field.name] = known.get(str(getattr(field.type, "__name__", field.type)), LINES)
            yield cast("Event", kind(**made))


@pytest.mark.parametrize("form", ["json", "human"])
def test_every_event_is_one_printable_line_whatever_its_texts(form: Any) -> None:
    house = ServingHarness()
    written = 0
    for event in hostile_events():
        stream = Terminal(terminal=False)
        sink = LogSink(make_logger(house.clock, "debug", form, stream))
        try:
            sink(event)
        except (TypeError, ValueError, AttributeError):  # a text in the place of a member or a number
            continue
        said = stream.getvalue()
        assert said.count("\n") == bool(said)
        assert said.removesuffix("\n").isprintable(), (event, said)
        written += bool(said)
    assert written > 12


SYMBOLS = ["BTCUSDT%0d%0aX-Evil:%201", "A%0aB", "A%00B", "A%0d%0a%0d%0aHTTP/1.1%20200", "%E2%80%A8", "A%26limit=9", '"']
PATHS = [
    *("/api/v3/klines?interval=1m&symbol=", "/fapi/v1/klines?interval=1m&symbol=", "/api/v3/ticker/price?symbol="),
    *("/api/v3/depth?symbol=", "/api/v3/exchangeInfo?symbol=", "/v1/candles?market=spot&intervals=1m&symbols="),
    *(
        "/v1/candles.csv?market=spot&partial=true&intervals=1m&symbols=BTCUSDT,",
        "/v1/stream?market=spot&intervals=1m&symbols=",
    ),
    *(
        "/v1/price?market=spot&at=1790771371858&symbol=",
        "/udf/symbols?symbol=",
        "/udf/history?resolution=1&to=1790771371&symbol=",
    ),
    *("/dapi/v1/continuousKlines?interval=1m&contractType=PERPETUAL&pair=", "/v1/price?market=spot&symbol=BTCUSDT&at="),
    *("/api/v3/klines?symbol=BTCUSDT&interval=", "/api/v3/klines?symbol=BTCUSDT&interval=1m&timeZone="),
]


@pytest.mark.virtual
async def test_no_name_reaches_a_header_or_a_request_as_anything_but_itself() -> None:
    w = world()
    sent: list[httpx.Request] = []
    inner = w.transport

    class Watching(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            sent.append(request)
            return await inner.handle_async_request(request)

    w.transport = Watching()
    w.restart()
    for target in PATHS:
        for symbol in SYMBOLS:
            path, _, query = (target + symbol).partition("?")
            reply = await w.get(path, query.encode())
            assert 400 <= reply.status < 500, (target, symbol, reply)
            assert all(value.isprintable() for value in reply.headers.values()), (target, symbol, reply.headers)
            assert "x-evil" not in reply.headers
            assert reply.headers["content-type"] == "application/json"
            assert isinstance(json.loads(reply.body), dict)
    assert not [request.url for request in sent if "vil" in str(request.url) or "%" in str(request.url)]


@pytest.mark.virtual
async def test_a_name_that_nobody_lists_is_quoted_in_the_header_that_says_what_is_left_out() -> None:
    w = world()
    reply = await w.get(
        "/v1/candles.csv", "market=spot&symbols=BTCUSDT,龙USDT&intervals=1m&limit=2&partial=true".encode()
    )
    assert reply.status == 200, reply.body
    assert reply.headers["x-mdcache-left-out"] == '"%E9%BE%99USDT/1m";code=-1121'


@pytest.mark.parametrize(
    "path", [f"/{MARKUP}", f"/api/v3/{MARKUP}", f"/docs/{MARKUP}", f"/page/{MARKUP}", f"/v1/{MARKUP}"]
)
async def test_a_path_with_markup_is_quoted_as_json_only(path: str) -> None:
    reply = await ServingHarness().ask(path, b"")
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/json"
    assert json.loads(reply.body).keys() == {"code", "msg"}


async def test_markup_in_a_query_is_quoted_as_json_only() -> None:
    house = ServingHarness()
    for path in ("/v1/status", "/v1/series", "/"):
        reply = await house.ask(path, f"series={MARKUP}&market={MARKUP}&symbol={MARKUP}".encode())
        assert reply.headers["content-type"].startswith(("application/json", "text/html"))
        assert MARKUP.encode() not in reply.body
