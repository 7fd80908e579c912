"""Which replies are plausible (docs/design.md#tail-replacement): one that shows less than we have is read again."""

import pytest

from mdcache.candles.plausibility import MAX_VANISHED_ROWS, Suspicion, cut_at_long_gap, find_suspicion
from mdcache.candles.series import Series
from mdcache.candles.window import Window, WindowKind, tail_window
from mdcache.errors import BodyFault, InvalidBody
from mdcache.exchange.rows import Row
from tests.candles.timeline import COINM, SPOT, USDM, at, make_series, read_at, row, rows, settle, show_tail

TAIL = tail_window(100)
DAY = 1_440


def known() -> Series:
    """Minutes 0 to 8 are settled; 9 and 10 are the tail, read half way through 10."""
    series = make_series()
    settle(series, 0, 8)
    show_tail(series, 9, 10, as_of=10.5)
    series.merged_as_of_ms = at(10.5)
    return series


def suspicion(page: list[Row], window: Window = TAIL, minute: float = 10.6) -> Suspicion | None:
    return find_suspicion(known(), page, window, read_at(minute))


@pytest.mark.parametrize(
    "page",
    [
        rows(0, 10),
        rows(0, 11),
        rows(0, 10, trades={10: 61}),  # the open candle has grown
        rows(0, 10, trades={5: 61}),  # a revision: with more trades it needs no second look
        rows(-50, 10),
    ],
)
def test_a_reply_that_shows_no_less_is_accepted(page: list[Row]) -> None:
    assert suspicion(page) is None


@pytest.mark.parametrize(
    ("page", "lagging"),
    [
        (rows(0, 9), True),  # without our newest row: as the exchange stood before our own read
        (rows(0, 10, trades={10: 59}), True),
        (rows(0, 10, trades={5: 59}), False),  # fewer trades in a settled row: it may be a revision
        (rows(0, 10, without=[9]), False),  # a row of the tail that has closed
        (rows(0, 10, without=[5]), False),
        (rows(5, 10), False),  # short, although rows before it are known
    ],
)
def test_what_shows_less_is_suspicious(page: list[Row], *, lagging: bool) -> None:
    found = suspicion(page)
    assert found is not None
    assert found.lagging is lagging


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ([], BodyFault.EMPTY),
        (rows(0, 7), BodyFault.LAGGING),  # ends before rows that are settled
        (rows(0, 10, without=range(1, 9)), None),
        ([row(-1), *rows(9, 10)], None),
    ],
)
def test_what_no_exchange_would_send_is_broken(page: list[Row], reason: BodyFault | None) -> None:
    if reason is None:
        assert suspicion(page) is not None
        return
    with pytest.raises(InvalidBody) as caught:
        suspicion(page)
    assert caught.value.reason == reason


def test_few_rows_may_vanish_at_once_and_no_more() -> None:
    series = make_series()
    settle(series, 0, 40)
    gone = list(range(5, 5 + MAX_VANISHED_ROWS))
    found = find_suspicion(series, rows(0, 40, without=gone), TAIL, read_at(50))
    assert found == Suspicion(f"lacks {at(5)}", lagging=False)
    with pytest.raises(InvalidBody, match="rows that are known"):
        find_suspicion(series, rows(0, 40, without=[*gone, 30]), TAIL, read_at(50))


@pytest.mark.parametrize("path", [SPOT, USDM, COINM])
@pytest.mark.parametrize(
    ("page", "minute", "looks_from"),
    [
        (rows(0, 9), 12.9, None),  # two buckets without a row
        (rows(0, 9), 14.1, 9),
        (rows(0, 9), 10 + 300 * DAY, 9),
        ([], 500, -1),
    ],
)
def test_an_end_long_ago_needs_another_witness(
    path: str, page: list[Row], minute: float, looks_from: float | None
) -> None:
    found = find_suspicion(make_series(path), page, TAIL, read_at(minute))
    if looks_from is None:
        assert found is None
        return
    assert found is not None
    assert found.look is not None
    start = at(looks_from) + 1 if page else 0
    if path == COINM:
        start = max(start, at(minute) - 200 * DAY * 60_000)
    assert (found.look.start_ms, found.look.end_ms) == (start, at(minute))


@pytest.mark.parametrize("settled", [True, False])
def test_an_end_that_is_known_needs_no_witness(*, settled: bool) -> None:
    series = make_series()
    if settled:
        settle(series, 0, 9)
        show_tail(series, 10, 9, as_of=100)
    else:
        show_tail(series, 0, 9, as_of=100)
    assert find_suspicion(series, rows(0, 9), TAIL, read_at(101)) is None
    later = find_suspicion(series, rows(0, 20), TAIL, read_at(101))
    assert later is not None, "another end than the one that is known"


def test_other_windows_end_where_they_end() -> None:
    for window in (Window(WindowKind.BACKWARD, None, at(9), 100), Window(WindowKind.RANGE, at(0), at(9), 100)):
        assert find_suspicion(make_series(), rows(0, 9), window, read_at(500)) is None


def test_a_reply_older_than_what_was_merged_may_show_less() -> None:
    assert suspicion(rows(0, 9), minute=10.4) is None


@pytest.mark.parametrize(
    ("window", "page", "suspicious"),
    [
        # only the rows that the window must hold are missed
        (Window(WindowKind.RANGE, at(2), at(4), 3), rows(2, 4), False),
        (Window(WindowKind.RANGE, at(2), at(4), 3), rows(2, 4, without=[3]), True),
        (Window(WindowKind.FORWARD, at(0), None, 3), rows(0, 2), False),
        (Window(WindowKind.FORWARD, at(0), None, 3), rows(0, 3, without=[1]), True),
        (Window(WindowKind.BACKWARD, None, at(8), 3), rows(6, 8), False),
        (Window(WindowKind.BACKWARD, None, at(8), 3), rows(5, 8, without=[6]), True),
    ],
)
def test_a_window_is_held_against_its_own_span(window: Window, page: list[Row], *, suspicious: bool) -> None:
    assert (suspicion(page, window) is not None) is suspicious


def test_a_full_window_of_coinm_may_leave_out_its_first_rows() -> None:
    series = make_series(COINM)
    settle(series, 0, 8)
    window = Window(WindowKind.RANGE, at(0), at(8), 3)
    assert find_suspicion(series, rows(6, 8), window, read_at(10)) is None
    assert find_suspicion(series, rows(7, 8), window, read_at(10)) is not None


@pytest.mark.parametrize(
    ("silence_days", "kept"),
    [(3, [0, 1, 2]), (3.1, [2])],  # the longest outage that is known took a day and a half
)
def test_a_page_of_the_newest_rows_is_cut_at_a_long_silence(silence_days: float, kept: list[int]) -> None:
    page = [row(0), row(1), row(1 + silence_days * DAY)]
    page.append(row(2 + silence_days * DAY))
    found = cut_at_long_gap(make_series(), page, TAIL)
    assert len(found) == {3: 4, 3.1: 2}[silence_days]
    assert found[-1] is page[-1]


def test_a_long_gap_is_accepted_if_the_window_asked_for_it() -> None:
    page = [row(0), row(4 * DAY)]
    for window in (Window(WindowKind.FORWARD, at(0), None, 100), Window(WindowKind.BACKWARD, None, at(4 * DAY), 100)):
        assert cut_at_long_gap(make_series(), page, window) == page


def test_a_silence_in_which_rows_are_known_is_broken() -> None:
    series = make_series()
    settle(series, DAY, DAY)
    with pytest.raises(InvalidBody, match="rows are known"):
        cut_at_long_gap(series, [row(0), row(4 * DAY), row(4 * DAY + 1)], TAIL)
