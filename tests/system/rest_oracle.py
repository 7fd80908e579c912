"""What an answer over HTTP must be: the exchange's own bytes at its as-of, and no older than the question allows."""

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from mdcache.exchange.klines import parse_klines
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.settings import Settings
from mdcache.sim import Exchange
from tests.support.random_klines import RandomQuestion
from tests.system.wire import HttpAnswer
from tests.system.world import WorldOptions

KLINE_PATHS = {Market.SPOT: "/api/v3/klines", Market.USDM: "/fapi/v1/klines", Market.COINM: "/dapi/v1/klines"}
MAX_STALE_MS = 30_000
_READING_MS = 2  # of a clock that read another
_NO_CANDLES_BEFORE_MS = 1_483_228_800_000  # 2017, when Binance began
REVISED_VOLUME, REVISED_TRADES = "0.5", 3  # what a revision adds
_LONGEST_TRIP_MS = 701
_FRAME_AGE_MS = 2_600
_EMPTY_AGE_MS = 5_000  # of a tail without rows
_TTLS = Settings()


@dataclass(frozen=True)
class Directives:
    """A question's wishes about age, in the headers' own words."""

    max_age_s: int | None = None
    max_stale_s: int | None = None
    no_cache: bool = False
    only_if_cached: bool = False
    min_as_of_ms: int | None = None

    def headers(self) -> dict[str, str]:
        parts = [
            f"max-age={self.max_age_s}" if self.max_age_s is not None else "",
            f"max-stale={self.max_stale_s}" if self.max_stale_s is not None else "",
            "no-cache" if self.no_cache else "",
            "only-if-cached" if self.only_if_cached else "",
        ]
        found = {"Cache-Control": ", ".join(filter(None, parts))} if any(parts) else {}
        return found if self.min_as_of_ms is None else {**found, "X-MDCache-Min-As-Of": str(self.min_as_of_ms)}


@dataclass(frozen=True)
class Asked:
    """A question that was answered. `error_ms`: of the daemon's idea of the exchange's time."""

    question: RandomQuestion
    directives: Directives
    asked_ms: int
    answered_ms: int
    error_ms: int

    @property
    def target(self) -> str:
        return f"{self.question.path}?{quote(self.question.query, safe='=&:')}"


@dataclass
class RestOracle:
    """Compares answers with `exchange`. `read_ms`: when reads reached it, lately.

    `revised`: rows that were changed after their close, which a daemon may not have noticed. `worst_error_ms`: of any
    clock of the exchange's time until now.
    """

    exchange: Exchange
    options: WorldOptions
    read_ms: list[int] = field(default_factory=list)
    revised: set[tuple[str, str, str, int]] = field(default_factory=set)
    snapshot_ttl_ms: int = 0
    worst_error_ms: int = 0

    def __post_init__(self) -> None:
        self.truth = lru_cache(maxsize=2_000)(self._truth)
        self._unrevised = Exchange(self.exchange.config, now_ms=self.exchange.now_ms)

    def _truth(self, asked: RandomQuestion, at_ms: int, lag_ms: int = 0) -> bytes:
        return self.exchange.truth(asked.path, asked.query, dict(asked.headers), at_ms=at_ms, lag_ms=lag_ms)

    # ------------------------------------------------------------------------------- bytes

    def truths(self, asked: RandomQuestion, as_of_ms: int, error_ms: int) -> Iterator[bytes]:
        """Return all that the exchange, or one of its replicas, may have shown at an as-of, the likeliest first.

        A read may show what came between its as-of, when it was sent, and the moment when it reached the exchange.
        """
        first = bisect_left(self.read_ms, as_of_ms - error_ms)
        last = bisect_right(self.read_ms, as_of_ms + error_ms + _LONGEST_TRIP_MS)
        for at_ms in dict.fromkeys((as_of_ms, *reversed(self.read_ms[first:last]), as_of_ms - 1, as_of_ms + 1)):
            for lag_ms in self.options.lags_ms:
                yield self.truth(asked, at_ms, lag_ms)
        for lag_ms in range(1, max(self.options.lags_ms)):  # a frame laid over the read of a replica that lags
            yield self.truth(asked, as_of_ms, lag_ms)

    def is_true(self, asked: Asked, as_of_ms: int, body: bytes) -> bool:
        """Return whether a body is one of them."""
        question = asked.question
        if any(truth == body for truth in self.truths(question, as_of_ms, asked.error_ms)):
            return True
        return bool(self.revised) and any(
            self._is_mixed(question, truth, as_of_ms, body) for truth in self.truths(question, as_of_ms, asked.error_ms)
        )

    def _is_mixed(self, asked: RandomQuestion, truth: bytes, as_of_ms: int, body: bytes) -> bool:
        """Return whether a body differs from the truth only in rows that are as they were before they were revised."""
        return self.are_rows(json.loads(body), json.loads(truth), asked, as_of_ms)

    def are_rows(
        self, shown: list[list[Any]], now: list[list[Any]], asked: RandomQuestion, as_of_ms: int, columns: int = 12
    ) -> bool:
        """Return whether rows are those of the exchange, each as it is or as it was before it was revised.

        The newest may be derived from parts that were, each by itself: docs/design.md#derivation.
        """
        kept = [row[:columns] for row in now]
        if [row[:columns] for row in shown] == kept or not self.revised:
            return shown == now
        then: list[list[Any]] = json.loads(
            self._unrevised.truth(asked.path, asked.query, dict(asked.headers), at_ms=as_of_ms)
        )
        earlier = {row[0]: row[:columns] for row in then}
        if len(shown) != len(now):
            return False
        odd = [
            (row, after)
            for row, after in zip(shown, now, strict=True)
            if row[:columns] not in (after[:columns], earlier.get(after[0]))
        ]
        return not odd or (odd == [(shown[-1], now[-1])] and self._is_derived(*odd[0], asked, columns))

    def _is_derived(self, shown: list[Any], printed: list[Any], asked: RandomQuestion, columns: int) -> bool:
        """Return whether a row has more in it than the exchange's, by revisions of parts of one length."""
        parts = Counter(
            interval
            for path, symbol, interval, open_ms in self.revised
            if path == asked.path and f"symbol={symbol}&" in f"{asked.query}&" and printed[0] <= open_ms <= printed[6]
        )
        added = (shown[8] - printed[8]) // REVISED_TRADES
        volume = f"{Decimal(printed[5]) + added * Decimal(REVISED_VOLUME):.8f}"
        expected = [*printed[:5], volume, *printed[6:8], printed[8] + added * REVISED_TRADES, *printed[9:]]
        return shown[:columns] == expected[:columns] and 0 < added <= max(parts.values(), default=0)

    def forget(self, before_ms: int) -> None:
        """Forget reads from before a moment."""
        del self.read_ms[: bisect_left(self.read_ms, before_ms)]

    # ------------------------------------------------------------------------------- age

    def check(self, asked: Asked, answer: HttpAnswer) -> None:
        """Check an answer with status 200."""
        as_of_ms = int(answer.headers["x-mdcache-as-of"])
        stale = "detail=stale" in answer.headers["cache-status"]
        where = (asked, dict(answer.headers))
        clock_ms = asked.error_ms + _READING_MS
        true = self.is_true(asked, as_of_ms, answer.body) or _has_stray(asked, answer.body)
        assert true, ("not the exchange's", where, answer.body[-300:])
        assert as_of_ms <= asked.answered_ms + clock_ms, ("as-of ahead", where)
        age_ms = asked.asked_ms - as_of_ms
        allowed_ms = self._stale_ms(asked) if stale else self._fresh_ms(asked, answer.body)
        assert age_ms <= allowed_ms + clock_ms, ("too old", age_ms, allowed_ms, where)
        wanted_ms = min(asked.directives.min_as_of_ms or 0, asked.asked_ms)
        assert as_of_ms >= wanted_ms - clock_ms, ("before min-as-of", where)
        if asked.directives.max_stale_s is None and asked.question.path in KLINE_ENDPOINTS:
            open_until_ms = _open_until_ms(answer.body, as_of_ms)
            assert open_until_ms is None or open_until_ms >= asked.asked_ms - clock_ms, ("its candle has closed", where)
        age_s = int(answer.headers["age"])
        shown_s = (asked.answered_ms - as_of_ms) / 1000
        assert abs(age_s - shown_s) <= 1 + clock_ms / 1000, ("wrong age", age_s, shown_s, where)

    def _ttl_ms(self, question: RandomQuestion) -> int:
        if question.path not in KLINE_ENDPOINTS:
            return self.snapshot_ttl_ms
        if self.options.ttl_s is not None:
            return int(self.options.ttl_s * 1000)
        return int(_TTLS.candle_ttl_s(_interval(question)) * 1000)

    def _fresh_ms(self, asked: Asked, body: bytes) -> int:
        ttl_ms, directives = self._ttl_ms(asked.question), asked.directives
        if directives.no_cache:
            return 0
        if directives.max_age_s is not None and directives.max_age_s * 1000 <= ttl_ms:
            return directives.max_age_s * 1000
        if asked.question.path not in KLINE_ENDPOINTS:
            return ttl_ms
        empty_ms = 0 if _has_new_row(body, asked.asked_ms) else _EMPTY_AGE_MS
        return max(ttl_ms, _FRAME_AGE_MS if self.options.streams else 0, empty_ms)

    def _stale_ms(self, asked: Asked) -> int:
        directives = asked.directives
        ttl_ms = self._ttl_ms(asked.question)
        if directives.max_stale_s is not None:
            fresh_ms = ttl_ms if directives.max_age_s is None else min(ttl_ms, directives.max_age_s * 1000)
            return (0 if directives.no_cache else fresh_ms) + directives.max_stale_s * 1000
        if directives.no_cache:
            return 0
        return MAX_STALE_MS if directives.max_age_s is None else min(MAX_STALE_MS, directives.max_age_s * 1000)


@lru_cache(maxsize=5_000)
def _interval(question: RandomQuestion) -> str:
    return parse_klines(KLINE_ENDPOINTS[question.path], question.query, dict(question.headers)).key.interval


def _newest_close_ms(body: bytes) -> int | None:
    rows = json.loads(body)
    if not rows:
        return None
    close = int(rows[-1][6])
    return close // 1000 if close > 10**14 else close


def _has_stray(asked: Asked, body: bytes) -> bool:
    """Return whether the fault "outside" put a row into a window that begins in 1970, where it looks like a candle."""
    if asked.question.path not in KLINE_ENDPOINTS or "startTime=" not in asked.target:
        return False
    rows = json.loads(body)
    return bool(rows) and 0 <= rows[0][0] < _NO_CANDLES_BEFORE_MS


def _open_until_ms(body: bytes, as_of_ms: int) -> int | None:
    """Return when the newest candle closes, if it was open at the as-of."""
    close_ms = _newest_close_ms(body)
    return close_ms if close_ms is not None and close_ms > as_of_ms else None


def _has_new_row(body: bytes, now_ms: int) -> bool:
    close_ms = _newest_close_ms(body)
    return close_ms is not None and close_ms >= now_ms - 5_000
