"""Silence: prove that a symbol was not traded, by the streams that list every symbol that was (docs/design.md#silence).

Pure. One `SilenceWatch` for each market.
"""

from collections.abc import Iterable

from mdcache.clock import Instant

_MAX_GAP_MS = 3_000  # frames come each second: docs/binance.md#kline-streams
_MAX_AHEAD_MS = 1_000  # of our clock; a frame further ahead has no true time
_MAX_SYMBOLS = 20_000  # ten times what a market has: frames can't fill the memory


class SilenceWatch:
    """What the frames of `!miniTicker@arr` say of one market, since they come without a break.

    Whoever feeds it passes every frame, in order, and calls `interrupt` whenever one may be missing.
    """

    def __init__(self) -> None:
        self._unbroken_since_ms: int | None = None
        self._newest_ms = -1
        self._listed_ms: dict[str, int] = {}  # when a symbol was last listed, if it was since then

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
        if self._unbroken_since_ms is not None and event_ms > self._unbroken_since_ms:
            for symbol in symbols:
                self._listed_ms[symbol] = max(event_ms, self._listed_ms.get(symbol, event_ms))
            if len(self._listed_ms) > _MAX_SYMBOLS:
                self._begin(self._newest_ms)
        return newer

    def interrupt(self) -> None:
        """Forget the past: a frame may be missing (the connection was lost, or a frame could not be read)."""
        self._unbroken_since_ms = None
        self._listed_ms.clear()

    def silent_until_ms(self, symbol: str, since_ms: int) -> int | None:
        """Return until when a symbol was surely not traded after `since_ms`.

        Returns:
            The newest frame's time, if no frame after `since_ms` lists the symbol and none is missing since one at or
            before `since_ms`; else nothing.
        """
        if self._unbroken_since_ms is None or since_ms < self._unbroken_since_ms:
            return None
        return self._newest_ms if self._listed_ms.get(symbol, -1) <= since_ms else None

    def _begin(self, event_ms: int) -> None:
        """Follow the frames from this one on: those after it say what was traded since."""
        self._unbroken_since_ms = event_ms
        self._listed_ms.clear()
