"""Derived open candles in the data path: the incident without streams, right at each as-of, and what it costs."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.cache.kline_answers import KlineAnswer
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.errors import NotCached
from mdcache.events import DerivationAttempted, DerivationEnded, DerivationResult
from mdcache.exchange.markets import Family
from mdcache.sim import SimConfig
from mdcache.sim.config import DAY_MS
from mdcache.sim.default_symbols import default_symbols
from tests.support.edited_rows import PageRequest, PrintedRows, edit_rows
from tests.support.examples import examples
from tests.support.kline_oracle import PLENTY, KlineOracle
from tests.support.random_klines import RandomQuestion
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon, ready
from tests.support.virtual_time import EPOCH_MS, run

KLINES = "/api/v3/klines"
MINUTE_MS = 60_000
INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")
OFFSETS_S = (0.0, 1.7, 3.1)  # of the three consumers
EVERY_S = 5.0
FIRST_CLOSE_MS = EPOCH_MS // MINUTE_MS * MINUTE_MS + MINUTE_MS


SYMBOLS = [
    spec.symbol
    for spec in default_symbols()
    if spec.market == "spot" and spec.halted_ms is None and spec.listed_ms < EPOCH_MS - 500 * DAY_MS
][:20]


class Incident:
    """Three consumers, each asking for 500 candles of all symbols and intervals every five seconds."""

    def __init__(self, *, derive: bool) -> None:
        self.w = VirtualDaemon(SimConfig(), DaemonOptions(ttl_s=None, derive=derive))
        self.symbols = SYMBOLS
        self._right: set[tuple[str, int, bytes]] = set()
        self.derived = 0

    async def run(self, minutes: float) -> None:
        await ready(self.w, self.symbols[0])
        async with asyncio.TaskGroup() as group:
            for offset in OFFSETS_S:
                group.create_task(self._consume(offset, int(minutes * 60 / EVERY_S)))

    async def _consume(self, offset: float, rounds: int) -> None:
        began_s = self.w.clock.now() + offset
        for number in range(rounds):
            await self.w.clock.sleep(began_s + number * EVERY_S - self.w.clock.now())
            questions = [f"symbol={s}&interval={i}&limit=500" for s in self.symbols for i in INTERVALS]
            for start in range(0, len(questions), 40):
                await asyncio.gather(*map(self._ask, questions[start : start + 40]))

    async def _ask(self, query: str) -> None:
        answer = await self.w.ask(KLINES, query)
        assert not answer.stale
        self.derived += answer.derived
        seen = (query, answer.as_of_ms, answer.body)
        if seen not in self._right:
            assert answer.body == self.w.exchange.truth(KLINES, query, {}, at_ms=answer.as_of_ms), query
            self._right.add(seen)

    def weights(self) -> list[int]:
        """Weight of klines in each UTC minute, the first one cut."""
        found: Counter[int] = Counter()
        for entry in self.w.exchange.log:
            if entry.path == KLINES:
                found[entry.at_ms // MINUTE_MS] += entry.weight
        return [found[minute] for minute in range(min(found), max(found) + 1)]


@pytest.mark.exhaustive
@pytest.mark.untraced
@pytest.mark.virtual
async def test_the_incident_without_streams_fits_and_tells_the_truth() -> None:
    incident = Incident(derive=True)
    await incident.run(3.9)
    _, *warm = incident.weights()
    assert len(warm) > 3  # minute closes, one of which is that of every interval but 1h, 4h and 1d
    assert max(warm) <= 1_200
    assert incident.derived > 10_000


@pytest.mark.long
@pytest.mark.untraced
@pytest.mark.virtual
async def test_without_derivation_it_costs_more() -> None:
    incident = Incident(derive=False)
    await incident.run(2.9)
    assert not incident.derived
    assert min(incident.weights()[1:-1]) > 1_600


def query(interval: str) -> str:
    return f"symbol=BTCUSDT&interval={interval}&limit=500"


async def warm(*intervals: str, **options: Any) -> VirtualDaemon:
    """A daemon that knows these series, right after a minute has begun, half a minute later."""
    w = await ready(VirtualDaemon(SimConfig(), DaemonOptions(**options)), "BTCUSDT")
    await w.clock.sleep((FIRST_CLOSE_MS + 30_000 - w.clock.true_ms()) / 1000)
    for interval in intervals:
        await w.ask(KLINES, query(interval))
    return w


def intervals_read(w: VirtualDaemon, since: int) -> list[str]:
    return [call.split("interval=")[1].split("&")[0] for call in w.calls(since)]


@pytest.mark.virtual
async def test_one_read_of_minutes_serves_all_longer_intervals() -> None:
    w = await warm("1m", "5m", "15m", "1h", "4h")
    before = len(w.calls())
    for _ in range(5):
        await w.clock.sleep(3.0)
        answers = await asyncio.gather(*(w.ask(KLINES, query(each)) for each in ("5m", "1m", "15m", "1h", "4h")))
        assert len({answer.as_of_ms for answer in answers}) == 1
        assert [answer.derived for answer in answers] == [True, False, True, True, True]
    assert intervals_read(w, before) == ["1m"] * 5


@pytest.mark.virtual
async def test_an_answer_from_memory_is_derived_still() -> None:
    w = await warm("1m", "1h")
    await w.clock.sleep(3.0)
    first = await w.ask(KLINES, query("1h"))
    again = await w.ask(KLINES, query("1h"))
    assert (first.derived, first.cache_status, again.derived, again.cache_status) == (True, "stale", True, "hit")
    past = await w.ask(KLINES, "symbol=BTCUSDT&interval=1h&limit=5&endTime=1700000000000")
    assert not past.derived


@pytest.mark.virtual
async def test_minutes_that_are_fresh_enough_cost_nothing() -> None:
    w = await warm("1m", "1h")
    await w.clock.sleep(3.0)
    await w.ask(KLINES, query("1m"))
    before = len(w.calls())
    answer = await w.ask(KLINES, query("1h"), directives=FreshnessDirectives(only_if_cached=True))
    assert answer.derived
    assert len(w.calls()) == before
    await w.clock.sleep(3.0)
    with pytest.raises(NotCached):
        await w.ask(KLINES, query("1h"), directives=FreshnessDirectives(only_if_cached=True))


@pytest.mark.virtual
async def test_no_cache_reads_the_series_itself() -> None:
    w = await warm("1m", "1h")
    await w.clock.sleep(3.0)
    before = len(w.calls())
    answer = await w.ask(KLINES, query("1h"), directives=FreshnessDirectives(no_cache=True))
    assert not answer.derived
    assert intervals_read(w, before) == ["1h"]


@pytest.mark.virtual
async def test_switched_off() -> None:
    w = await warm("1m", "1h", derive=False)
    await w.clock.sleep(3.0)
    before = len(w.calls())
    assert not (await w.ask(KLINES, query("1h"))).derived
    assert intervals_read(w, before) == ["1h"]


@pytest.mark.virtual
async def test_a_series_nobody_asks_for_derives_no_other() -> None:
    w = await warm("1m", "1h")
    for _ in range(301):
        await w.clock.sleep(1.0)
        answer = await w.ask(KLINES, query("1h"))
    before = len(w.calls())
    await w.clock.sleep(3.0)
    answer = await w.ask(KLINES, query("1h"))
    assert not answer.derived
    assert intervals_read(w, before) == ["1h"]


@pytest.mark.virtual
async def test_another_shape_of_the_symbol_is_not_used() -> None:
    w = await warm("1m")
    ui = "symbol=BTCUSDT&interval=1h&limit=500"
    for path, headers in (("/api/v3/uiKlines", {}), (KLINES, {"x-mbx-time-unit": "MICROSECOND"})):
        await w.ask(path, ui, headers=headers)
        await w.clock.sleep(3.0)
        assert not (await w.ask(path, ui, headers=headers)).derived


@pytest.mark.virtual
async def test_if_the_minutes_fail_the_series_itself_is_read() -> None:
    w = await warm("1m", "1h")
    edited = edit_rows(w)
    for interval in ("1m", "1h"):
        await w.ask(KLINES, query(interval))

    def junk(page: PageRequest, rows: PrintedRows) -> PrintedRows:
        return [] if rows[0][6] - rows[0][0] < MINUTE_MS else rows

    edited.edit = junk
    await w.clock.sleep(3.0)
    answer = await w.ask(KLINES, query("1h"))
    assert not answer.derived
    assert not answer.stale
    assert answer.as_of_ms == w.clock.true_ms()


@pytest.mark.virtual
async def test_where_binance_disagrees_with_itself_its_own_row_is_served() -> None:
    w = await warm()
    edited = edit_rows(w)
    changed_ms = FIRST_CLOSE_MS // 3_600_000 * 3_600_000 - 3_600_000

    def one_trade_more(page: PageRequest, rows: PrintedRows) -> PrintedRows:
        hours = rows[0][6] - rows[0][0] == 3_600_000 - 1
        return [[*row[:8], row[8] + 1, *row[9:]] if hours and row[0] == changed_ms else row for row in rows]

    edited.edit = one_trade_more
    for interval in ("1m", "1h", "5m"):
        await w.ask(KLINES, query(interval))
    for _ in range(3):
        await w.clock.sleep(3.0)
        assert not (await w.ask(KLINES, query("1h"))).derived
        assert (await w.ask(KLINES, query("5m"))).derived
    (ended,) = [event for event in w.events if isinstance(event, DerivationEnded)]
    assert (ended.series, ended.open_time_ms) == ("spot/klines/BTCUSDT/1h", changed_ms)
    assert DerivationAttempted("spot", DerivationResult.MISMATCH) in w.events


@pytest.mark.virtual
async def test_a_closed_gate_leaves_the_last_derived_candle_marked() -> None:
    w = await warm("1m", "1h")
    await w.clock.sleep(3.0)
    derived = await w.ask(KLINES, query("1h"))
    w.governor.close_gate(Family.SPOT, 90.0)
    await w.clock.sleep(3.0)
    marked = await w.ask(KLINES, query("1h"))
    assert marked.stale
    assert (marked.body, marked.as_of_ms) == (derived.body, derived.as_of_ms)


@pytest.mark.parametrize(
    ("path", "symbol"), [("/fapi/v1/klines", "symbol=BTCUSDT"), ("/dapi/v1/klines", "symbol=BTCUSD_PERP")]
)
@pytest.mark.virtual
async def test_futures(path: str, symbol: str) -> None:
    w = await ready(VirtualDaemon(), "BTCUSDT")
    asked = [f"{symbol}&interval={each}&limit=200" for each in ("1m", "5m", "1h")]
    derived = 0
    for _ in range(60):
        for each in asked:
            answer = await w.ask(path, each)
            derived += answer.derived
            assert answer.body == w.exchange.truth(path, each, {}, at_ms=answer.as_of_ms)
        await w.clock.sleep(2.7)
    assert derived > 80


def shown_by_a_lagging_server(w: VirtualDaemon, asked: RandomQuestion, answer: KlineAnswer, lag_ms: int) -> bool:
    """Return whether the as-of ends with a minute whose successor a lagging server did not show yet.

    Then the answer is newer than that server's at the same moment, and no newer than the exchange's.
    """
    newest = asked.query.replace("limit=500", "limit=1")
    lags = range(lag_ms + 1) if (answer.as_of_ms + 1) % MINUTE_MS == 0 else []
    rows = (w.exchange.truth(asked.path, newest, {}, at_ms=answer.as_of_ms, lag_ms=lag)[1:] for lag in lags)
    return any(answer.body.endswith(row) for row in rows)


async def history(seed: int) -> int:
    """Ask for series of one symbol at random moments; return how many answers were derived."""
    rng = random.Random(seed)
    w = VirtualDaemon(PLENTY, DaemonOptions(ttl_s=rng.choice([0.5, 2.0, None])))
    lags_ms = rng.choice([[0], [0, 4_000], [0, 1_500]])
    w.exchange.control.set_replicas(lags_ms, mode=rng.choice(["alternate", "random"]))
    off_ms = [0]
    if rng.random() < 0.5:  # a round trip of 50 ms, all of it in the reply: our clock of the exchange is 25 ms late
        w.exchange.control.latency(after_s=0.05)
        off_ms = [0, 24, 25, 26]
    oracle = KlineOracle(w.exchange, lags_ms, off_ms)
    path, symbol = rng.choice([(KLINES, "BTCUSDT"), (KLINES, "QUIETUSDT"), ("/fapi/v1/klines", "BTCUSDT")])
    derived = 0
    for _ in range(60):
        asked = RandomQuestion(path, f"symbol={symbol}&interval={rng.choice(INTERVALS[:5])}&limit=500")
        answer = await w.ask(path, asked.query)
        if answer.body not in oracle.truths(asked, answer.as_of_ms):
            assert answer.derived
            assert shown_by_a_lagging_server(w, asked, answer, max(lags_ms))
        oracle.goes_on(asked, answer)
        derived += answer.derived
        await w.clock.sleep(rng.choice([0.0, 0.05, 0.3, 1.0, 2.1, 5.0, 20.0]))
    return derived


@pytest.mark.untraced
@given(seed=st.integers(0, 2**32))
@examples(10, 300)
def test_any_history_of_one_symbol(seed: int) -> None:
    run(history(seed))


@pytest.mark.exhaustive
def test_histories_have_derived_candles() -> None:
    assert sum(run(history(seed)) for seed in range(8)) > 40


@pytest.mark.virtual
async def test_a_day_is_derived_once_the_minutes_reach_back_far_enough() -> None:
    w = await warm("1m", "1d")
    await w.clock.sleep(3.0)
    day = query("1d")
    soon = FreshnessDirectives(max_age_s=2.0)
    assert not (await w.ask(KLINES, day, directives=soon)).derived
    since_ms = FIRST_CLOSE_MS // DAY_MS * DAY_MS - DAY_MS
    for page in range(3):
        start = since_ms + page * 1_000 * MINUTE_MS
        await w.ask(KLINES, f"symbol=BTCUSDT&interval=1m&startTime={start}&limit=1000")
    await w.clock.sleep(3.0)
    answer = await w.ask(KLINES, day, directives=soon)
    assert answer.derived
    assert answer.body == w.exchange.truth(KLINES, day, {}, at_ms=answer.as_of_ms)
