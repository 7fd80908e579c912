"""Which final frames were sent, and what makes a lost one whole (docs/design.md#lost-final-frames). Pure."""

import re

from mdcache.errors import InvalidBody
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import read_frame
from mdcache.exchange.topics import kline_mark

Unfinished = tuple[Market, str, int]  # a topic, and the open time of its candle

_MOST_OPEN = 2  # on futures the final frame comes after frames of the next candle
_EVENT_TIME = re.compile(rb'("E":)[0-9]+')
_NOT_FINAL = re.compile(rb'("x":)false')


class TopicCandles:
    """The candles of a topic that are not final yet, with their last frames."""

    def __init__(self) -> None:
        self._final_ms = -1  # the newest candle whose final frame was sent
        self._last: dict[int, bytes] = {}

    def note(self, open_ms: int, data: bytes) -> int | None:
        """Record a frame that is not final; return the open time of the candle before if this one has just begun."""
        if open_ms <= self._final_ms:
            return None
        before = max(self._last, default=None) if open_ms not in self._last else None
        self._last[open_ms] = data
        if len(self._last) > _MOST_OPEN:
            del self._last[min(self._last)]
        return before if before is not None and before < open_ms else None

    def finish(self, open_ms: int) -> bool:
        """Record that a candle's final frame is sent; return False if that would be again, or after a newer one's."""
        if open_ms <= self._final_ms:
            return False
        self._final_ms = open_ms
        self._last = {other: data for other, data in self._last.items() if other > open_ms}
        return True

    def last(self, open_ms: int) -> bytes | None:
        """Return the last frame of a candle that is not final yet."""
        return self._last.get(open_ms)


def mended_frame(last: bytes, key: SeriesKey, raw: bytes, read_ms: int) -> bytes | None:
    """Return the final frame of a candle, exact but for its event time; nothing if that can't be known.

    Args:
        last: The candle's last frame.
        key: Its series.
        raw: The settled row as printed: what the frame shows must be the same, to the last character.
        read_ms: When the row was read, which becomes the event time.
    """
    try:
        row = read_frame(last, key).row
    except InvalidBody:
        return None
    if row.raw != raw or read_ms <= row.close_ms:
        return None
    data, times = _EVENT_TIME.subn(rb"\g<1>%d" % read_ms, last)
    data, marks = _NOT_FINAL.subn(rb"\g<1>true", data)
    mark = kline_mark(data)
    exact = times == marks == 1 and mark is not None and mark.final and mark.event_ms == read_ms
    return data if exact else None
