"""The rows of one series, found for an answer; those of a ready answer keep what the next answer needs again."""

from dataclasses import dataclass

import msgspec

from mdcache.cache.answers import Answer, CacheStatus
from mdcache.cache.kline_answers import KlineAnswer
from mdcache.candles.plan import Serve
from mdcache.clock import Instant
from mdcache.exchange.klines import SeriesKey
from mdcache.serving.binance.representation import Representation
from mdcache.serving.binance.request import RequestKey
from mdcache.serving.native.gzip_stream import Deflated, deflate
from mdcache.serving.native.tokens import digest


@dataclass(frozen=True, slots=True)
class FoundRows:
    """The rows of a series. `tag`: of what is printed. `pages`: their slices; `kept`: or the whole, printed already.

    `status`: how they were obtained. `ready_key`: under which to keep them. The other fields are those of `Answer`.
    """

    key: SeriesKey
    tag: bytes
    as_of_ms: int
    settled: bool
    status: CacheStatus
    stale: bool = False
    pages: tuple[tuple[Serve, KlineAnswer], ...] = ()
    kept: "KeptRows | None" = None
    ready_key: RequestKey | None = None


class KeptRows(Representation):
    """Printed rows, kept as a ready answer; `digest`: of them in tokens; `named`: how answers name the series."""

    __slots__ = ("_deflated", "_key", "content", "digest", "named")

    def __init__(self, answer: Answer, key: SeriesKey, tag: bytes) -> None:
        super().__init__(answer, key.market, tag)
        self.content = answer.body
        self.digest = digest(tag, stale=False)
        self.named = name_series(key)
        self._key = key
        self._deflated: Deflated | None = None

    def found(self, now: Instant) -> FoundRows:
        """Return these rows as an answer has them; `now`: what settled rows are as of.

        It is not kept here: the two would be a cycle, and all of this would stay in memory until it is collected.
        """
        settled = self.answer.settled
        as_of_ms = now.ms if settled else self.answer.as_of_ms
        return FoundRows(self._key, self.tag, as_of_ms, settled, CacheStatus.HIT, kept=self)

    @property
    def nbytes(self) -> int:
        """Return its size in memory in bytes."""
        return super().nbytes + (0 if self._deflated is None else len(self._deflated.data))

    @property
    def is_deflated(self) -> bool:
        """Return whether `deflated` costs nothing."""
        return self._deflated is not None

    def deflated(self) -> Deflated:
        """Return the rows compressed; the first call compresses."""
        if self._deflated is None:
            self._deflated = deflate(self.content)
        return self._deflated


def name_series(key: SeriesKey) -> bytes:
    """Return the start of the JSON object that an answer has of a series."""
    return b'{"market":"%b","symbol":%b,"interval":"%b",' % (
        key.market.value.encode(),
        msgspec.json.encode(key.subject),
        key.interval.encode(),
    )
