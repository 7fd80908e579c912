"""What a reply proves (docs/design.md#windows): never more than up to its newest row, but for coinm's closed spans."""

import pytest

from mdcache.candles.window import Proof, Window, WindowKind, advances, prove, reach, unite
from mdcache.exchange.markets import KLINE_ENDPOINTS
from tests.candles.timeline import COINM, MINUTE_MS, SPOT, USDM, at, minute_of, rows

TAIL, BACKWARD, FORWARD, RANGE = WindowKind.TAIL, WindowKind.BACKWARD, WindowKind.FORWARD, WindowKind.RANGE
NOW = 100.5
NOTHING: list[int] = []


def window(kind: WindowKind, start: int | None, end: int | None, limit: int = 3) -> Window:
    return Window(kind, None if start is None else at(start), None if end is None else at(end), limit)


def proof(path: str, asked: Window, minutes: list[int]) -> Proof | None:
    page = [each for minute in minutes for each in rows(minute, minute)]
    return prove(asked, page, KLINE_ENDPOINTS[path], MINUTE_MS, at(NOW), at(NOW - 1))


def up_to(first: int, last: int) -> Proof:
    return Proof(at(first), at(last) + 1, open_ended=False)


def from_on(first: int, last: int) -> Proof:
    return Proof(at(first), at(last) + 1, open_ended=True)


@pytest.mark.parametrize(
    ("asked", "minutes", "expected"),
    [
        # the newest rows: from the first of them on there is nothing else
        (window(TAIL, None, None), [98, 99, 100], from_on(98, 100)),
        (window(TAIL, None, None), [99], from_on(99, 99)),
        # startTime alone: all from there to the last row, whether or not there was room for more
        (window(FORWARD, 5, None), [5, 6, 7], up_to(5, 7)),
        (window(FORWARD, 5, None), [8, 9, 10], up_to(5, 10)),
        (window(FORWARD, 5, None), [8, 9], up_to(5, 9)),
        (window(FORWARD, 5, None), NOTHING, None),
        # endTime alone: only between its rows; nothing is known before the first
        (window(BACKWARD, None, 9), [7, 8, 9], up_to(7, 9)),
        (window(BACKWARD, None, 9), [3, 4], up_to(3, 4)),
        (window(BACKWARD, None, 9), NOTHING, None),
        # both ends: from its start to its last row, whether full or not
        (window(RANGE, 5, 9), [5, 6, 7], up_to(5, 7)),
        (window(RANGE, 5, 9), [6, 7], up_to(5, 7)),
        (window(RANGE, 5, 9), NOTHING, None),
    ],
)
def test_what_a_reply_of_spot_proves(asked: Window, minutes: list[int], expected: Proof | None) -> None:
    assert proof(SPOT, asked, minutes) == expected


@pytest.mark.parametrize(
    ("asked", "minutes", "expected"),
    [
        # a full window keeps the newest rows: what lies below them is not proven
        (window(RANGE, 5, 20), [18, 19, 20], up_to(18, 20)),
        # nor below those of a short one, which may have been capped; its end is proven
        (window(RANGE, 5, 20), [6, 7], up_to(6, 20)),
        (window(RANGE, 5, 20), [5, 7], up_to(5, 20)),
        # an empty one is whole …
        (window(RANGE, 5, 20), NOTHING, up_to(5, 20)),
        # … unless that end is so near that a lagging replica may lack its rows
        (window(RANGE, 95, 100), [96, 97], up_to(96, 97)),
        (window(RANGE, 95, 100), NOTHING, None),
    ],
)
def test_coinm_answers_a_window_by_its_newest_rows(asked: Window, minutes: list[int], expected: Proof | None) -> None:
    assert proof(COINM, asked, minutes) == expected


def test_an_empty_newest_page_reaches_as_far_as_the_market_looks_back() -> None:
    nothing = window(TAIL, None, None)
    assert proof(SPOT, nothing, []) == Proof(0, 0, open_ended=True)
    since = at(NOW) - 200 * 86_400_000  # coinm looks back 200 days
    assert proof(COINM, nothing, []) == Proof(since, since, open_ended=True)


@pytest.mark.parametrize(
    ("path", "limit", "weight"), [(SPOT, 1, 2), (SPOT, 1000, 2), (COINM, 99, 1), (COINM, 1500, 10)]
)
def test_a_window_weighs_what_its_limit_costs(path: str, limit: int, weight: int) -> None:
    assert window(TAIL, None, None, limit).weight(KLINE_ENDPOINTS[path]) == weight


@pytest.mark.parametrize(
    ("path", "asked", "span"),
    [
        # with an extra bucket, as far as this many rows reach without holes
        (SPOT, window(FORWARD, 50, None, 10), (49, 61)),
        (SPOT, window(BACKWARD, None, 50, 10), (39, 50)),
        (SPOT, window(RANGE, 50, 90, 10), (49, 61)),
        (SPOT, window(RANGE, 50, 53, 10), (49, 53)),
        (COINM, window(RANGE, 50, 90, 10), (79, 90)),
    ],
)
def test_the_span_that_a_reply_can_be_expected_to_touch(path: str, asked: Window, span: tuple[int, int]) -> None:
    lo, hi = reach(asked, KLINE_ENDPOINTS[path], MINUTE_MS, at(NOW))
    assert (minute_of(lo), int(minute_of(hi))) == span


@pytest.mark.parametrize(
    ("under_way", "wanted", "serves"),
    [
        # a window that goes up is served where it starts, one that goes down where it ends
        (window(FORWARD, 0, None, 10), window(FORWARD, 5, None, 10), True),
        (window(FORWARD, 0, None, 10), window(FORWARD, 10, None, 10), False),
        (window(FORWARD, 5, None, 10), window(FORWARD, 0, None, 10), False),
        (window(RANGE, 0, 20, 10), window(FORWARD, 5, None, 10), True),
        (window(BACKWARD, None, 20, 10), window(BACKWARD, None, 15, 10), True),
        (window(BACKWARD, None, 20, 10), window(BACKWARD, None, 10, 10), False),
        (window(BACKWARD, None, 20, 10), window(FORWARD, 15, None, 10), True),
        (window(RANGE, 0, 5, 10), window(FORWARD, 5, None, 10), True),
        (window(RANGE, 0, 5, 10), window(FORWARD, 6, None, 10), False),
        (window(BACKWARD, None, 20, 10), window(BACKWARD, None, 20, 10), True),
        (window(TAIL, None, None, 10), window(FORWARD, 95, None, 10), False),  # it ends soon, and then it is known
    ],
)
def test_a_read_under_way_that_holds_where_another_goes_on(under_way: Window, wanted: Window, *, serves: bool) -> None:
    assert advances(under_way, wanted, KLINE_ENDPOINTS[SPOT], MINUTE_MS) is serves


@pytest.mark.parametrize(
    ("one", "other", "united"),
    [
        (window(TAIL, None, None, 100), window(TAIL, None, None, 500), window(TAIL, None, None, 500)),
        (window(FORWARD, 10, None, 10), window(FORWARD, 15, None, 10), window(FORWARD, 10, None, 15)),
        (window(BACKWARD, None, 50, 10), window(BACKWARD, None, 60, 10), window(BACKWARD, None, 60, 20)),
        (window(FORWARD, 0, None, 1_500), window(FORWARD, 1_200, None, 500), window(FORWARD, 0, None, 1_500)),
        (window(FORWARD, 0, None, 99), window(FORWARD, 99, None, 99), window(FORWARD, 0, None, 198)),
        (window(FORWARD, 0, None, 499), window(FORWARD, 498, None, 499), None),  # 5 rather than 2 and 2
        (window(BACKWARD, None, 998, 499), window(BACKWARD, None, 499, 499), None),
        (window(FORWARD, 0, None, 1_000), window(FORWARD, 1_000, None, 500), window(FORWARD, 0, None, 1_500)),
        (window(FORWARD, 0, None, 1_000), window(FORWARD, 800, None, 1_000), None),  # 10 and 2 for the rest
        (window(RANGE, 0, 498, 499), window(BACKWARD, None, 498, 99), window(RANGE, 0, 498, 499)),  # contains it
        (window(RANGE, 0, 498, 499), window(FORWARD, 450, None, 99), None),
        (window(FORWARD, 0, None, 10), window(FORWARD, 9_000, None, 10), None),  # too far apart for one page
        (window(FORWARD, 0, None, 10), window(BACKWARD, None, 10, 10), None),
        (window(RANGE, 0, 9, 10), window(RANGE, 5, 14, 10), None),
    ],
)
def test_two_windows_that_one_call_can_return(one: Window, other: Window, united: Window | None) -> None:
    assert unite(one, other, KLINE_ENDPOINTS[USDM], MINUTE_MS) == united
    assert unite(other, one, KLINE_ENDPOINTS[USDM], MINUTE_MS) == united
