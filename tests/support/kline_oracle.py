"""The oracle of the random histories: the exchange's own truth for each question at its answer's as-of."""

from collections.abc import Iterator, Sequence

from mdcache.cache.kline_answers import KlineAnswer
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.exchange.klines import SeriesKey, parse_klines
from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.sim import Exchange, SimConfig
from tests.support.random_klines import RandomQuestion
from tests.support.virtual_daemon import VirtualDaemon

PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
STEPS_S = [0.0, 0.001, 0.3, 1.0, 2.1, 5.0, 61.0, 3_600.0, 100_000.0]


def key_of(asked: RandomQuestion) -> SeriesKey:
    """The series that is asked about."""
    return parse_klines(KLINE_ENDPOINTS[asked.path], asked.query, dict(asked.headers)).key


class KlineOracle:
    """Asks worlds before `exchange`. `lags_ms`: of its replicas; `off_ms`: how far its time may be from an as-of.

    `shown`: the newest as-of that was shown of each series.
    """

    def __init__(self, exchange: Exchange, lags_ms: Sequence[int], off_ms: Sequence[int] = (0,)) -> None:
        self.exchange = exchange
        self.lags_ms = lags_ms
        self.off_ms = off_ms
        self.shown: dict[SeriesKey, int] = {}

    async def ask(
        self, world: VirtualDaemon, asked: RandomQuestion, directives: FreshnessDirectives | None = None
    ) -> KlineAnswer:
        """The answer, which is what the exchange, or one of its replicas, would have sent."""
        answer = await world.ask(asked.path, asked.query, headers=dict(asked.headers), directives=directives)
        right = any(answer.body == truth for truth in self.truths(asked, answer.as_of_ms))
        assert right, (asked, answer.as_of_ms, self.lags_ms)
        return answer

    def goes_on(self, asked: RandomQuestion, answer: KlineAnswer) -> None:
        """The series' as-of did not go back."""
        key = key_of(asked)
        assert answer.as_of_ms >= self.shown.get(key, 0), asked
        self.shown[key] = answer.as_of_ms

    def truths(self, asked: RandomQuestion, as_of_ms: int) -> Iterator[bytes]:
        """All that is right."""
        headers = dict(asked.headers)
        for off in self.off_ms:
            for lag in self.lags_ms:
                yield self.exchange.truth(asked.path, asked.query, headers, at_ms=as_of_ms + off, lag_ms=lag)
