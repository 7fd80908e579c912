"""Find dead topics: a read showed trades that no frame has shown since (docs/design.md#dead-topics).

A topic can end under a living connection, and nothing on the stream itself tells that from a quiet symbol.
"""

from collections.abc import Callable

from mdcache.candles.series import Series
from mdcache.candles.tail import Tail
from mdcache.clock import Clock
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market

_BEGIN_S = 5.0  # a topic is subscribed to within this time
_GRACE_S = 5.0  # and two cadences: a frame that shows the trade arrives within this time


class DeadTopics:
    """Compares the reads of series that are followed with their frames.

    `clock`: measures how long no frame came. `cadence_ms`: how often they come.
    """

    def __init__(self, clock: Clock, cadence_ms: Callable[[SeriesKey], int]) -> None:
        self._clock = clock
        self._cadence_ms = cadence_ms
        self._followed_s: dict[SeriesKey, float] = {}
        self._missed_s: dict[SeriesKey, float] = {}  # when a read first showed trades that no frame had shown

    def follow(self, key: SeriesKey) -> None:
        """Begin with a series."""
        self._followed_s.setdefault(key, self._clock.now())

    def forget(self, key: SeriesKey) -> None:
        """Stop with it."""
        self._followed_s.pop(key, None)
        self._missed_s.pop(key, None)

    def restart(self, market: Market) -> None:
        """Begin anew with all series of a market that has no connection: reads prove nothing about its topics."""
        now_s = self._clock.now()
        for key in self._followed_s:
            if key.market is market:
                self._followed_s[key] = now_s
                self._missed_s.pop(key, None)

    def note_frame(self, key: SeriesKey) -> None:
        """Record a new frame of a series."""
        if self._missed_s:  # hardly ever: to hash a key costs more than all else here
            self._missed_s.pop(key, None)

    def note_read(self, series: Series, before: Tail) -> None:
        """Compare what a read has just shown with `before`, the live tail that it replaced."""
        key, read, followed_s = series.key, series.tail, self._followed_s.get(series.key)
        if read is None or not read.rows or not before.rows or followed_s is None or key in self._missed_s:
            return
        newest, known = read.rows[-1], before.rows[-1]
        known_trades = known.trades if known.open_ms == newest.open_ms else 0
        if newest.open_ms < known.open_ms or newest.trades <= known_trades:
            return
        now_s, seconds = self._clock.now(), (read.as_of_ms - before.as_of_ms) / 1000
        if now_s - followed_s < seconds + _BEGIN_S:
            return  # those trades may have happened before the topic was subscribed to
        if series.stream is None or not series.stream.shows(newest):
            self._missed_s[key] = now_s

    def keys(self) -> list[SeriesKey]:
        """Return the series whose topics are dead now."""
        now_s = self._clock.now()
        return [key for key, missed_s in self._missed_s.items() if now_s - missed_s > self._patience_s(key)]

    def _patience_s(self, key: SeriesKey) -> float:
        return _GRACE_S + 2 * self._cadence_ms(key) / 1000
