"""Rows of dumps: what is read outranks them, and what neither knows is read.

Any dump: rows missing, invented, changed, ended early or off the grid, merged before, between and after questions.
"""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.dump_merge import DumpMerge, merge_dump
from mdcache.candles.replication import apply_state, export_state
from mdcache.candles.series import Series
from mdcache.exchange.klines import KlineQuestion
from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.exchange.rows import Row
from tests.support.examples import examples
from tests.support.toy_exchange import MINUTE, ToyExchange, ask, body, make_series, random_opens

pytestmark = pytest.mark.untraced

DAY = 86_400_000
NOW = 1_790_771_371_858
START = NOW // DAY * DAY - 6 * DAY
PATHS = ["/api/v3/klines", "/fapi/v1/klines", "/dapi/v1/klines"]


def question(series: Series, start: int | None, end: int | None, limit: int) -> KlineQuestion:
    return KlineQuestion(series.key, series.endpoint, start, end, limit)


def changed(row: Row) -> Row:
    return Row(row.open_ms, row.close_ms, row.trades, row.raw.replace(b'"1","2"', b'"1","3"'))


def known(series: Series, start: int, end: int) -> list[Row]:
    return [Row(t, t, 0, raw) for t, raw in series.blocks.printed_rows(start, end)]


@pytest.mark.parametrize("path", PATHS)
def test_a_true_dump_answers_without_a_read_and_joins_day_to_day(path: str) -> None:
    exchange = ToyExchange(path, list(range(START, NOW, MINUTE)))
    series, rows = make_series(path), exchange.rows(NOW)
    for day in (2, 0, 1, 3):
        some = rows[day * 1440 : (day + 1) * 1440]
        assert merge_dump(series, some) == DumpMerge(taken=1440)
    assert list(series.coverage) == list(series.from_dumps) == [(START, START + 4 * DAY)]
    for start in (START, START + 700 * MINUTE, START + 3 * DAY - 5 * MINUTE):
        answer, _, reads = ask(series, exchange, NOW, question(series, start, start + 999 * MINUTE, 1_000))
        assert (answer, reads) == (body(exchange.answer(start, start + 999 * MINUTE, 1_000, NOW)), 0)
    assert merge_dump(series, rows[:1440]) == DumpMerge(same=1440)


def test_it_joins_what_was_read_on_both_sides() -> None:
    path = PATHS[0]
    exchange = ToyExchange(path, list(range(START, NOW, MINUTE)))
    series = make_series(path)
    for first in (0, 2_000):
        start = START + first * MINUTE
        ask(series, exchange, NOW, question(series, start, start + 999 * MINUTE, 1_000))
    calls = len(exchange.calls)
    rows = exchange.rows(NOW)
    assert merge_dump(series, rows[1_000:2_000]).taken == 1_000
    assert len(series.coverage) == 1
    assert ask(series, exchange, NOW, question(series, START + 500 * MINUTE, START + 2_500 * MINUTE, 1_000))[2] == 0
    assert len(exchange.calls) == calls


def test_what_was_read_is_not_overwritten_and_differences_are_counted() -> None:
    path = PATHS[0]
    exchange = ToyExchange(path, list(range(START, NOW, MINUTE)))
    series, rows = make_series(path), exchange.rows(NOW)
    end = START + 99 * MINUTE
    ask(series, exchange, NOW, question(series, START, end, 100))
    dump = [*rows[:10], *map(changed, rows[10:20]), *rows[20:1_400]]
    assert merge_dump(series, dump) == DumpMerge(taken=400, same=990, differing=10)
    assert ask(series, exchange, NOW, question(series, START, end, 100))[::2] == (body(rows[:100]), 0)


def test_a_dump_that_is_printed_otherwise_is_left() -> None:
    path = PATHS[1]
    exchange = ToyExchange(path, list(range(START, NOW, MINUTE)))
    series, rows = make_series(path), exchange.rows(NOW)
    ask(series, exchange, NOW, question(series, START, START + 9 * MINUTE, 10))
    read = len(series.blocks)
    assert merge_dump(series, [changed(row) for row in rows[:1_000]]) == DumpMerge(differing=read, left=1_000)
    assert not series.from_dumps


def test_gaps_stay_unknown_and_are_so_few_that_a_question_can_fill_them() -> None:
    path = PATHS[0]
    exchange = ToyExchange(path, list(range(START, NOW, MINUTE)))
    series, rows = make_series(path), exchange.rows(NOW)
    every_second = rows[:2_000:2]
    done = merge_dump(series, every_second)
    assert done.taken + done.left == 1_000
    assert 0 < done.taken < 40
    answer, _, reads = ask(series, exchange, NOW, question(series, START, START + 999 * MINUTE, 1_000))
    assert answer == body(rows[:1_000])
    assert reads < 20


def test_rows_that_close_early_are_left_to_be_read() -> None:
    path = PATHS[0]
    exchange = ToyExchange(path, list(range(START, NOW, MINUTE)), closes={START + 5 * MINUTE: START + 5 * MINUTE + 9})
    series = make_series(path)
    assert merge_dump(series, exchange.rows(NOW)[:10]) == DumpMerge(taken=9, left=1)
    assert series.coverage.at(START + 5 * MINUTE) is None


def any_dump(rng: random.Random, exchange: ToyExchange, first: int, last: int) -> Sequence[Row]:
    """Rows of an hour to two days: true, or lacking some, or with some that never were, or changed."""
    start = rng.randrange(first - 3_000 * MINUTE, last) // MINUTE * MINUTE
    end = start + rng.choice([60, 1_440, 2_880]) * MINUTE
    rows = {row.open_ms: row for row in exchange.answer(start, min(end, last), 5_000, NOW)}
    fault = rng.choice(["none", "invented", "lacking", "changed", "mixed"])
    for open_ms in range(start, min(end, last), MINUTE):
        if fault in {"invented", "mixed"} and open_ms not in rows and rng.random() < 0.9:
            rows[open_ms] = ToyExchange(exchange.path, [open_ms]).row(open_ms, NOW)
        elif fault in {"lacking", "mixed"} and rng.random() < rng.choice([0.001, 0.1]):
            rows.pop(open_ms, None)
        elif fault in {"changed", "mixed"} and open_ms in rows and rng.random() < rng.choice([0.001, 0.3]):
            rows[open_ms] = changed(rows[open_ms])
    return [rows[open_ms] for open_ms in sorted(rows)]


@pytest.mark.parametrize("path", PATHS)
@given(seed=st.integers(0, 2**32))
@examples(20, 200)
def test_wherever_binance_was_asked_its_rows_are_served(path: str, seed: int) -> None:
    """A mirror without dumps is asked the same: where both know a row, it is the mirror's unless no read saw it."""
    rng = random.Random(seed)
    first = START + rng.randrange(0, 2_000) * MINUTE
    last = NOW if rng.random() < 0.7 else rng.randrange(first + 100 * MINUTE, NOW)
    exchange = ToyExchange(path, random_opens(rng, first, last))
    series, limit = make_series(path), KLINE_ENDPOINTS[path].max_limit
    truth = {row.open_ms: row.raw for row in exchange.rows(NOW)}
    for _ in range(10):
        if rng.random() < 0.5:
            merge_dump(series, any_dump(rng, exchange, first, NOW - 2 * DAY))
        start = rng.randrange(first - 1_000 * MINUTE, NOW) if rng.random() < 0.8 else None
        end = None if start is None or rng.random() < 0.3 else start + rng.randrange(1, 1_500) * MINUTE
        answer, _, _ = ask(series, exchange, NOW, question(series, start, end, rng.choice([5, 500, limit])))
        assert answer.startswith(b"[")
        for lo, hi in series.coverage:
            for read_lo, read_hi in series.from_dumps.gaps(lo, hi):
                served = dict(series.blocks.printed_rows(read_lo, read_hi))
                assert served == {t: raw for t, raw in truth.items() if read_lo <= t < read_hi}
        for lo, hi in series.from_dumps:
            assert series.coverage.gaps(lo, hi) == []
            opens = [t for t, _ in series.blocks.printed_rows(lo, hi)]
            assert {b - a for a, b in pairwise(opens)} <= {MINUTE}, "no hole is believed of a dump"


@pytest.mark.parametrize("path", PATHS)
@given(seed=st.integers(0, 2**32))
@examples(20, 200)
def test_replicas_agree_on_what_was_read(path: str, seed: int) -> None:
    rng = random.Random(seed)
    exchange = ToyExchange(path, random_opens(rng, START, NOW))
    truth = {row.open_ms: row.raw for row in exchange.rows(NOW)}
    replicas = [make_series(path), make_series(path)]
    for series in replicas:
        for _ in range(3):
            merge_dump(series, any_dump(rng, exchange, START, NOW - 2 * DAY))
            start = START + rng.randrange(0, 5_000) * MINUTE
            ask(series, exchange, NOW, question(series, start, start + 300 * MINUTE, 500))
    states = [export_state(series, series.blocks.indexes(0, NOW)) for series in replicas]
    read = [series.from_dumps.gaps(lo, hi) for series in replicas for lo, hi in series.coverage]
    apply_state(replicas[0], states[1])
    apply_state(replicas[1], states[0])
    for series in replicas:
        for lo, hi in [span for spans in read for span in spans]:
            rows = {t: raw for t, raw in truth.items() if lo <= t < hi}
            assert dict(series.blocks.printed_rows(lo, hi)) == rows
            assert series.from_dumps.intersection(lo, hi) == []
