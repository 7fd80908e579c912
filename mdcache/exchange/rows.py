"""Rows as Binance printed them, and the checks a body must pass before any row is used (docs/design.md#body-checks).

The checks accept everything that occurs in real rows: early close times (even equal to the open time), no trades and
open times off the grid (docs/binance.md#irregularities).
"""

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import ge, lt, sub
from typing import Any, NamedTuple

import msgspec

from mdcache.errors import BodyFault, InvalidBody
from mdcache.exchange.intervals import INTERVALS, Interval
from mdcache.exchange.undecodable import UNDECODABLE

_ROWS_AT_ONCE = 300  # of a page with more, each step takes at most half a millisecond
COLUMNS = 12  # rest-api.md, docs/binance.md#kline-row: exactly 12 in every market


class Row(NamedTuple):
    """One kline. `raw`: exactly its printed text. Times are in milliseconds."""

    open_ms: int
    close_ms: int
    trades: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class ExpectedRows:
    """The bounds that a reply's rows must obey: open times in `lo_ms`..`hi_ms`, at most `limit` rows.

    `zone_ms` moves the calendar's months; `micros`: times are printed in microseconds; `signed`: prices may be
    negative.
    """

    interval: Interval
    lo_ms: int
    hi_ms: int
    limit: int
    zone_ms: int = 0
    micros: bool = False
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A body that passed the checks: rows by rising open time. `oddity`: empty, or what an operator should look at."""

    rows: list[Row]
    oddity: str = ""


Columns = tuple[int, str, str, str, str, str, int, str, int, str, str, str]
_Numbers = tuple[int, float, float, float, float, float, int, float, int, float, float, str]
_ByColumn = tuple[tuple[Any, ...], ...]
_numbers_decoder = msgspec.json.Decoder(list[_Numbers], strict=False)  # which reads numbers in strings, and bare ones
_strict_decoder = msgspec.json.Decoder(list[Columns])
_loose_decoder = msgspec.json.Decoder(list[list[Any]])
_row_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_text_decoder = msgspec.json.Decoder(list[list[msgspec.Raw]])
_any_decoder = msgspec.json.Decoder(Any)
_OPEN_TIME, _CLOSE_TIME, _TRADES = 0, 6, 8
_PRICES = _, _HIGH, _LOW, _ = 1, 2, 3, 4
_VOLUMES = 5, 7, 9, 10
_DIGITS = b"0123456789"
_SHAPE = re.compile(rb',(?:"\.?",){5},"\.?",,(?:"\.?",){2}"\.?"')  # of a row without its digits
_new_row = partial(tuple.__new__, Row)  # from its fields in order: two thirds of what `Row(…)` takes
_LENGTHS = sorted(interval.length_ms for interval in INTERVALS.values() if not interval.months)


def read_page(body: bytes, expected: ExpectedRows) -> Page:
    """Return the rows of a kline body.

    Args:
        body: the reply's bytes, inflated.
        expected: what was asked.

    Raises:
        InvalidBody: with a reason from a closed set.
    """
    steps = page_steps(body, expected)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            page: Page = end.value
            return page


def page_steps(body: bytes, expected: ExpectedRows) -> Generator[None, None, Page]:
    """Do what `read_page` does; yield where other work may be done meanwhile, so that no step takes long."""
    oddity, plain = "", _decode_plain(body, signed=expected.signed)
    lines: Sequence[tuple[Any, ...]] = plain or []
    if plain is None:
        lines, oddity = _decode(body)
    if not lines:
        return Page([], oddity)
    long = len(lines) > _ROWS_AT_ONCE
    if long:
        yield
    columns: _ByColumn = tuple(zip(*lines, strict=True))
    numbers = columns if plain is not None else _numbers(columns, signed=expected.signed)
    _check_numbers(numbers, signed=expected.signed)
    open_ms, close_ms, trades = columns[_OPEN_TIME], columns[_CLOSE_TIME], columns[_TRADES]
    if expected.micros:
        open_ms, close_ms = _in_ms(open_ms), _in_ms(close_ms)
    texts = _row_texts(body, oddity, compact=plain is not None)
    del plain, lines, columns, numbers
    if long:
        yield
    rows = list(map(_new_row, zip(open_ms, close_ms, trades, texts, strict=True)))
    if not _are_surely_right(open_ms, close_ms, trades, expected):
        _check_times(rows, expected)
    if len(rows) > expected.limit:
        raise InvalidBody(BodyFault.TOO_MANY_ROWS, f"{len(rows)} for a limit of {expected.limit}")
    return Page(rows, oddity)


def _decode_plain(body: bytes, *, signed: bool) -> list[_Numbers] | None:
    """Return the rows of a body that is printed as Binance does, its numbers as such; `None` if it may be any other.

    What is left of it without digits shows that it has nothing but them, points in strings, and commas in their places.
    """
    bones = body.translate(None, _DIGITS + b"-" if signed else _DIGITS)
    if bones[:2] != b"[[" or bones[-2:] != b"]]" or not all(map(_SHAPE.fullmatch, {*bones[2:-2].split(b"],[")})):
        return None
    try:
        return _numbers_decoder.decode(body)
    except UNDECODABLE:
        return None


def _decode(body: bytes) -> tuple[list[Columns], str]:
    try:
        return _strict_decoder.decode(body), ""
    except msgspec.ValidationError as error:
        return _decode_loosely(body, str(error))
    except UNDECODABLE as error:
        raise InvalidBody(BodyFault.NOT_JSON, str(error)) from error


def _decode_loosely(body: bytes, complaint: str) -> tuple[list[Columns], str]:
    """Accept rows with more columns than known, and report them; raise `InvalidBody` for anything else."""
    try:
        lines = _loose_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidBody(_reject_reason(body), complaint) from error
    except UNDECODABLE as error:
        raise InvalidBody(BodyFault.NOT_JSON, str(error)) from error
    if any(len(line) < COLUMNS for line in lines):
        raise InvalidBody(BodyFault.COLUMNS, complaint)
    try:
        return msgspec.convert([line[:COLUMNS] for line in lines], list[Columns]), "more-columns"
    except msgspec.ValidationError as error:
        raise InvalidBody(BodyFault.TYPES, str(error)) from error


def _reject_reason(body: bytes) -> BodyFault:
    try:
        return BodyFault.NOT_ROWS if isinstance(_any_decoder.decode(body), list) else BodyFault.NOT_A_LIST
    except UNDECODABLE:
        return BodyFault.NOT_JSON


def _row_texts(body: bytes, oddity: str, *, compact: bool) -> list[bytes]:
    """Return each row's bytes; if they can't be sliced out, its columns as printed, without spaces between them."""
    compact |= body[:2] == b"[[" and body[-2:] == b"]]" and not any(c in body for c in (b" ", b"\n", b"\t", b"\r"))
    if compact and not oddity:
        return list(map(bytes, _row_decoder.decode(body)))
    return [b"[%b]" % b",".join(line) for line in _text_decoder.decode(body)]


def _numbers(columns: _ByColumn, *, signed: bool) -> _ByColumn:
    """Return the columns, decimals as numbers; raise `InvalidBody` unless they are plain ones."""
    found = list(columns)
    kinds = (_PRICES, BodyFault.PRICES, b".-" if signed else b"."), (_VOLUMES, BodyFault.VOLUMES, b".")
    for place, reason, others in ((place, reason, others) for places, reason, others in kinds for place in places):
        joined = "".join(columns[place])
        if not (joined.isascii() and joined.encode().translate(None, others).isdigit()):
            raise InvalidBody(reason, "not a decimal")
        try:
            found[place] = tuple(msgspec.convert(columns[place], list[float], strict=False))
        except msgspec.ValidationError as error:
            raise InvalidBody(reason, str(error)) from error
    return tuple(found)


def _check_numbers(columns: _ByColumn, *, signed: bool) -> None:
    """Raise `InvalidBody` if a volume is negative, or a high is below its low."""
    if signed and min(min(columns[place]) for place in _VOLUMES) < 0:
        raise InvalidBody(BodyFault.VOLUMES, "below zero")
    if not all(map(ge, columns[_HIGH], columns[_LOW])):
        raise InvalidBody(BodyFault.PRICES, "high below low")


def _in_ms(times: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([each // 1000 for each in times])


def _are_surely_right(
    open_ms: tuple[int, ...], close_ms: tuple[int, ...], trades: tuple[int, ...], expected: ExpectedRows
) -> bool:
    """Return whether the rows pass `_check_times`, as far as whole columns show: a tenth of its time.

    Each must last exactly one interval. Other rows may be right, too.
    """
    return (
        expected.lo_ms <= open_ms[0]
        and open_ms[0] >= 0
        and open_ms[-1] <= expected.hi_ms
        and min(trades) >= 0
        and all(map(lt, open_ms, islice(open_ms, 1, None)))
        and {*map(sub, close_ms, open_ms)} == {expected.interval.length_ms - 1}
    )


def _check_times(rows: list[Row], expected: ExpectedRows) -> None:
    previous = -1
    length = expected.interval.length_ms
    too_short = 0
    for row in rows:
        if row.open_ms <= previous:
            raise InvalidBody(BodyFault.ORDER, f"{row.open_ms} after {previous}")
        if row.close_ms < row.open_ms or row.trades < 0:
            raise InvalidBody(BodyFault.CLOSE_TIME, f"{row.close_ms} for {row.open_ms}")
        span = row.close_ms - row.open_ms + 1
        if span > length and span > expected.interval.next_open(row.open_ms, expected.zone_ms) - row.open_ms:
            raise InvalidBody(BodyFault.INTERVAL, f"a row of {span} ms for {expected.interval.name}")
        if span < length and span in _LENGTHS:
            too_short += 1
        previous = row.open_ms
    if too_short * 2 > len(rows):
        raise InvalidBody(BodyFault.INTERVAL, f"{too_short} of {len(rows)} rows are of a shorter one")
    if rows and (rows[0].open_ms < expected.lo_ms or rows[-1].open_ms > expected.hi_ms):
        raise InvalidBody(BodyFault.WINDOW, f"{rows[0].open_ms}..{rows[-1].open_ms}")
