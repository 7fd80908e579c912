"""Derivation: the open candle of a longer interval, equal to the exchange's at its as-of, or none."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.derivation import Derivation, NotDerived, can_derive
from mdcache.candles.merge import merge
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime, SettlePolicy
from mdcache.candles.stored_blocks import evict_block
from mdcache.candles.tail import Tail
from mdcache.candles.window import tail_window
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import SeriesKey, request_headers, request_query
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.rows import ExpectedRows, Row, read_page
from mdcache.exchange.streams import Frame
from tests.sim.helpers import HOUR, MINUTE, SECOND, T0, Sim

PATHS = {Market.SPOT: "/api/v3/klines", Market.USDM: "/fapi/v1/klines", Market.COINM: "/dapi/v1/klines"}
NOON = T0 + 12 * HOUR
MARKETS = [
    (Market.SPOT, "BTCUSDT", False),
    (Market.SPOT, "BTCUSDT", True),
    (Market.SPOT, "QUIETUSDT", False),
    (Market.USDM, "BTCUSDT", False),
    (Market.COINM, "BTCUSD_PERP", False),
]


@cache
def _sim() -> Sim:
    return Sim()


def key_of(interval: str, market: Market = Market.SPOT, symbol: str = "BTCUSDT", *, micros: bool = False) -> SeriesKey:
    return SeriesKey(market, "klines", symbol, "", interval, micros=micros)


class World:
    """Some series of one symbol, read from a simulated exchange whose clock is turned by hand."""

    def __init__(self, market: Market = Market.SPOT, symbol: str = "BTCUSDT", *, micros: bool = False) -> None:
        self.sim = _sim()
        self.sim.now = NOON
        self._market, self._symbol, self._micros = market, symbol, micros
        self._series: dict[str, Series] = {}

    def series(self, interval: str) -> Series:
        if interval not in self._series:
            key = key_of(interval, self._market, self._symbol, micros=self._micros)
            self._series[interval] = Series(key, KLINE_ENDPOINTS[PATHS[self._market]], SettlePolicy(3_000, 60_000))
        return self._series[interval]

    def rows(self, interval: str, limit: int) -> list[Row]:
        """What the exchange prints now."""
        key = self.series(interval).key
        headers = dict(request_headers(key))
        reply = self.sim.exchange.respond(
            "GET", PATHS[self._market], request_query(key, None, None, limit), headers, "rows"
        )
        assert reply.status == 200
        self.sim.exchange._meter.reset()
        expected = ExpectedRows(INTERVALS[interval], 0, self.sim.now, limit, micros=self._micros)
        return read_page(reply.body, expected).rows

    def read(self, interval: str, limit: int = 500, *, change: tuple[int, bytes] | None = None) -> Series:
        """Merge a read of the newest rows; `change`: the open time of one that is printed otherwise, and how."""
        series, rows = self.series(interval), self.rows(interval, limit)
        if change is not None:
            rows = [row._replace(raw=change[1]) if row.open_ms == change[0] else row for row in rows]
        merge(series, rows, tail_window(limit), ReadTime(self.sim.now, self.sim.now))
        return series

    def read_later(self, *intervals: str) -> None:
        """Read each, a second after what was before."""
        for interval in intervals:
            self.sim.now += SECOND
            self.read(interval)

    def derivation(self, target: str, part: str = "1m") -> Derivation:
        return Derivation(self.series(target), self.series(part))

    def assert_right(self, derived: Frame | NotDerived) -> None:
        """It is what the exchange printed at its as-of."""
        assert isinstance(derived, Frame)
        assert not derived.final
        length_ms = derived.row.close_ms - derived.row.open_ms + 1
        interval = next(name for name in INTERVALS if INTERVALS[name].length_ms == length_ms)
        now, self.sim.now = self.sim.now, derived.event_ms
        assert self.rows(interval, 1) == [derived.row]
        self.sim.now = now


@given(
    subject=st.sampled_from(MARKETS),
    interval=st.sampled_from(["3m", "5m", "15m", "1h", "4h"]),
    pauses=st.lists(st.integers(1, 200 * SECOND), min_size=1, max_size=6),
    offset=st.integers(0, 4 * HOUR),
)
def test_equal_to_the_exchanges_row_at_its_as_of(
    subject: tuple[Market, str, bool], interval: str, pauses: list[int], offset: int
) -> None:
    market, symbol, micros = subject
    w = World(market, symbol, micros=micros)
    w.sim.now = NOON + offset + 5 * SECOND
    target = w.read(interval)
    derivation = w.derivation(interval)
    for pause in pauses:
        w.sim.now += pause
        w.read("1m")
        frame = derivation.derive()
        assert target.tail is not None
        if isinstance(frame, Frame):
            w.assert_right(frame)
            assert frame.event_ms > target.tail.as_of_ms
            assert target.apply_frame(frame, 0)
        else:
            assert target.tail.close_passed(w.sim.now)  # the bucket has ended: the exchange's own row closes it
            w.read(interval)


def proven(target: str = "5m") -> World:
    """A target and its parts, read half way through a bucket."""
    w = World()
    w.sim.now = NOON + 2 * MINUTE + 10 * SECOND
    w.read(target)
    w.sim.now += 10 * SECOND
    w.read("1m")
    return w


def test_the_as_of_is_that_of_the_parts() -> None:
    w = proven()
    frame = w.derivation("5m").derive()
    assert isinstance(frame, Frame)
    assert frame.event_ms == w.sim.now
    w.assert_right(frame)


def test_nothing_is_derived_without_news() -> None:
    w = proven()
    derivation = w.derivation("5m")
    assert derivation.derive() is not NotDerived.NOT_NEWER
    w.read("5m")
    assert derivation.derive() is NotDerived.NOT_NEWER
    w.read_later("5m")
    assert derivation.derive() is NotDerived.NOT_NEWER


def test_nothing_is_known_yet() -> None:
    w = World()
    assert w.derivation("5m").derive() is NotDerived.NO_PARTS
    w.read("5m")
    assert w.derivation("5m").derive() is NotDerived.NO_PARTS


@pytest.mark.parametrize(("limit", "proves"), [(3, False), (7, False), (8, True)])
def test_the_bucket_before_must_be_wholly_known_in_the_parts(limit: int, *, proves: bool) -> None:
    w = World()
    w.sim.now = NOON + 2 * MINUTE + 10 * SECOND
    w.read("5m")
    w.sim.now += 10 * SECOND
    w.read("1m", limit)  # minutes -5..-1 are the bucket before, 0..2 are open
    assert (w.derivation("5m").derive() is NotDerived.UNPROVEN) is not proves


def test_a_passed_close_needs_the_exchanges_own_row() -> None:
    w = proven()
    derivation = w.derivation("5m")
    w.sim.now = NOON + 5 * MINUTE + 2 * SECOND
    w.read("1m")
    assert derivation.derive() is NotDerived.NO_PARTS
    w.read_later("5m", "1m")
    w.assert_right(derivation.derive())


def test_the_as_of_never_passes_a_close_that_was_not_seen() -> None:
    w = proven()
    parts = w.series("1m")
    assert parts.tail is not None
    parts.tail = replace(parts.tail, as_of_ms=NOON + 3 * MINUTE + 20 * SECOND)
    frame = w.derivation("5m").derive()
    assert isinstance(frame, Frame)
    assert frame.event_ms == NOON + 3 * MINUTE - 1


def test_a_missing_part_ends_it() -> None:
    w = proven()
    parts = w.series("1m")
    tail = parts.tail
    assert tail is not None
    parts.blocks.replace(NOON, NOON + 1, [])
    parts.tail = replace(tail, rows=tuple(row for row in tail.rows if row.open_ms != NOON))
    assert w.derivation("5m").derive() is NotDerived.NO_PARTS


def half_of_four_hours() -> World:
    """A target of which most parts are settled."""
    w = World()
    w.sim.now = NOON + 2 * HOUR + 10 * SECOND
    w.read("4h")
    w.read_later("1m")
    return w


def test_parts_may_return_from_settled_rows_to_the_tail() -> None:
    w = half_of_four_hours()
    derivation, parts = w.derivation("4h"), w.series("1m")
    w.assert_right(derivation.derive())
    since_ms = NOON + 2 * HOUR - 5 * MINUTE
    rows = tuple(row for row in w.rows("1m", 10) if row.open_ms >= since_ms)
    parts.blocks.replace(since_ms, w.sim.now, [])
    parts.coverage.remove(since_ms, w.sim.now)
    parts.replace_tail(Tail(since_ms, rows, w.sim.now))
    w.assert_right(derivation.derive())


def test_a_hole_in_the_bucket_before_proves_nothing() -> None:
    w = half_of_four_hours()
    w.series("1m").blocks.replace(NOON - MINUTE, NOON, [])
    assert w.derivation("4h").derive() is NotDerived.UNPROVEN


def test_each_close_is_proven_anew() -> None:
    w = proven()
    derivation = w.derivation("5m")
    w.assert_right(derivation.derive())
    w.sim.now = NOON + 7 * MINUTE
    closed = w.rows("5m", 2)[0]
    w.read("5m", change=(closed.open_ms, one_trade_more(closed)))
    w.read_later("1m")
    assert derivation.derive() is NotDerived.MISMATCH


def test_a_revised_part_ends_the_proof() -> None:
    w = half_of_four_hours()
    derivation, revised_ms = w.derivation("4h"), NOON - 7 * MINUTE
    w.assert_right(derivation.derive())
    w.sim.now += SECOND
    (row,) = [row for row in w.rows("1m", 500) if row.open_ms == revised_ms]
    w.read("1m", change=(revised_ms, one_trade_more(row)))
    assert derivation.derive() is NotDerived.MISMATCH


def test_a_cut_part_ends_it() -> None:
    w = proven()
    parts = w.series("1m")
    tail = parts.tail
    assert tail is not None
    newest = tail.rows[-1]
    cut = newest.raw.replace(b",%d," % newest.close_ms, b",%d," % (newest.close_ms - 900))
    parts.tail = replace(tail, rows=(*tail.rows[:-1], newest._replace(close_ms=newest.close_ms - 900, raw=cut)))
    assert w.derivation("5m").derive() is NotDerived.NO_PARTS


def test_evicted_parts_end_it() -> None:
    w = half_of_four_hours()
    derivation, parts = w.derivation("4h"), w.series("1m")
    w.assert_right(derivation.derive())
    for index in parts.blocks.indexes(0, w.sim.now):
        evict_block(parts, index)
    w.sim.now += SECOND
    parts.replace_tail(Tail(NOON + 2 * HOUR, tuple(w.rows("1m", 1)), w.sim.now))
    assert derivation.derive() is NotDerived.NO_PARTS


def test_parts_are_merged_again_when_one_is_revised() -> None:
    w = half_of_four_hours()
    derivation, before = w.derivation("4h"), w.series("1m").settled_version
    first = derivation.derive()
    revised_ms = NOON + 7 * MINUTE
    ((_, raw),) = w.series("1m").blocks.printed_rows(revised_ms, revised_ms + 1)
    columns = raw.split(b",")
    columns[8] = b"%d" % (int(columns[8]) + 1)
    w.read("1m", change=(revised_ms, b",".join(columns)))
    second = derivation.derive()
    assert w.series("1m").settled_version > before
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    assert second.row.trades == first.row.trades + 1


def test_fewer_trades_than_shown_are_not_shown() -> None:
    w = proven()
    target = w.series("5m")
    assert target.tail is not None
    (*closed, newest) = target.tail.rows
    target.tail = replace(target.tail, rows=(*closed, newest._replace(trades=1_000_000)))
    assert w.derivation("5m").derive() is NotDerived.NO_PARTS


def one_trade_more(row: Row) -> bytes:
    return row.raw.replace(b",%d," % row.trades, b",%d," % (row.trades + 1))


def test_a_mismatch_is_told_once_and_ends_it_for_an_hour() -> None:
    w = World()
    w.sim.now = NOON + 2 * MINUTE
    before = w.rows("5m", 2)[0]
    w.read("5m", change=(before.open_ms, one_trade_more(before)))  # settled: its close is over a minute ago
    w.read_later("1m")
    derivation = w.derivation("5m")
    assert derivation.derive() is NotDerived.MISMATCH
    assert derivation.derive() is NotDerived.UNPROVEN
    ended_ms = w.sim.now
    while (passed := w.sim.now - ended_ms) < HOUR:
        w.sim.now += 4 * MINUTE
        w.read("5m")
        w.read_later("1m")
        if passed < HOUR - 5 * MINUTE:
            assert derivation.derive() is NotDerived.UNPROVEN
    w.assert_right(derivation.derive())


def test_a_row_read_just_after_its_close_may_differ() -> None:
    w = World()
    w.sim.now = NOON + 5 * MINUTE + 200
    closed = w.rows("5m", 2)[0]
    w.read("5m", change=(closed.open_ms, one_trade_more(closed)))
    w.read_later("1m")
    derivation = w.derivation("5m")
    assert derivation.derive() is NotDerived.UNPROVEN
    w.read_later("5m", "1m")
    w.assert_right(derivation.derive())


def test_a_row_and_its_last_part_that_were_both_read_unfinished_prove_nothing_once_the_part_is_complete() -> None:
    w = World()
    w.sim.now = NOON + 5 * MINUTE - 10 * SECOND
    unfinished = {interval: w.rows(interval, 1)[0] for interval in ("1m", "5m")}
    w.sim.now = NOON + 5 * MINUTE + 500
    for interval, row in unfinished.items():
        w.read(interval, change=(row.open_ms, row.raw))
    derivation = w.derivation("5m")
    w.sim.now += SECOND
    w.read("1m", change=(unfinished["1m"].open_ms, unfinished["1m"].raw))
    assert isinstance(derivation.derive(), Frame)
    w.read_later("1m")
    assert w.rows("1m", 2)[0].raw != unfinished["1m"].raw
    assert derivation.derive() is NotDerived.UNPROVEN
    w.read_later("5m", "1m")
    w.assert_right(derivation.derive())


def test_another_part_series_proves_itself() -> None:
    w = proven("15m")
    w.read("5m")
    assert isinstance(w.derivation("15m", "5m").derive(), Frame)
    wrong = w.series("5m").tail
    assert wrong is not None
    w.series("5m").tail = replace(wrong, start_ms=NOON)
    w.series("5m").coverage.remove(0, NOON)
    w.series("5m").blocks.replace(0, NOON, [])
    assert w.derivation("15m", "5m").derive() is NotDerived.UNPROVEN
    assert isinstance(w.derivation("15m").derive(), Frame)


@pytest.mark.parametrize(
    ("target", "part", "can"),
    [
        (key_of("5m"), key_of("1m"), True),
        (key_of("1d"), key_of("1m"), True),
        (key_of("1m"), key_of("1s"), True),
        (key_of("8h"), key_of("4h"), True),
        (key_of("6h"), key_of("4h"), False),
        (key_of("5m"), key_of("3m"), False),
        (key_of("5m"), key_of("5m"), False),
        (key_of("1m"), key_of("5m"), False),
        (key_of("3d"), key_of("1d"), False),
        (key_of("1w"), key_of("1d"), False),
        (key_of("1M"), key_of("1d"), False),
        (key_of("5m"), key_of("1m", symbol="ETHUSDT"), False),
        (key_of("5m"), key_of("1m", Market.USDM), False),
        (key_of("5m", micros=True), key_of("1m"), False),
        (key_of("5m", micros=True), key_of("1m", micros=True), True),
        (replace(key_of("1d"), zone_minutes=480), replace(key_of("1h"), zone_minutes=480), False),
        (replace(key_of("5m"), kind="uiKlines"), replace(key_of("1m"), kind="uiKlines"), False),
        (replace(key_of("5m"), kind="markPriceKlines"), replace(key_of("1m"), kind="markPriceKlines"), False),
    ],
)
def test_which_series_can_be_derived(target: SeriesKey, part: SeriesKey, *, can: bool) -> None:
    assert can_derive(target, part) is can


def test_a_day() -> None:
    w = World()
    w.sim.now = T0 + 15 * HOUR
    w.read("1d")
    w.read_later("1m")
    w.read("15m")
    assert w.derivation("1d").derive() is NotDerived.UNPROVEN  # 500 minutes are not all of yesterday's
    w.assert_right(w.derivation("1d", "15m").derive())
