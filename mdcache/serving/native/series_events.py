"""Candles as the native API prints them, and what of a series changed lately. Pure (docs/design.md#events)."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from mdcache.exchange.klines import SeriesKey
from mdcache.serving.native.tables import COLUMNS

_OPEN_TIME, _CLOSE_TIME = 0, 6
_MAX_RECENT = 32  # closed candles and revisions for those that listen; older ones are asked for
_rows_decoder = msgspec.json.Decoder(list[list[msgspec.Raw]])


class EventName(StrEnum):
    """The events of a series."""

    CANDLE = "candle"
    CLOSED = "closed"
    REVISED = "revised"
    STALE = "stale"
    FRESH = "fresh"


@dataclass(frozen=True, slots=True)
class PrintedCandle:
    """One candle. `columns`: as printed, without whether it is closed. `data`: that of an event about it."""

    open_ms: int
    close_ms: int
    columns: bytes
    closed: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class SeriesEvent:
    """An event, with the candle that it shows, if it shows one."""

    name: EventName
    data: bytes
    candle: PrintedCandle | None = None


class SeriesNames:
    """How a series is named in the data of its events."""

    def __init__(self, key: SeriesKey) -> None:
        named = {"market": key.market.value, "symbol": key.subject, "interval": key.interval}
        self._start = msgspec.json.encode(named)[:-1]

    def state(self, as_of_ms: int) -> bytes:
        """Return the data of an event without a candle; a negative as-of is none."""
        return b'%b,"as_of":%b}' % (self._start, b"%d" % as_of_ms if as_of_ms >= 0 else b"null")

    def candle(self, row: Sequence[bytes], as_of_ms: int, *, closed: bool) -> PrintedCandle:
        """Return the candle that Binance printed as `row`."""
        columns = b",".join(row[: len(COLUMNS) - 1])
        printed = b"[%b,%b]" % (columns, b"true" if closed else b"false")
        data = b'%b,"as_of":%d,"row":%b}' % (self._start, as_of_ms, printed)
        return PrintedCandle(int(row[_OPEN_TIME]), int(row[_CLOSE_TIME]), columns, closed, data)

    def candles(self, body: bytes, as_of_ms: int, *, newest_open: bool) -> list[PrintedCandle]:
        """Return the candles of a kline answer; all are closed but the newest, if `newest_open`."""
        rows = [[bytes(column) for column in row] for row in _rows_decoder.decode(body)]
        open_at = len(rows) - 1 if newest_open else len(rows)
        return [self.candle(row, as_of_ms, closed=place < open_at) for place, row in enumerate(rows)]


@dataclass(slots=True)
class Cursor:
    """What one listener was sent of a series.

    `until_ms`: every candle that closed until then, as closed. `columns`: of the last open candle. `revision`: the
    number of the last revision that it knows.
    """

    until_ms: int
    columns: bytes = b""
    stale: bool = False
    revision: int = 0


class SeriesChanges:
    """What a series shows now, and what of it changed lately, for all that listen to it.

    `complete_after_ms`: `closed` has every candle that closed after it. `until_ms`: the close of the newest closed one.
    """

    def __init__(self, names: SeriesNames) -> None:
        self.names = names
        self.closed: deque[PrintedCandle] = deque(maxlen=_MAX_RECENT)
        self.complete_after_ms = self.until_ms = -1
        self.open: PrintedCandle | None = None
        self.as_of_ms = -1
        self.stale = False
        self.revision = 0
        self._revised: deque[tuple[int, PrintedCandle]] = deque(maxlen=_MAX_RECENT)

    @property
    def known(self) -> bool:
        """Whether anything was ever shown."""
        return self.as_of_ms >= 0

    def show(self, candles: Sequence[PrintedCandle], as_of_ms: int, *, stale: bool) -> None:
        """Show the newest candles of the series, which follow without a gap on those that were shown before."""
        if not self.known and candles:
            self.complete_after_ms = self.until_ms = candles[0].open_ms - 1
        for candle in candles:
            if candle.closed and candle.close_ms > self.until_ms:
                self._close(candle)
        self.open = candles[-1] if candles and not candles[-1].closed else None
        self.as_of_ms = max(self.as_of_ms, as_of_ms)
        self.stale = stale

    def lose(self) -> None:
        """Note that nothing fresh enough can be had now."""
        self.stale = True

    def revise(self, candle: PrintedCandle) -> None:
        """Note that a candle that was shown as closed is printed differently."""
        self.revision += 1
        self._revised.append((self.revision, candle))
        for place, each in enumerate(self.closed):
            if each.open_ms == candle.open_ms:
                self.closed[place] = candle

    def since(self, cursor: Cursor, *, closed_only: bool) -> list[SeriesEvent] | None:
        """Return the events since a cursor, and move it to now.

        Returns:
            The events in the order in which to send them; `None` if candles have closed since that are not in `closed`:
            they must be read and sent first.
        """
        if not self.known:
            return self._turn(cursor) if self.stale else []
        if cursor.until_ms < self.complete_after_ms:
            return None
        events = [
            SeriesEvent(EventName.REVISED, candle.data, candle)
            for number, candle in self._revised
            if number > cursor.revision and candle.close_ms <= cursor.until_ms
        ]
        cursor.revision = self.revision
        if self.stale:
            events += self._turn(cursor)
        events += close_events(self.closed, cursor)
        if not self.stale:
            events += self._turn(cursor)
        if self.open is not None and not closed_only and self.open.columns != cursor.columns:
            cursor.columns = self.open.columns
            events.append(SeriesEvent(EventName.CANDLE, self.open.data, self.open))
        return events

    def _close(self, candle: PrintedCandle) -> None:
        if len(self.closed) == _MAX_RECENT:
            self.complete_after_ms = self.closed[0].close_ms
        self.closed.append(candle)
        self.until_ms = candle.close_ms

    def _turn(self, cursor: Cursor) -> list[SeriesEvent]:
        """Return the event that the series has stopped or resumed being current, if it has."""
        if cursor.stale is self.stale:
            return []
        cursor.stale = self.stale
        name = EventName.STALE if self.stale else EventName.FRESH
        return [SeriesEvent(name, self.names.state(self.as_of_ms))]


def close_events(candles: Iterable[PrintedCandle], cursor: Cursor) -> list[SeriesEvent]:
    """Return a `closed` for each of these candles that the listener was not sent yet, and move its cursor."""
    events: list[SeriesEvent] = []
    for candle in candles:
        if candle.closed and candle.close_ms > cursor.until_ms:
            cursor.until_ms = candle.close_ms
            events.append(SeriesEvent(EventName.CLOSED, candle.data, candle))
    return events
