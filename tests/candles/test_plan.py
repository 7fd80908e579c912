"""What is read for a question (docs/design.md#windows, #window-size): as little as possible, in one call, once.

Minute 10,000 is open: it is 10,000.5 now. Unless a table says otherwise, nothing else is known.
"""

import json
from dataclasses import replace

import pytest

from mdcache.candles.freshness import TailFloor
from mdcache.candles.plan import LoadBlocks, ReadWindow, Serve, plan
from mdcache.candles.series import Series, UnprovenEmpty
from mdcache.candles.stored_blocks import evict_block
from mdcache.candles.window import Window, WindowKind
from mdcache.exchange.klines import RowQuery
from tests.candles.timeline import COINM, SPOT, USDM, at, make_series, minute_of, now, settle, show_tail

NOW = 10_000.5
FRESH, OLD = TailFloor(at(NOW) - 2_000), TailFloor(at(NOW) + 1)
EVERYTHING = 1 << 40
Step = Serve | ReadWindow | LoadBlocks


def newest(limit: int, before: float | None = None, after: float | None = None) -> RowQuery:
    """The newest rows, or those up to minute `before`."""
    return RowQuery(0 if after is None else at(after), None if before is None else at(before), limit, newest=True)


def oldest(limit: int, start: float, end: float | None = None) -> RowQuery:
    """The oldest rows from minute `start` on."""
    return RowQuery(at(start), None if end is None else at(end), limit, newest=False)


def step(series: Series, query: RowQuery, floor: TailFloor = FRESH) -> Step:
    return plan(series, query, floor, now(NOW))


def window(found: Step) -> Window:
    """The window of a step that reads."""
    assert isinstance(found, ReadWindow), found
    return found.window


def asked(found: Step) -> tuple[WindowKind, float | None, float | None, int]:
    """Kind, start and end in minutes, and limit of the window that is read."""
    one = window(found)
    start, end = one.start_ms, one.end_ms
    return one.kind, None if start is None else minute_of(start), None if end is None else minute_of(end), one.limit


def served(found: Step) -> list[float]:
    """The minutes whose rows are the answer."""
    assert isinstance(found, Serve), found
    settled = [block.open_times[n] for block, i, j in found.pieces for n in range(i, j)]
    return [minute_of(each) for each in (*settled, *(row.open_ms for row in found.tail_rows))]


def current(path: str = SPOT, first: int = 9_000) -> Series:
    """All is known from minute `first` on, and the tail is fresh."""
    series = make_series(path)
    settle(series, first, 9_998)
    show_tail(series, 9_999, 10_000, as_of=NOW)
    return series


# ------------------------------------------------------------------------------- what is known is served


@pytest.mark.parametrize(
    ("query", "minutes"),
    [
        (newest(3), [9_998, 9_999, 10_000]),
        (newest(1), [10_000]),
        (newest(2, before=9_500), [9_499, 9_500]),
        (oldest(2, 9_000), [9_000, 9_001]),
        (oldest(2, 9_000, 9_000), [9_000]),
        (oldest(5, 9_998), [9_998, 9_999, 10_000]),
        (oldest(5, 10_000.2), []),
        (oldest(5, 9_500, 9_400), []),
        (oldest(5, 11_000), []),  # nothing has opened there yet
    ],
)
def test_what_is_known_is_served(query: RowQuery, minutes: list[float]) -> None:
    assert served(step(current(), query)) == minutes


@pytest.mark.parametrize(
    ("query", "reaches"),
    [
        (newest(3), True),
        (oldest(5, 9_998), True),
        (oldest(5, 10_000.2), True),  # no row of the tail is shown, but its emptiness is
        (newest(2, before=9_500), False),
        (oldest(2, 9_000), False),
    ],
)
def test_an_answer_is_as_of_the_tail_where_its_range_reaches_it(query: RowQuery, *, reaches: bool) -> None:
    found = step(current(), query)
    assert isinstance(found, Serve)
    assert found.reaches_tail is reaches


def test_settled_rows_need_no_fresh_tail() -> None:
    assert served(step(current(), oldest(2, 9_000), OLD)) == [9_000, 9_001]
    assert served(step(current(), newest(2, before=9_500), OLD)) == [9_499, 9_500]


def test_the_body_is_the_printed_rows() -> None:
    found = step(current(), newest(2))
    assert isinstance(found, Serve)
    assert found.rows == 2
    first, second = found.tail_rows
    assert found.body() == b"[" + first.raw + b"," + second.raw + b"]"


def nine_and_one() -> Serve:
    """Rows 9,991 to 9,999 of a block, and the tail of 10,000."""
    series = make_series()
    settle(series, 9_980, 9_999)
    show_tail(series, 10_000, 10_000, as_of=NOW)
    found = step(series, oldest(100, 9_991))
    assert isinstance(found, Serve)
    return found


@pytest.mark.parametrize("size", [1, 2, 4, 9, 100])
def test_slices_are_the_same_rows(size: int) -> None:
    every = nine_and_one()
    slices = list(every.slices(size))
    assert b",".join(text for text, _ in slices) == b",".join(every.parts())
    assert [text.count(b"[") for text, _ in slices] == [rows for _, rows in slices]
    assert max(rows for _, rows in slices) == min(size, 9)
    assert every.rows == 10


@pytest.mark.parametrize("limit", [0, 1, 2, 9, 10, 11])
def test_the_newest_of_an_answer_are_its_last_rows(limit: int) -> None:
    every = nine_and_one()
    found = every.newest(limit)
    assert json.loads(found.body()) == json.loads(every.body())[max(0, 10 - limit) :]
    assert found.rows == min(limit, 10)


# ------------------------------------------------------------------------------- the newest rows


@pytest.mark.parametrize(
    ("path", "limit", "read"),
    [
        (SPOT, 1, 1_000),  # one row costs what a thousand cost
        (SPOT, 1_000, 1_000),
        (USDM, 1, 99),  # weights 1, 2, 5 and 10
        (USDM, 100, 499),
        (USDM, 500, 1_000),
        (USDM, 1_500, 1_500),
    ],
)
def test_a_first_question_reads_as_many_rows_as_its_price_allows(path: str, limit: int, read: int) -> None:
    found = step(make_series(path), newest(limit))
    assert asked(found) == (WindowKind.TAIL, None, None, read)
    assert found == ReadWindow(window(found), refresh=False)


@pytest.mark.parametrize(
    ("path", "known_from", "limit", "read"),
    [
        (SPOT, 9_000, 500, 100),  # the overlap alone: the rest is known
        (USDM, 9_000, 500, 99),
        (USDM, 9_990, 500, 1_000),  # what is missing below costs no call of its own
        (USDM, 9_990, 50, 99),
    ],
)
def test_a_tail_too_old_is_refreshed(path: str, known_from: int, limit: int, read: int) -> None:
    found = step(current(path, known_from), newest(limit), OLD)
    assert isinstance(found, ReadWindow)
    assert found.refresh
    assert asked(found) == (WindowKind.TAIL, None, None, read)


@pytest.mark.parametrize(
    ("path", "known_to", "read"),
    [
        (SPOT, 9_950, 100),
        (USDM, 9_950, 99),
        (USDM, 9_500, 1_000),  # 501 rows join what is known, and ten of overlap
        (USDM, 8_600, 1_500),
        (USDM, 8_000, 99),  # too far below: a read of its own will join it
    ],
)
def test_a_refresh_reaches_down_to_what_is_settled(path: str, known_to: int, read: int) -> None:
    series = make_series(path)
    settle(series, 0, known_to)
    show_tail(series, known_to + 1, known_to + 1, as_of=known_to + 1.5)
    assert window(step(series, newest(1), OLD)).limit == read


# ------------------------------------------------------------------------------- gaps, going down


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # endTime alone, two buckets past what is missing, or at a known row: one row above proves the edge
        (SPOT, (WindowKind.BACKWARD, None, 9_000, 1_000)),
        (USDM, (WindowKind.BACKWARD, None, 9_000, 499)),
    ],
)
def test_rows_below_what_is_known_are_read_backwards(
    path: str, expected: tuple[WindowKind, float | None, float | None, int]
) -> None:
    assert asked(step(current(path), newest(1_200))) == expected


def test_a_gap_between_known_ranges_is_closed_by_one_window() -> None:
    series = current()
    settle(series, 8_000, 8_499)
    kind, start, end, _ = asked(step(series, newest(1_000, before=9_100)))
    assert (kind, start, end) == (WindowKind.RANGE, 8_500, 9_000)


def test_a_span_that_a_backward_read_showed_empty_is_read_from_below() -> None:
    series = current()
    series.unproven_empty = [UnprovenEmpty(0, at(9_000) - 1, 10, at(9_999))]
    assert asked(step(series, newest(2_000)))[0] is WindowKind.FORWARD


def test_coinm_reads_a_window_with_both_ends() -> None:
    kind, start, end, limit = asked(step(current(COINM), newest(1_200, after=8_000)))
    assert kind is WindowKind.RANGE
    assert end == 9_000
    assert start is not None
    assert end - start <= 200 * 1_440
    assert limit == 499


# ------------------------------------------------------------------------------- gaps, going up


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        (SPOT, oldest(10, 0), (WindowKind.FORWARD, 0, None, 1_000)),
        (USDM, oldest(10, 0), (WindowKind.FORWARD, 0, None, 99)),
        (USDM, oldest(500, 0), (WindowKind.FORWARD, 0, None, 1_000)),
        (USDM, oldest(500, 0, 49), (WindowKind.FORWARD, 0, None, 99)),  # 51 rows: one past the end proves it
        (SPOT, oldest(1, 9_900), (WindowKind.TAIL, None, None, 1_000)),  # so near to now that the tail holds it
        (SPOT, oldest(1, 8_999), (WindowKind.FORWARD, 8_999, None, 1_000)),
    ],
)
def test_rows_from_a_start_are_read_forwards(
    path: str, query: RowQuery, expected: tuple[WindowKind, float | None, float | None, int]
) -> None:
    assert asked(step(make_series(path), query)) == expected


def test_a_gap_below_a_known_row_is_read_up_to_that_row() -> None:
    assert asked(step(current(USDM), oldest(2_000, 8_900))) == (WindowKind.RANGE, 8_900, 9_000, 499)


def test_only_the_gap_is_read() -> None:
    series = make_series(USDM)
    settle(series, 0, 99)
    assert asked(step(series, oldest(150, 50))) == (WindowKind.FORWARD, 100, None, 499)


# ------------------------------------------------------------------------------- stored and evicted rows


def stored(series: Series, first: int, last: int) -> None:
    series.stored.add(at(first), at(last + 1))


def test_rows_in_a_store_are_loaded_and_never_read_again() -> None:
    series = make_series()
    stored(series, 5_000, 9_998)
    show_tail(series, 9_999, 10_000, as_of=NOW)
    width = series.blocks.width_ms
    assert served(step(series, newest(2))) == [9_999, 10_000]
    found = step(series, newest(10))
    assert isinstance(found, LoadBlocks)
    assert list(found.indexes) == [at(9_998) // width]
    found = step(series, oldest(1_500, 5_000))
    assert isinstance(found, LoadBlocks)
    assert list(found.indexes) == list(range(at(5_000) // width, at(6_499) // width + 1))


def test_the_newest_stored_block_is_loaded_before_the_first_tail_is_read() -> None:
    series = make_series()
    stored(series, 5_000, 9_990)
    assert isinstance(step(series, newest(1)), LoadBlocks)  # the tail is to join it
    far = make_series()
    stored(far, 0, 5_000)
    assert asked(step(far, newest(1)))[0] is WindowKind.TAIL


def test_rows_that_memory_gave_up_just_below_the_tail_are_read_with_it() -> None:
    series = current()
    index = at(9_998) // series.blocks.width_ms
    evict_block(series, index)
    assert asked(step(series, newest(10)))[0] is WindowKind.TAIL
    assert asked(step(series, oldest(10, 9_990)))[0] is WindowKind.TAIL


def test_an_older_tail_does_where_the_floor_admits_it() -> None:
    series = current()
    assert series.tail is not None
    series.tail = replace(series.tail, as_of_ms=at(9_000))
    assert isinstance(step(series, newest(1)), ReadWindow)
    assert served(step(series, newest(1), TailFloor(at(9_000), allows_passed_close=True))) == [10_000]
