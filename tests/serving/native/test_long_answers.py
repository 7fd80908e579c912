"""The longest answers that the bounds allow: right, made while they are sent, and the event loop is let go in between.

Time here is work: each page that is planned and each row that is printed moves the clock by about what it takes on a
slow machine, so that what holds the loop is counted, however busy the machine is that runs this.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from xxhash import xxh3_128, xxh3_128_hexdigest

from mdcache.cache.answers import Caller
from mdcache.cache.kline_answers import KlineAnswer
from mdcache.candles.block import build_block
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.plan import Serve
from mdcache.exchange.klines import KlineQuestion, SeriesKey
from mdcache.exchange.markets import Market
from mdcache.serving.listeners import Listeners
from mdcache.serving.native import arrow_tables, candles_app, row_reads
from mdcache.serving.native.candles_app import CandlesApp
from mdcache.serving.native.candles_query import MEDIA_TYPES
from mdcache.serving.native.native_app import NativeApp
from mdcache.serving.native.row_reads import RowReads
from mdcache.serving.native.tables import CSV_HEADER
from mdcache.serving.native.waits import Waits
from tests.support.serving_harness import ServingHarness

FIRST_MS, MINUTE = 1_500_000_000_000 // 60_000 * 60_000, 60_000
INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h")
PLAN_S, JSON_ROW_S, CSV_ROW_S, ARROW_ROW_S = 0.0005, 0.25e-6, 0.35e-6, 2e-6
MOST_HELD_S = 0.0025
MOST_AHEAD = 8_000  # rows that are printed and not sent yet
MEMORY = 1 << 19  # of which 200 series that are kept printed need more


def fields(number: int) -> tuple[Any, ...]:
    """The columns of row `number`; those of series k end at row k after the first that it has room for."""
    opened = FIRST_MS + number * MINUTE
    price = f"{100 + number % 7}.5"
    return opened, "1.0", price, "0.5", "1.25", f"{number}", opened + MINUTE - 1, "2.5", number, "3.5", "4.5"


class Pages:
    """Rows of any series, from one list: of series k the newest is k rows newer than that of the first."""

    def __init__(self, house: ServingHarness, names: list[SeriesKey], rows: int) -> None:
        self._house = house
        self._places = {key: place for place, key in enumerate(names)}
        self._rows = rows
        self._answer = house.answer(settled=True)
        printed = [fields(number) for number in range(rows + len(names))]
        text = '[{},"{}","{}","{}","{}","{}",{},"{}",{},"{}","{}","0"]'
        self._block = build_block(0, [(row[0], text.format(*row).encode()) for row in printed])

    async def find(
        self, question: KlineQuestion, directives: FreshnessDirectives, caller: Caller
    ) -> tuple[Serve, KlineAnswer]:
        self._house.clock.seconds += PLAN_S * question.limit / 2_000
        place = self._places[question.key]
        until = place + self._rows
        if question.end_ms is not None:
            until = min(until, (question.end_ms - FIRST_MS) // MINUTE + 1)
        return Serve(((self._block, max(place, until - question.limit), until),), (), False, 0, 0), self._answer


class World:
    """`/v1/candles` alone, in front of `Pages`. `most_ahead`: of what is printed, rows that were not sent yet."""

    def __init__(self, series: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.house = ServingHarness(memory=MEMORY)
        per_symbol = min(series, len(INTERVALS))
        self.intervals = INTERVALS[:per_symbol]
        self.symbols = [f"A{number:03}USDT" for number in range(series // per_symbol)]
        self.keys = [
            SeriesKey(Market.SPOT, "klines", symbol, "", each) for symbol in self.symbols for each in self.intervals
        ]
        self.rows = rows
        self.ahead = self.most_ahead = 0
        clock, clocks = self.house.clock, self.house.clocks
        reads = RowReads(Pages(self.house, self.keys, rows), self.house.readies, clock, clocks, 600.0)  # type: ignore[arg-type] # a fake
        listeners = Listeners(1)
        waits = Waits(self.house.event_streams().watchers, listeners, clock)
        app = CandlesApp(reads, clock, clocks, dict.fromkeys(Market, ""), waits, listeners.limits)  # type: ignore[arg-type] # a fake
        parser = self.house.app._parser
        answers = {"/v1/candles": ("candles", app.answer)}
        self.app = NativeApp(answers, parser, clock, self.house.events, self.house.recorder)
        batch = arrow_tables.ArrowTable._batch
        for owner, name, row_s in (
            (row_reads, "json_rows", JSON_ROW_S),
            (candles_app, "csv_rows", CSV_ROW_S),
            (arrow_tables.ArrowTable, batch.__name__, ARROW_ROW_S),
        ):
            monkeypatch.setattr(owner, name, self._working(getattr(owner, name), row_s))

    def _working(self, function: Callable[..., bytes], row_s: float) -> Callable[..., bytes]:
        """Return `function`, which prints rows, so that it takes its time."""

        def worked(*arguments: Any, **named: Any) -> bytes:
            printed = function(*arguments, **named)
            given = next(each for each in arguments if isinstance(each, bytes))
            rows = given.count(b"[") or given.count(b"\n") + 1
            self.house.clock.seconds += row_s * rows
            if row_s == JSON_ROW_S:
                self.ahead += rows
                self.most_ahead = max(self.most_ahead, self.ahead)
            return printed

        return worked

    async def ask(self, form: str) -> tuple[bytes, float]:
        """An answer's body, and for how long it held the loop at most."""
        query = f"market=spot&symbols={','.join(self.symbols)}&intervals={','.join(self.intervals)}"
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/v1/candles",
            "query_string": f"{query}&limit={self.rows}&format={form}".encode(),
            "headers": [],
            "client": ("192.0.2.7", 40_000),
        }
        pieces: list[bytes] = []

        async def send(message: Any) -> None:
            pieces.append(message.get("body", b""))
            self.ahead = 0
            if message["type"] == "http.response.start":
                assert message["status"] == 200, self.house.event_log
                assert dict(message["headers"])[b"content-type"].startswith(MEDIA_TYPES[form].encode())

        async def receive() -> Any:
            await asyncio.Event().wait()

        answer = asyncio.create_task(self.app(scope, receive, send))
        clock = self.house.clock
        longest_s, seen_s = 0.0, clock.now()
        while not answer.done():
            await asyncio.sleep(0)
            longest_s, seen_s = max(longest_s, clock.now() - seen_s), clock.now()
        await answer
        return b"".join(pieces), longest_s


def check_json(w: World, body: bytes) -> None:
    printed = [json.dumps([*fields(number), True], separators=(",", ":")) for number in range(w.rows + len(w.keys))]
    head, *found = body.split(b'"rows":[')
    assert head.startswith(b'{"token":"')
    assert len(found) == len(w.keys)
    assert found[-1].endswith(b"]}]}")
    for place, part in enumerate(found):
        assert part.startswith(",".join(printed[place : place + w.rows]).encode() + b"]}")
    for key, part in zip(w.keys, [head, *found], strict=False):
        said = b'{"market":"spot","symbol":"%b","interval":"%b",' % (key.subject.encode(), key.interval.encode())
        assert said in part[-150:]


def check_csv(w: World, body: bytes) -> None:
    printed = [",".join(map(str, [*fields(number), "true"])) for number in range(w.rows + len(w.keys))]
    expected = xxh3_128(CSV_HEADER)
    for place, key in enumerate(w.keys):
        start = f"spot,{key.subject},{key.interval},"
        expected.update("".join(f"{start}{line}\n" for line in printed[place : place + w.rows]).encode())
    assert xxh3_128_hexdigest(body) == expected.hexdigest()


def check_arrow(w: World, body: bytes) -> None:
    table = pa.ipc.open_stream(body).read_all()
    assert table.num_rows == len(w.keys) * w.rows
    opens, volumes = (table.column(name).cast(pa.int64()).to_numpy() for name in ("open_time", "volume"))
    symbols, intervals = (table.column(name).to_pylist() for name in ("symbol", "interval"))
    for place, key in enumerate(w.keys):
        rows = slice(place * w.rows, (place + 1) * w.rows)
        numbers = range(place, place + w.rows)
        assert opens[rows].tolist() == [FIRST_MS + number * MINUTE for number in numbers]
        assert volumes[rows].tolist() == list(numbers)
        assert set(symbols[rows]) == {key.subject}
        assert set(intervals[rows]) == {key.interval}


CHECKS = {"json": check_json, "csv": check_csv, "arrow": check_arrow}


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", CHECKS)
@pytest.mark.parametrize(("series", "rows"), [(200, 40), (10, 6_000), (1_000, 1_000)])
async def test_long_answers_are_right_and_neither_hold_the_loop_nor_are_made_before_they_are_sent(
    form: str, series: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = World(series, rows, monkeypatch)
    for _ in range(3 if series * rows < 100_000 else 1):  # printed; printed to be kept; taken from what is kept
        body, held_s = await w.ask(form)
        CHECKS[form](w, body)
        assert held_s <= MOST_HELD_S
        assert w.most_ahead <= MOST_AHEAD
        assert w.house.library.memory.held_bytes <= MEMORY
