"""How many trades there were, by the numbers of the first ones (docs/design.md#trade-counts)."""

from dataclasses import replace

import pytest

from mdcache.candles.first_trades import FirstTrades, TradeCount
from mdcache.candles.series import Series
from mdcache.candles.settling import SettlePolicy
from mdcache.exchange.streams import Frame
from tests.candles.timeline import at, make_series, minute_of, row, settle, show_tail

CADENCE_MS = 2_000


def test_the_trades_between_two_open_times_are_counted() -> None:
    trades = FirstTrades()
    trades.take("BTCUSDT", "1h", 0, 100)
    trades.take("BTCUSDT", "5m", 300_000, 130)
    trades.take("BTCUSDT", "1m", 360_000, 140)
    assert trades.counts("BTCUSDT", "1m") == [TradeCount(300_000, 360_000, 10), TradeCount(0, 360_000, 40)]
    assert trades.counts("BTCUSDT", "1h") == []


def test_an_older_candle_no_trade_and_another_symbol_count_nothing() -> None:
    trades = FirstTrades()
    trades.take("BTCUSDT", "1m", 360_000, 140)
    trades.take("BTCUSDT", "1m", 300_000, 120)
    trades.take("BTCUSDT", "1h", 0, -1)
    trades.take("ETHUSDT", "1h", 0, 3)
    assert trades.counts("BTCUSDT", "1m") == []
    assert trades.counts("BNBUSDT", "1m") == []


def test_what_opened_before_the_numbers_began_anew_is_left_out() -> None:
    trades = FirstTrades()
    trades.take("BTCUSDT", "1d", 0, 70)
    trades.take("BTCUSDT", "1h", 3_600_000, 100)
    trades.take("BTCUSDT", "5m", 3_900_000, 3)
    trades.take("BTCUSDT", "1m", 3_960_000, 8)
    assert list(trades.opened("BTCUSDT")) == [(3_960_000, 8), (3_900_000, 3)]
    assert trades.counts("BTCUSDT", "1m") == [TradeCount(3_900_000, 3_960_000, 5)]


def read_soon(closed_trades: int) -> Series:
    """Minutes 0 to 7 settled, 8 to 10 read a second after minute 9 closed, and a frame of minute 10 since."""
    series = make_series()
    settle(series, 0, 7)
    show_tail(series, 8, 10, as_of=10 + 1 / 60)
    assert series.tail is not None
    series.replace_tail(replace(series.tail, rows=(series.tail.rows[0], row(9, closed_trades), series.tail.rows[2])))
    series.apply_frame(Frame(at(10.5), row(10, 61), final=False), CADENCE_MS)
    return series


def count(open_minute: float, trades: int, end_minute: float = 10) -> TradeCount:
    return TradeCount(at(open_minute), at(end_minute), trades)


@pytest.mark.parametrize("since", [5, 8, 9])
def test_a_row_that_was_read_soon_after_its_close_is_complete_if_no_trade_is_missing(since: int) -> None:
    series = read_soon(60)
    assert series.live_tail == series.tail
    assert series.confirm_closed([count(since, 60 * (10 - since))])
    assert series.live_tail is not None
    assert minute_of(series.live_tail.as_of_ms) == 10.5


@pytest.mark.parametrize(
    "useless",
    [
        count(5, 301),  # a trade is missing
        count(9, 60, end_minute=9.5),  # another end
        count(9.5, 60),  # it begins within the row
        count(-1, 660),  # rows before are not known
    ],
)
def test_any_other_count_proves_nothing(useless: TradeCount) -> None:
    series = read_soon(60)
    assert not series.confirm_closed([useless])
    assert series.live_tail == series.tail


def test_another_read_of_the_row_is_counted_anew() -> None:
    series = read_soon(59)
    assert not series.confirm_closed([count(9, 60)])
    show_tail(series, 8, 10, as_of=10 + 2 / 60)
    series.apply_frame(Frame(at(10.6), row(10, 62), final=False), CADENCE_MS)
    assert series.confirm_closed([count(9, 60)])


def test_a_row_that_changed_after_it_was_confirmed_is_in_doubt_again() -> None:
    series = read_soon(60)
    assert series.confirm_closed([count(9, 60)])
    assert series.tail is not None
    changed = replace(series.tail, rows=(series.tail.rows[0], row(9, 59), series.tail.rows[2]))
    series.replace_tail(changed)
    assert [each.trades for each in series.doubtful] == [59]
    assert series.live_tail == changed


def test_a_count_that_begins_after_the_first_doubtful_row_proves_nothing() -> None:
    """Of seconds, several have closed since a server could have lagged."""
    series = Series(make_series().key, make_series().endpoint, SettlePolicy(120_000, 300_000))
    show_tail(series, 8, 10, as_of=10 + 1 / 60)
    series.apply_frame(Frame(at(10.5), row(10, 61), final=False), CADENCE_MS)
    assert [minute_of(each.open_ms) for each in series.doubtful] == [8, 9]
    assert not series.confirm_closed([count(9, 60)])
    assert series.confirm_closed([count(8, 120)])


def test_not_more_rows_are_counted_than_take_no_time() -> None:
    """A month of minutes takes 0.1 s, in which nobody is answered."""
    series = read_soon(60)
    settle(series, -900, 7)
    assert not series.confirm_closed([count(-491, 60 * 501)])
    assert series.last_trade([(at(-491), 1)]) == -1
    assert series.confirm_closed([count(-489, 60 * 499)])
