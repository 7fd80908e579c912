"""Mend lost final frames from settled rows, few at a time (docs/design.md#lost-final-frames)."""

import asyncio
from typing import Protocol

from mdcache.background_work import cancel_all, supervise
from mdcache.clock import Clock
from mdcache.errors import MdcacheError
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.streams import series_of
from mdcache.relay.finals import Unfinished, mended_frame
from mdcache.relay.relay import Relay

_LOOK_EVERY_S = 1.0
_MOST_AT_ONCE = 8  # of two reads each, in eight seconds; what is lost beyond that is left out


class SettledRowSource(Protocol):
    """Reads rows until they are settled (`cache.settled_rows.SettledRows`)."""

    async def read(self, key: SeriesKey, open_ms: int) -> tuple[bytes, int] | None:
        """Return a row as printed, and when it was read; nothing if it did not settle soon."""


class Mender:
    """Looks for final frames that did not come. `start` it; `aclose` ends it."""

    def __init__(self, relay: Relay, rows: SettledRowSource, clock: Clock, events: Events) -> None:
        self._relay = relay
        self._rows = rows
        self._clock = clock
        self._events = events
        self._task: asyncio.Task[None] | None = None
        self._mending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin."""
        self._task = supervise(BackgroundTask.RELAY, self._run, self._clock, self._events)

    async def aclose(self) -> None:
        """Stop."""
        await cancel_all(self._task, *self._mending)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_LOOK_EVERY_S)
            for unfinished in self._relay.pop_unfinished():
                if len(self._mending) < _MOST_AT_ONCE:
                    task = asyncio.create_task(self._mend(unfinished), name=BackgroundTask.RELAY.value)
                    self._mending.add(task)
                    task.add_done_callback(self._mending.discard)

    async def _mend(self, unfinished: Unfinished) -> None:
        market, topic, open_ms = unfinished
        key = series_of(market, topic)
        if key is None:
            return
        try:
            found = await self._rows.read(key, open_ms)
        except MdcacheError:
            return  # Binance can't be asked, or knows better: the frame is left out
        except Exception as error:  # noqa: BLE001 - reported; the frame is left out
            self._events.emit(BackgroundTaskFailed(BackgroundTask.RELAY, f"{type(error).__name__}: {error}"))
            return
        last = self._relay.last_frame(market, topic, open_ms)
        if found is None or last is None:
            return
        data = mended_frame(last, key, *found)
        if data is not None:
            self._relay.send_final(market, topic, open_ms, data)
