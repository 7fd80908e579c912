"""What keeps tails new beside reads: derivation, and streams, by a port with its null object."""

from dataclasses import dataclass
from typing import Protocol

from mdcache.cache.derivations import Derivations
from mdcache.candles.series import Series
from mdcache.candles.tail import Tail
from mdcache.clock import Clock, Instant


class LiveTails(Protocol):
    """Keeps the tails of series that are asked for as new as streams can."""

    def note_asked(self, series: Series) -> None:
        """Record that a series was asked for: its stream is followed from the second question about its symbol on."""

    def extend(self, series: Series) -> None:
        """Extend the as-of of the live tail by what streams prove without a frame of this series."""

    def note_read(self, series: Series, before: Tail) -> None:
        """Record that a read has replaced the live tail `before`: it may show what no frame has shown."""

    async def wait_for_final(self, series: Series, now: Instant) -> bool:
        """Wait for the final frame of a candle that has just closed, if it can be expected at once.

        Return whether anything came, so that the question must be planned again; False means: read.
        """

    async def wait_for_frame(self, series: Series, seconds: float) -> bool:
        """Wait for the next frame of a series, which is asked for meanwhile; return False if none came in time."""


class NoLiveTails:
    """No streams; `clock` measures waits for what never comes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def note_asked(self, series: Series) -> None:
        """Do nothing."""

    def extend(self, series: Series) -> None:
        """Do nothing."""

    def note_read(self, series: Series, before: Tail) -> None:
        """Do nothing."""

    async def wait_for_final(self, series: Series, now: Instant) -> bool:
        """Return False: nothing can be expected."""
        del series, now
        return False

    async def wait_for_frame(self, series: Series, seconds: float) -> bool:
        """Return False when the time is over."""
        del series
        await self._clock.sleep(seconds)
        return False


@dataclass(frozen=True, slots=True)
class TailSources:
    """What brings newer candles than the last read: streams, and derivation if it is on."""

    streams: LiveTails
    derivations: Derivations | None = None
