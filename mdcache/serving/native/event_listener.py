"""One listener to events: what it was sent of each series, and what it is sent next (docs/design.md#events).

A listener has no queue. It knows which of its series have changed, and computes the events when its socket takes them:
a slow one misses states of open candles, never a close, and costs no more memory than a fast one.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mdcache.background_work import cancel_all
from mdcache.errors import MdcacheError
from mdcache.serving.native.positions import Position
from mdcache.serving.native.series_events import Cursor, EventName, SeriesEvent, close_events
from mdcache.serving.native.stream_query import StreamQuery
from mdcache.serving.native.watchers import SeriesWatcher, SeriesWatchers
from mdcache.serving.responses import Receive, Send, wait_until_gone

HEARTBEAT_S = 15.0
_HEARTBEAT = b": \n\n"
_START = b"retry: 1000\nid: %b\n\n"
_CHUNK_BYTES = 65_536
_READS_AT_ONCE = 8


@dataclass(slots=True)
class _Place:
    """One series of a listener. `interval`, `symbol`: its places in the question."""

    interval: int
    symbol: int
    cursor: Cursor


class EventListener:
    """A client that listens to events.

    Args:
        query: What it listens to.
        position: What it was sent before.
        watchers: The watchers of all series.
        sent: Counts the events that are sent, by name.
    """

    def __init__(
        self, query: StreamQuery, position: Position, watchers: SeriesWatchers, sent: Counter[EventName]
    ) -> None:
        self.closed_only = query.closed
        self._watchers = watchers
        self._sent = sent
        self._position = position
        self._woken = asyncio.Event()
        self._ended = False
        self._changed: dict[SeriesWatcher, None] = {}
        self._places: dict[SeriesWatcher, _Place] = {}
        for interval in range(len(query.intervals)):
            for symbol in range(len(query.symbols)):
                watcher = watchers.join(query.key(interval, symbol), self)
                cursor = Cursor(position.until_ms(interval, symbol), revision=watcher.changes.revision)
                self._places[watcher] = _Place(interval, symbol, cursor)
                self._changed[watcher] = None

    def changed(self, watcher: SeriesWatcher) -> None:
        """Send what changed, as soon as the client takes it."""
        self._changed[watcher] = None
        self._woken.set()

    def drain(self) -> None:
        """End: the client connects again, with its position."""
        self._ended = True
        self._woken.set()

    async def run(self, receive: Receive, send: Send) -> None:
        """Send events until the client is gone or the daemon stops; the head of the response has been sent."""
        gone = asyncio.create_task(wait_until_gone(receive))
        gone.add_done_callback(lambda _: self.drain())
        try:
            await send({"type": "http.response.body", "body": _START % str(self._position).encode(), "more_body": True})
            while not self._ended:
                body = await self._next_chunk()
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await cancel_all(gone)

    async def aclose(self) -> None:
        """Listen no more."""
        await self._watchers.leave(self._places, self)

    async def _next_chunk(self) -> bytes:
        """Return the next events, or a heartbeat if there are none for a while."""
        while not self._ended:
            if body := await self._collect():
                return body
            if not self._changed:
                self._woken.clear()
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await self._woken.wait()
                except TimeoutError:
                    return _HEARTBEAT
        return b""

    async def _collect(self) -> bytes:
        """Return the events of series that changed, about a chunk of them."""
        printed: list[bytes] = []
        size = 0
        while self._changed and size < _CHUNK_BYTES:
            behind: list[SeriesWatcher] = []
            while self._changed and size < _CHUNK_BYTES and len(behind) < _READS_AT_ONCE:
                watcher = next(iter(self._changed))
                del self._changed[watcher]
                events = watcher.changes.since(self._places[watcher].cursor, closed_only=self.closed_only)
                if events is None:
                    behind.append(watcher)
                else:
                    printed.append(self._print(watcher, events))
                    size += len(printed[-1])
            for watcher, missed in zip(behind, await asyncio.gather(*map(self._read_missed, behind)), strict=True):
                printed.append(self._print(watcher, missed))
                size += len(printed[-1])
        return b"".join(printed)

    async def _read_missed(self, watcher: SeriesWatcher) -> list[SeriesEvent]:
        """Return the closes that the listener missed, as far as they can be had now; the rest is tried again later."""
        cursor, until_ms = self._places[watcher].cursor, watcher.changes.complete_after_ms
        events: list[SeriesEvent] = []
        try:
            async for candles in watcher.closed_between(cursor.until_ms, until_ms):
                events += close_events(candles, cursor)
        except MdcacheError:
            return events  # the watcher tells of a change when Binance can be asked again
        cursor.until_ms = max(cursor.until_ms, until_ms)
        self._changed[watcher] = None
        return events

    def _print(self, watcher: SeriesWatcher, events: Sequence[SeriesEvent]) -> bytes:
        place = self._places[watcher]
        printed: list[bytes] = []
        for event in events:
            candle = event.candle
            self._sent[event.name] += 1
            if candle is not None and event.name is EventName.CLOSED:
                self._position.move(place.interval, place.symbol, candle.close_ms)
            printed.append(
                b"event: %b\nid: %b\ndata: %b\n\n" % (event.name.encode(), str(self._position).encode(), event.data)
            )
        return b"".join(printed)
