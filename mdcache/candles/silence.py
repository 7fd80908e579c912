"""Silence: prove that a symbol was not traded, by the streams that list all traded ones (docs/design.md#silence).

Pure. One `SilenceWatch` for each market.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from mdcache.clock import Instant

_MAX_GAP_MS = 3_000  # frames come each second: docs/binance.md#kline-streams
_MAX_AHEAD_MS = 1_000  # of our clock; a frame further ahead has no true time
_MAX_SYMBOLS = 20_000  # ten times what a market has: frames can't fill the memory
_MAX_LISTINGS = 8  # of a symbol: as many seconds as pass between two questions of a busy client
_MAX_FRAMES = 16


class _Listings(NamedTuple):
    """The times of the frames that list a symbol, in order: of all since `since_ms`."""

    since_ms: int
    times_ms: tuple[int, ...]


class SilenceWatch:
    """What the frames of `!miniTicker@arr` say of one market, since they come without a break.

    Whoever feeds it passes every frame, in order, and calls `interrupt` whenever one may be missing.
    """

    def __init__(self) -> None:
        self._unbroken_since_ms: int | None = None
        self._newest_ms = -1
        self._frames_ms: deque[int] = deque(maxlen=_MAX_FRAMES)  # the newest frames, without late ones
        self._listings: dict[str, _Listings] = {}  # since then

    @property
    def newest_ms(self) -> int | None:
        """The event time of the newest frame; nothing before the first, and after a break until the next."""
        return None if self._unbroken_since_ms is None else self._newest_ms

    def take(self, event_ms: int, symbols: Iterable[str], now: Instant) -> bool:
        """Take a frame.

        Args:
            event_ms: its newest event time.
            symbols: all that it lists.
            now: exchange time.

        Returns:
            Whether it is newer than all before; one with an older or equal time, or one ahead of the clock, is not.
        """
        if event_ms > now.late_ms + _MAX_AHEAD_MS:
            self.interrupt()  # what it lists has no place in time
            return False
        newer = event_ms > self._newest_ms
        if newer:
            if self._unbroken_since_ms is None or event_ms - self._newest_ms > _MAX_GAP_MS:
                self._begin(event_ms)
            self._newest_ms = event_ms
            self._frames_ms.append(event_ms)
        if self._unbroken_since_ms is not None and event_ms > self._unbroken_since_ms:
            nothing = _Listings(self._unbroken_since_ms, ())
            for symbol in symbols:
                self._listings[symbol] = _listed(self._listings.get(symbol, nothing), event_ms, late=not newer)
            if len(self._listings) > _MAX_SYMBOLS:
                self._begin(self._newest_ms)
        return newer

    def interrupt(self) -> None:
        """Forget the past: a frame may be missing (the connection was lost, or a frame could not be read)."""
        self._unbroken_since_ms = None
        self._listings.clear()

    def silent_until_ms(self, symbol: str, since_ms: int) -> int | None:
        """Return until when a symbol was surely not traded after `since_ms`.

        Returns:
            The newest frame's time, if no frame after `since_ms` lists the symbol and none is missing since one at or
            before `since_ms`; the time of the frame before the first that lists it; nothing if none came between.
        """
        if self._unbroken_since_ms is None or since_ms < self._unbroken_since_ms:
            return None
        known = self._listings.get(symbol)
        if known is None:
            return self._newest_ms
        if since_ms < known.since_ms:
            return None
        later_ms = known.times_ms[bisect_right(known.times_ms, since_ms) :]
        if not later_ms:
            return self._newest_ms
        return max((each for each in self._frames_ms if since_ms < each < later_ms[0]), default=None)

    def _begin(self, event_ms: int) -> None:
        """Follow the frames from this one on: those after it say what was traded since."""
        self._unbroken_since_ms = event_ms
        self._listings.clear()


def _listed(known: _Listings, event_ms: int, *, late: bool) -> _Listings:
    """Return what is known after a frame that lists the symbol; what precedes a late one is in doubt."""
    if event_ms in known.times_ms:
        return known
    if late:
        return _Listings(max(known.since_ms, event_ms), known.times_ms)
    dropped, times_ms = known.times_ms[: 1 - _MAX_LISTINGS], known.times_ms[1 - _MAX_LISTINGS :]
    return _Listings(dropped[-1] if dropped else known.since_ms, (*times_ms, event_ms))
