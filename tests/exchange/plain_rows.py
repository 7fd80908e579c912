"""The checks of a kline body one row at a time, as plainly as they can be written: what `read_page` must agree with."""

import json
import re
from decimal import Decimal
from typing import Any

from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.rows import ExpectedRows

TYPES = (int, str, str, str, str, str, int, str, int, str, str, str)
LENGTHS = {interval.length_ms for interval in INTERVALS.values() if not interval.months}


def fault(lines: list[list[Any]], expected: ExpectedRows) -> str:
    """Return why these rows are refused; empty if they are not."""
    if any(len(line) < 12 for line in lines):
        return "columns"
    if any(type(value) is not kind for line in lines for value, kind in zip(line, TYPES, strict=False)):
        return "types"
    prices = [line[1:5] for line in lines]
    sign = "-?" if expected.signed else ""
    if not all(re.fullmatch(sign + r"[0-9]+(\.[0-9]+)?", text) for four in prices for text in four):
        return "prices"
    if not all(re.fullmatch(r"[0-9]+(\.[0-9]+)?", line[place]) for line in lines for place in (5, 7, 9, 10)):
        return "volumes"
    if any(Decimal(high) < Decimal(low) for _, high, low, _ in prices):
        return "prices"
    return _fault_of_times(lines, expected) or ("too-many-rows" if len(lines) > expected.limit else "")


def _fault_of_times(lines: list[list[Any]], expected: ExpectedRows) -> str:
    scale = 1000 if expected.micros else 1
    before, too_short = -1, 0
    for open_ms, close_ms, trades in [(line[0] // scale, line[6] // scale, line[8]) for line in lines]:
        span = close_ms - open_ms + 1
        if open_ms <= before:
            return "order"
        if span < 1 or trades < 0:
            return "close-time"
        if span > max(expected.interval.length_ms, expected.interval.next_open(open_ms, expected.zone_ms) - open_ms):
            return "interval"
        too_short += span < expected.interval.length_ms and span in LENGTHS
        before = open_ms
    if too_short * 2 > len(lines):
        return "interval"
    inside = all(expected.lo_ms <= line[0] // scale <= expected.hi_ms for line in lines)
    return "" if inside else "window"


def printed(lines: list[list[Any]]) -> bytes:
    """Return them as Binance prints them."""
    return json.dumps(lines, separators=(",", ":")).encode()
