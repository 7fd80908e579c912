"""What time it is, where `/time`, a reply's `Date` and this machine's clock contradict each other."""

import pytest

from mdcache.events import ClockWitness
from mdcache.upstream.time_witnesses import WitnessedTime, stated_time, weigh

NOW = 1_790_771_371_000
HOUR, YEAR = 3_600_000, 31_536_000_000
DATE, TIME, WALL = ClockWitness.DATE, ClockWitness.TIME, ClockWitness.WALL


@pytest.mark.parametrize(
    ("body", "ms", "error_ms"),
    [
        (b'{"serverTime":1790771371858}', 1_790_771_371_858, 0),
        (b'{"serverTime":1790771371858123}', 1_790_771_371_858.123, 0),  # microseconds
        (b'{"serverTime":1790771371}', 1_790_771_371_500, 500),  # seconds: the middle of one
    ],
)
def test_a_time_in_whichever_unit(body: bytes, ms: float, error_ms: int) -> None:
    assert stated_time(body) == WitnessedTime(ms, error_ms)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"serverTime":null}',
        b'{"serverTime":"soon"}',
        b'{"serverTime":0}',
        b'{"serverTime":-1790771371858}',
        b'{"serverTime":17907713718}',
        b'{"serverTime":1790771371858.5}',
        b'{"serverTime":"\xff"}',
        b"[" * 3_000,
    ],
)
def test_no_time(body: bytes) -> None:
    assert stated_time(body) is None


@pytest.mark.parametrize(
    ("stated", "date", "wall", "ms", "outlier"),
    [
        (NOW, NOW, NOW, NOW, None),
        (NOW, NOW + 5_000, NOW, NOW, None),  # seconds: it is Binance's own
        (NOW, None, NOW, NOW, None),
        (NOW, NOW, NOW + HOUR, NOW, WALL),
        (NOW, None, NOW + HOUR, NOW, WALL),
        (NOW, NOW + HOUR, NOW, NOW, DATE),
        (NOW + HOUR, NOW, NOW, NOW + 500, TIME),
        (NOW - YEAR, NOW, NOW + HOUR, NOW + 500, TIME),  # nobody agrees: the wall is nearer to the date
        (NOW, NOW - YEAR, NOW + HOUR, NOW, DATE),
        (None, NOW, NOW, NOW + 500, TIME),
        (NOW, NOW + HOUR, None, NOW, None),  # nobody can tell
    ],
)
def test_who_is_out_of_line(
    stated: int | None, date: int | None, wall: int | None, ms: int, outlier: ClockWitness | None
) -> None:
    found = weigh(None if stated is None else WitnessedTime(stated, 0), date, wall)
    assert found is not None
    assert (found.ms, found.outlier) == (ms, outlier)


def test_without_a_time_and_a_date_nothing_is_known() -> None:
    assert weigh(None, None, NOW) is None
