"""Bodies: real oddities pass, broken ones don't, each by its reason."""

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.errors import InvalidBody
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.rows import ExpectedRows, page_steps, read_page
from tests.exchange.plain_rows import fault, printed
from tests.support.examples import examples

T0 = 1_518_048_000_000  # 2018-02-08T00:00Z
HOUR = 3_600_000


def line(open_ms: int, close_ms: int | None = None, **at: Any) -> list[Any]:
    close = open_ms + HOUR - 1 if close_ms is None else close_ms
    row: list[Any] = [open_ms, "2.0", "3.0", "1.0", "2.5", "10.00000000", close, "20.0", 5, "1.0", "2.0", "0"]
    for place, value in at.items():
        row[int(place[1:])] = value
    return row


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


EXPECTED = ExpectedRows(INTERVALS["1h"], lo_ms=T0, hi_ms=T0 + 100 * HOUR, limit=3)


def reason(body: bytes) -> str:
    with pytest.raises(InvalidBody) as caught:
        read_page(body, EXPECTED)
    return caught.value.reason


def test_rows_keep_their_bytes() -> None:
    lines = [line(T0), line(T0 + HOUR)]
    page = read_page(compact(lines), EXPECTED)
    assert [row.raw for row in page.rows] == [compact(one) for one in lines]
    assert [(row.open_ms, row.close_ms, row.trades) for row in page.rows][1] == (T0 + HOUR, T0 + 2 * HOUR - 1, 5)


def test_spaces_are_taken_out_but_strings_stay() -> None:
    spaced = json.dumps([line(T0, _11="0 ")]).encode()
    assert [row.raw for row in read_page(spaced, EXPECTED).rows] == [compact(line(T0, _11="0 "))]


def test_real_oddities_pass() -> None:
    cut = line(T0, 1_518_049_694_788)
    instant = line(T0 + 16 * HOUR, T0 + 16 * HOUR, _8=0, _5="0.00000000")
    off_grid = line(1_518_168_494_789, 1_518_172_094_788)
    assert len(read_page(compact([cut, instant, off_grid]), EXPECTED).rows) == 3
    assert read_page(b"[]", EXPECTED).rows == []
    negative = line(T0, _1="-0.00042931", _2="-0.00042", _3="-0.00043", _4="-0.000425")
    assert len(read_page(compact([negative, line(T0 + HOUR)]), replace(EXPECTED, signed=True)).rows) == 2
    futures = [line(T0, _5="10", _7="0.5"), line(T0 + HOUR, _5="0", _7="0", _9="0", _10="0.00")]
    assert len(read_page(compact(futures), EXPECTED).rows) == 2
    assert len(read_page(compact([line(T0, _11="8.75"), line(T0 + HOUR, _11="odd")]), EXPECTED).rows) == 2


@pytest.mark.parametrize(("count", "turns"), [(300, 0), (1_000, 2)])
def test_a_long_page_is_read_in_steps(count: int, turns: int) -> None:
    lines = [line(T0 + n * HOUR) for n in range(count)]
    steps = page_steps(compact(lines), ExpectedRows(INTERVALS["1h"], T0, T0 + count * HOUR, count))
    for _ in range(turns):
        next(steps)
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert [row.raw for row in end.value.value.rows] == [compact(one) for one in lines]


def test_more_columns_are_taken_with_an_alarm() -> None:
    page = read_page(compact([[*line(T0), "new", 7]]), EXPECTED)
    assert (page.oddity, page.rows[0].raw) == ("more-columns", compact([*line(T0), "new", 7]))


@pytest.mark.parametrize("extra", [b"1.10", b"1e2", b'{"a" : "x y"}', b'"\\u0041],["', b"null"])
def test_more_columns_stay_as_printed(extra: bytes) -> None:
    row = compact(line(T0))[:-1] + b"," + extra + b"]"
    assert read_page(b"[" + row + b"]", EXPECTED).rows[0].raw == row
    assert read_page(b"[ " + row.replace(b",1518", b" , 1518") + b" ]", EXPECTED).rows[0].raw == row


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not-json"),
        (b"<html><body>hello</body></html>", "not-json"),
        (compact([line(T0)])[:-7], "not-json"),
        (b"[[NaN]]", "not-json"),
        (b"\xff\xfe\x00", "not-json"),
        (compact([line(T0, _11="x")]).replace(b"x", b"\xff"), "not-json"),
        (compact([[*line(T0), "x"]]).replace(b"x", b"\xff"), "not-json"),
        (b"[" * 20_000 + b"]" * 20_000, "not-json"),
        (b"[[" + b"[" * 20_000, "not-json"),
        (b'{"a":' * 20_000, "not-json"),
        (b'{"code":0,"msg":"x"}', "not-a-list"),
        (b'"text"', "not-a-list"),
        (b"[1,2]", "not-rows"),
        (compact([line(T0)[:11]]), "columns"),
        (compact([line(T0, _1=2.0)]), "types"),
        (compact([line(T0, _8="5")]), "types"),
        (compact([line(T0, _0=str(T0))]), "types"),
        (compact([line(T0, _8=None)]), "types"),
        (compact([line(T0, _1="NaN")]), "prices"),
        (compact([line(T0, _2="1e5")]), "prices"),
        (compact([line(T0, _4="")]), "prices"),
        (compact([line(T0, _3="1.2.3")]), "prices"),
        (compact([line(T0, _2="0.5")]), "prices"),
        (compact([line(T0, _3="-1.0")]), "prices"),
        *((compact([line(T0, _5=text)]), "volumes") for text in ("1-2.5", "-1", "", ".5", "5.", "1.2.3", "1e5")),
        (compact([line(T0), line(T0 + HOUR, _7="1-2")]), "volumes"),
        (compact([line(T0), line(T0 + HOUR, _9="x")]), "volumes"),
        (json.dumps([line(T0, _5="1-2.5")]).encode(), "volumes"),
        (compact([[*line(T0, _10="1-2.5"), "new"]]), "volumes"),
        (compact([line(T0 + HOUR), line(T0)]), "order"),
        (compact([line(T0), line(T0)]), "order"),
        (compact([line(T0, T0 - 1)]), "close-time"),
        (compact([line(T0, _8=-1)]), "close-time"),
        (compact([line(T0 - HOUR)]), "window"),
        (compact([line(T0 + 101 * HOUR)]), "window"),
        (compact([line(T0 + n * HOUR) for n in range(4)]), "too-many-rows"),
        (compact([line(T0, T0 + 2 * HOUR - 1)]), "interval"),
        (compact([line(T0 + n * 60_000, T0 + n * 60_000 + 59_999) for n in range(3)]), "interval"),
    ],
)
def test_broken_bodies(body: bytes, why: str) -> None:
    assert reason(body) == why


def test_months_and_microseconds() -> None:
    march = 1_519_862_400_000
    april = march + 31 * 86_400_000
    month = ExpectedRows(INTERVALS["1M"], lo_ms=0, hi_ms=2 * april, limit=3)
    assert len(read_page(compact([line(march, april - 1)]), month).rows) == 1
    with pytest.raises(InvalidBody):
        read_page(compact([line(march, april)]), month)
    micros = ExpectedRows(INTERVALS["1h"], lo_ms=T0, hi_ms=T0, limit=1, micros=True)
    row = read_page(compact([line(T0 * 1000, (T0 + HOUR) * 1000 - 1)]), micros).rows[0]
    assert (row.open_ms, row.close_ms) == (T0, T0 + HOUR - 1)


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text() | st.floats(), st.lists).map(compact)
)
def test_any_bytes_are_rows_or_broken(body: bytes) -> None:
    with contextlib.suppress(InvalidBody):  # any other exception fails
        assert len(read_page(body, EXPECTED).rows) <= 3


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[list[Any]], ExpectedRows]:
    """Rows that are right but for at most a few values, and what was asked."""
    interval = INTERVALS[draw(st.sampled_from(["1m", "1h", "1d", "1M"]))]
    micros = draw(st.booleans())
    unit = 1000 if micros else 1
    lines, open_ms = [], draw(st.sampled_from([0, T0]))
    for _ in range(draw(st.integers(0, 6))):
        close_ms = interval.next_open(open_ms, 0) - 1
        lines.append(line(open_ms * unit, (close_ms + 1) * unit - 1))
        open_ms = close_ms + 1 + interval.length_ms * draw(st.sampled_from([0, 0, 0, 3]))
    values: st.SearchStrategy[Any] = st.sampled_from(
        ["1", "-0.5", "0.0", "1.", ".5", "", "-", "1e5", "NaN", "1_0", " 1", "+1", "٣", "1.2.3", "--1", "9" * 400]
    ) | st.integers(-2, 2)
    steps = st.sampled_from([-1, 1, -HOUR, HOUR, -59_000, -interval.length_ms])
    for _ in range(draw(st.sampled_from([0, 1, 1, 2])) if lines else 0):
        row, step = draw(st.sampled_from(lines)), draw(steps) * unit
        match draw(st.sampled_from(["number", "time", "whole row", "trades", "any"])):
            case "number":
                row[draw(st.sampled_from([1, 2, 3, 4, 5, 7, 9, 10]))] = draw(values)
            case "time" | "whole row" as kind:
                for place in (0, 6) if kind == "whole row" else (draw(st.sampled_from([0, 6])),):
                    row[place] = row[place] + step if type(row[place]) is int else step
            case "trades":
                row[8] = draw(st.integers(-1, 1))
            case _:
                row[draw(st.integers(0, 11))] = draw(values)
    if lines and draw(st.integers(0, 9)) == 0:
        del lines[0][draw(st.integers(0, 11))]
    lo_ms = draw(st.sampled_from([0, 0, -2 * interval.length_ms, T0]))
    hi_ms, limit = draw(st.sampled_from([2 * T0, 2 * T0, T0])), draw(st.sampled_from([99, 99, 5]))
    return lines, ExpectedRows(interval, lo_ms, hi_ms, limit, 0, micros, signed=draw(st.booleans()))


@examples(300)
@given(bodies())
def test_whole_columns_show_what_single_rows_do(made: tuple[list[list[Any]], ExpectedRows]) -> None:
    lines, expected = made
    found = ""
    try:
        rows = read_page(printed(lines), expected).rows
    except InvalidBody as error:
        found = error.reason
    else:
        scale = 1000 if expected.micros else 1
        assert rows == [(row[0] // scale, row[6] // scale, row[8], compact(row)) for row in lines]
    assert found == fault(lines, expected)
