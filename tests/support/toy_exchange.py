"""A toy exchange for one series: a list of rows, and each rule of Binance's windows in its plainest form."""

import random
from dataclasses import dataclass, field

from mdcache.candles.dump_merge import withdraw_at, withdraw_contradicted
from mdcache.candles.freshness import TailFloor
from mdcache.candles.merge import merge
from mdcache.candles.plan import ReadWindow, Serve, plan
from mdcache.candles.plausibility import find_suspicion
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime, SettlePolicy
from mdcache.candles.window import Window, WindowKind
from mdcache.clock import Instant
from mdcache.exchange.klines import KlineQuestion, SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.exchange.rows import Row

MINUTE = 60_000


@dataclass
class ToyExchange:
    """Rows open at `opens`; a row's trades grow by one each second until its close, `late_ms` after it at most."""

    path: str
    opens: list[int]
    closes: dict[int, int] = field(default_factory=dict)
    bumps: dict[int, tuple[int, int]] = field(default_factory=dict)  # open -> (from when, more trades)
    calls: list[Window] = field(default_factory=list)
    cap: int = 1 << 30  # the most rows it returns at once, whatever it documents

    def row(self, open_ms: int, at_ms: int) -> Row:
        close = self.closes.get(open_ms, open_ms + MINUTE - 1)
        trades = min(at_ms, close + 1) // 1000 - open_ms // 1000
        since, more = self.bumps.get(open_ms, (1 << 62, 0))
        trades += more if at_ms >= since else 0
        text = f'[{open_ms},"1","2","1","1","{trades}",{close},"0",{trades},"0","0","0"]'
        return Row(open_ms, close, trades, text.encode())

    def rows(self, at_ms: int) -> list[Row]:
        return [self.row(t, at_ms) for t in self.opens if t <= at_ms]

    def answer(self, start: int | None, end: int | None, limit: int, at_ms: int) -> list[Row]:
        rule = KLINE_ENDPOINTS[self.path]
        newest = start is None
        if rule.nearest_end and rule.max_span_ms is not None:
            newest = True
            if start is None:
                start = (at_ms if end is None else end) - rule.max_span_ms
            elif end is None:
                end = start + rule.max_span_ms
        found = [r for r in self.rows(at_ms) if (start or 0) <= r.open_ms <= (1 << 62 if end is None else end)]
        return found[-limit:] if newest else found[:limit]

    def read(self, window: Window, at_ms: int) -> list[Row]:
        self.calls.append(window)
        return self.answer(window.start_ms, window.end_ms, min(window.limit, self.cap), at_ms)


def make_series(path: str, interval: str = "1m") -> Series:
    rule = KLINE_ENDPOINTS[path]
    key = SeriesKey(rule.market, rule.kind, "X", "", interval)
    return Series(key, rule, SettlePolicy(settle_ms=3_000, confirm_ms=60_000))


def ask(
    series: Series,
    exchange: ToyExchange,
    at_ms: int,
    question: KlineQuestion,
    *,
    ttl_ms: int = 2_000,
    lag_ms: int = 0,
    rounds: int = 40,
) -> tuple[bytes, int, int]:
    """Body, as-of and number of reads of one question at `at_ms`, as the data path would do it, in no time."""
    now = Instant(at_ms, 0)
    floor = TailFloor(at_ms - ttl_ms)
    reads = 0
    for _ in range(rounds):
        tail = series.tail
        as_of = tail.as_of_ms if tail is not None and floor.admits(tail, now) else at_ms
        step = plan(series, question.row_query(as_of), floor, now)
        if isinstance(step, Serve):
            served_as_of = series.tail.as_of_ms if step.reaches_tail and series.tail else at_ms
            return step.body(), served_as_of, reads
        assert isinstance(step, ReadWindow), "nothing is stored here"
        reads += 1
        rows = exchange.read(step.window, at_ms - lag_ms)
        read = ReadTime(at_ms, at_ms)
        withdraw_contradicted(series, rows, step.window)
        if (suspicion := find_suspicion(series, rows, step.window, read)) is not None:
            reads += 1
            if suspicion.look is None:
                rows = exchange.read(step.window, at_ms)
            elif suspicion.known_ms is None:
                assert not exchange.read(suspicion.look, at_ms), "its newest rows are not its newest"
            elif any(row.open_ms == suspicion.known_ms for row in exchange.read(suspicion.look, at_ms)):
                series.note_capped(len(rows))
            elif not withdraw_at(series, suspicion.known_ms):
                series.forget()
        merge(series, rows, step.window, read)
    raise AssertionError((question, series.tail, list(series.coverage), exchange.calls[-8:]))


def body(rows: list[Row]) -> bytes:
    return b"[" + b",".join(row.raw for row in rows) + b"]"


def random_opens(rng: random.Random, start: int, end: int) -> list[int]:
    """Minutes from `start` to `end` with holes, long and short, and now and then an open time off the grid."""
    opens = []
    t = start
    while t <= end:
        dice = rng.random()
        if dice < 0.01:
            t += MINUTE * rng.choice([1, 2, 3, 30, 700, 3000])
        elif dice < 0.012:
            opens.append(t + rng.randrange(1, MINUTE))
        else:
            opens.append(t)
        t += MINUTE
    return opens


__all__ = ["MINUTE", "ToyExchange", "WindowKind", "ask", "body", "make_series", "random_opens"]
