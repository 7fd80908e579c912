"""How long an answer is good for (docs/design.md#as-of, #freshness, #holes)."""

import pytest

from mdcache.cache.kline_answers import Lifetime, is_independent_of_now, settled_lifetime, tail_lifetime
from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.plan import Serve
from mdcache.candles.series import Series
from mdcache.candles.tail import Tail
from mdcache.exchange.klines import KlineQuestion
from tests.candles.timeline import COINM, SPOT, at, make_series, now, rows

TTL_MS = 2_000
HOUR_S, YEAR_S = 3_600, 31_536_000
NOW = 100.5
DAY = 1_440


def question(start: float | None, end: float | None, limit: int = 500, path: str = SPOT) -> KlineQuestion:
    series = make_series(path)
    first, last = (None if each is None else at(each) for each in (start, end))
    return KlineQuestion(series.key, series.endpoint, first, last, limit)


def served(lo: float, hi: float, *, shown: int = 0, reaches_tail: bool = False) -> Serve:
    return Serve((), tuple(rows(0, shown - 1)), reaches_tail, at(lo), at(hi))


def lifetime(asked: KlineQuestion, lo: float, hi: float, series: Series | None = None) -> Lifetime:
    return settled_lifetime(asked, served(lo, hi), series or make_series(), at(NOW), now(NOW), TTL_MS)


@pytest.mark.parametrize(
    ("as_of", "until"),
    [
        (100.5, at(100.5) + TTL_MS),
        (100.99, at(101) - 1),  # no longer than until the open candle closes
        (101.5, at(101.5) + TTL_MS),  # it had closed already
    ],
)
def test_an_answer_with_a_tail_lives_as_long_as_the_tail(as_of: float, until: int) -> None:
    tail = Tail(at(99), tuple(rows(99, 100)), at(as_of))
    assert tail_lifetime(tail, TTL_MS) == Lifetime(at(as_of), 2.0, until)


@pytest.mark.parametrize(
    ("asked", "lifetime_s"),
    [
        (question(-3 * DAY, -2 * DAY), YEAR_S),
        (question(None, -2 * DAY), HOUR_S),  # older rows may be listed yet
        (question(-3 * DAY, 99), HOUR_S),  # a revision is likelier than a day later
    ],
)
def test_settled_rows_between_two_ends_of_long_ago_never_change(asked: KlineQuestion, lifetime_s: int) -> None:
    found = lifetime(asked, -3 * DAY, -2 * DAY)
    assert (found.lifetime_s, found.immutable) == (lifetime_s, lifetime_s == YEAR_S)
    assert (found.as_of_ms, found.valid_until_ms) == (at(NOW), at(NOW) + HOUR_S * 1000)


def test_an_empty_range_among_them_may_fill() -> None:
    series = make_series()
    asked = question(-3 * DAY, -2 * DAY)
    series.empty_ranges.add(EmptyRange(at(90), at(91), at(NOW), hole=True))  # outside of what is served
    assert lifetime(asked, -3 * DAY, -2 * DAY, series).immutable
    series.empty_ranges.add(EmptyRange(at(-2.5 * DAY), at(-2.4 * DAY), at(NOW) - 10_000, hole=True))
    found = lifetime(asked, -3 * DAY, -2 * DAY, series)
    assert not found.immutable
    assert found.lifetime_s == HOUR_S  # it is trusted for longer
    series.empty_ranges.add(EmptyRange(at(90), at(91), at(NOW), hole=True))
    near = lifetime(question(80, 95), 80, 95, series)
    assert near.lifetime_s == pytest.approx(70, abs=1)  # a ninth of ten minutes and a half
    assert near.valid_until_ms == -1


def test_what_lies_ahead_is_empty_until_then() -> None:
    found = lifetime(question(101, 200), 101, 101)
    assert found.lifetime_s == pytest.approx(30, abs=0.01)


@pytest.mark.parametrize(
    ("asked", "answer", "independent"),
    [
        (question(None, 90), served(0, 90), True),  # it ends in the past
        (question(None, 100), served(0, 100, reaches_tail=True), False),
        (question(0, None, 5), served(0, 4, shown=5), True),  # full from its start
        (question(0, None, 5), served(0, 4, shown=4), False),
        (question(None, None, 5), served(0, 4, shown=5), False),
        (question(0, None, 5, COINM), served(0, 4, shown=5), False),  # its newest rows change
    ],
)
def test_what_may_be_answered_by_an_unknown_clock(asked: KlineQuestion, answer: Serve, *, independent: bool) -> None:
    assert is_independent_of_now(asked, answer, now(NOW)) is independent
