"""The as-of up to which evicted series were shown: what a common store has of them may be older."""

from collections import OrderedDict

from mdcache.exchange.klines import SeriesKey

_MOST = 4_096  # series; of all that were evicted earlier, only the newest as-of is kept


class ShownTimes:
    """By series, the as-of of the newest answer before it was evicted (docs/design.md#as-of)."""

    def __init__(self) -> None:
        self._known: OrderedDict[SeriesKey, int] = OrderedDict()
        self._before_ms = -1

    def note(self, key: SeriesKey, as_of_ms: int) -> None:
        """Record the as-of at which a series that is evicted was last shown."""
        self._known[key] = max(as_of_ms, self._known.pop(key, -1))
        if len(self._known) > _MOST:
            _, oldest_ms = self._known.popitem(last=False)
            self._before_ms = max(self._before_ms, oldest_ms)

    def until_ms(self, key: SeriesKey) -> int:
        """Return the as-of that the series must not be shown before, -1 if there is none."""
        return self._known.get(key, self._before_ms)
