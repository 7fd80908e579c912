"""Silence: prove that a symbol was not traded, by the streams that list every symbol that was (docs/design.md#silence).

Pure. One `SilenceWatch` for each market.
"""

from collections.abc import Iterable
from typing import NamedTuple

from mdcache.clock import Instant

_MAX_GAP_MS = 3_000  # frames come each second: docs/binance.md#kline-streams
_MAX_AHEAD_MS = 1_000  # of our clock; a frame further ahead has no true time
_MAX_SYMBOLS = 20_000  # ten times what a market has: frames can't fill the memory


class _Listings(NamedTuple):
    """The times of the last two frames that list a symbol, and of the frame before the last one."""

    previous_ms: int
    last_ms: int
    silent_until_ms: int


class SilenceWatch:
    """What the frames of `!miniTicker@arr` say of one market, since they come without a break.

    Whoever feeds it passes every frame, in order, and calls `interrupt` whenever one may be missing.
    """

    def __init__(self) -> None:
        self._unbroken_since_ms: int | None = None
        self._newest_ms = -1
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
        before_ms, newer = self._newest_ms, event_ms > self._newest_ms
        if newer:
            if self._unbroken_since_ms is None or event_ms - self._newest_ms > _MAX_GAP_MS:
                self._begin(event_ms)
            self._newest_ms = event_ms
        if self._unbroken_since_ms is not None and event_ms > self._unbroken_since_ms:
            for symbol in symbols:
                known = self._listings.get(symbol) or _Listings(self._unbroken_since_ms, self._unbroken_since_ms, -1)
                self._listings[symbol] = _listed(known, event_ms, before_ms)
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
            before `since_ms`; the time of the frame before the first that lists it, if that is the last one which does;
            else nothing.
        """
        if self._unbroken_since_ms is None or since_ms < self._unbroken_since_ms:
            return None
        known = self._listings.get(symbol)
        if known is None or known.last_ms <= since_ms:
            return self._newest_ms
        return known.silent_until_ms if known.previous_ms <= since_ms < known.silent_until_ms else None

    def _begin(self, event_ms: int) -> None:
        """Follow the frames from this one on: those after it say what was traded since."""
        self._unbroken_since_ms = event_ms
        self._listings.clear()


def _listed(known: _Listings, event_ms: int, before_ms: int) -> _Listings:
    """Return what is known after a frame that lists the symbol; `before_ms`: the newest frame until then."""
    if event_ms > known.last_ms:
        return _Listings(known.last_ms, event_ms, before_ms if event_ms > before_ms else known.last_ms)
    if event_ms == known.last_ms:
        return known
    return known._replace(previous_ms=max(known.previous_ms, event_ms))
