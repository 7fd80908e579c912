"""Bans, firewalls, spent budgets and invalid bodies: what is sent, and what is answered (docs/design.md#cannot-ask)."""

import asyncio

import httpx
import pytest

from mdcache.cache.answers import Caller
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.errors import Busy, GateClosed, InvalidBody, NotCached, ServerFailed, UpstreamFailed, UpstreamUnavailable
from mdcache.events import BodyRejected, OddBody
from mdcache.sim import Outage, SimConfig, SymbolSpec
from mdcache.upstream.governor import GovernorSettings
from mdcache.upstream.priority import Lane
from tests.support.examples import long
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon, ready
from tests.support.virtual_time import EPOCH_MS

pytestmark = pytest.mark.virtual

SPOT, USDM = "/api/v3/klines", "/fapi/v1/klines"
TAIL = "symbol=BTCUSDT&interval=1h&limit=5"
OLD = "symbol=BTCUSDT&interval=1h&startTime=1700000000000&limit=100"
PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)


def sent_since(w: VirtualDaemon, ms: int) -> list[int]:
    return [entry.status for entry in w.exchange.log if entry.at_ms >= ms and entry.path.startswith("/api")]


@pytest.mark.exhaustive
async def test_a_ban_is_obeyed_to_its_end_then_one_probe_then_a_ramp() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    await w.ask(SPOT, TAIL)
    await w.ask(SPOT, OLD)
    await w.clock.sleep(3)
    w.exchange.control.ban("spot", 100)
    banned_at = w.clock.now()
    marked = await w.ask(SPOT, TAIL)  # it meets the refusal, and its tail is young enough
    assert (marked.stale, marked.as_of_ms < w.clock.true_ms() - 2_000) == (True, True)
    since = w.clock.true_ms() + 1
    with pytest.raises(GateClosed) as caught:
        await w.ask(SPOT, "symbol=ETHUSDT&interval=1h&limit=5")
    assert 90 < caught.value.retry_after_s <= 103
    while w.clock.now() - banned_at < 99:
        assert (await w.ask(SPOT, OLD)).rows == 100
        assert (await w.ask(USDM, "symbol=BTCUSDT&interval=1h&limit=5")).rows == 5
        if w.clock.now() - banned_at > 31:
            with pytest.raises(GateClosed):
                await w.ask(SPOT, TAIL)
        await w.clock.sleep(0.5)
    assert sent_since(w, since) == []
    w.exchange.control.latency(before_s=0.1)
    await w.clock.sleep(banned_at + 103.5 - w.clock.now())
    since = w.clock.true_ms()
    crowd = [asyncio.create_task(w.ask(SPOT, f"symbol={s}&interval=4h&limit=5")) for s in SYMBOLS]
    await w.clock.sleep(0.05)
    assert len(crowd) == 9
    answers = await asyncio.gather(*crowd, return_exceptions=True)
    assert sum(not isinstance(a, BaseException) for a in answers) == 1  # the probe; the others as with a shut gate
    assert sent_since(w, since) == [200]
    again = await asyncio.gather(*(w.ask(SPOT, f"symbol={s}&interval=4h&limit=5") for s in SYMBOLS))
    assert len(again) == 9
    assert set(sent_since(w, since)) == {200}


SYMBOLS = ["ETHUSDT", "BNBUSDT", "LTCUSDT", "ADAUSDT", "XRPUSDT", "EOSUSDT", "TRXUSDT", "LINKUSDT", "SOLUSDT"]


async def test_a_stale_tail_never_outlives_its_close_without_max_stale() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    query = "symbol=BTCUSDT&interval=1m&limit=2"
    now = w.clock.true_ms()
    await w.clock.sleep((60_000 - now % 60_000) / 1000 - 5)  # five seconds before a close
    first = await w.ask(SPOT, query)
    w.exchange.control.ban("spot", 100)
    await w.clock.sleep(4)
    older = await w.ask(SPOT, query)
    assert (older.stale, older.body) == (True, first.body)
    await w.clock.sleep(1.5)
    with pytest.raises(GateClosed):
        await w.ask(SPOT, query)
    willing = await w.ask(SPOT, query, directives=FreshnessDirectives(max_stale_s=60))
    assert (willing.stale, willing.body) == (True, first.body)
    with pytest.raises(UpstreamUnavailable):
        await w.ask(SPOT, query, directives=FreshnessDirectives(max_stale_s=60, min_as_of_ms=first.as_of_ms + 1))


@pytest.mark.exhaustive
async def test_firewall_pages_bring_growing_pauses() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    w.exchange.control.fault("403", probability=0.5, path="/api")
    since, end = w.clock.true_ms(), w.clock.now() + 600
    while w.clock.now() < end:
        try:
            await w.ask(SPOT, TAIL)
        except UpstreamUnavailable as refused:
            assert refused.retry_after_s >= 0  # noqa: PT017 - it may also answer
        await w.clock.sleep(0.25)
    assert 5 <= len(sent_since(w, since)) <= 25


async def test_a_429_is_waited_out() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    w.exchange.control.fault("429", count=1, path="/api", retry_after_s=20)
    with pytest.raises(GateClosed):
        await w.ask(SPOT, TAIL)
    since, start = w.clock.true_ms() + 1, w.clock.now()
    while w.clock.now() - start < 19.5:
        with pytest.raises(GateClosed):
            await w.ask(SPOT, TAIL)
        await w.clock.sleep(0.25)
    assert sent_since(w, since) == []
    await w.clock.sleep(5)
    assert (await w.ask(SPOT, TAIL)).rows == 5


@pytest.mark.exhaustive
@pytest.mark.untraced
@pytest.mark.parametrize("minutes", [2, *long(3)])
async def test_tenfold_demand_stays_in_the_share_and_uses_it(minutes: int) -> None:
    config = SimConfig(spot_limit=600)
    w = await ready(VirtualDaemon(config, DaemonOptions(limits=GovernorSettings(weight_share=0.5))))
    w.exchange.control.latency(before_s=0.02, after_s=0.02)
    await w.clock.sleep(60 - w.clock.true_ms() / 1000 % 60)
    start, asked, served = w.clock.true_ms(), 0, {Lane.HIGH: 0, Lane.LOW: 0}

    async def ask(symbol: str, interval: str, lane: Lane) -> None:
        try:
            answer = await w.ask(SPOT, f"symbol={symbol}&interval={interval}&limit=10", caller=Caller("c", lane))
        except Busy:
            return
        served[lane] += not answer.stale

    tasks = []
    while w.clock.true_ms() - start < minutes * 60_000:  # 9 x 5 series a second: 90 weight a second of 5
        for symbol in SYMBOLS:
            for interval in ("1m", "5m", "15m", "1h", "4h"):
                lane = Lane.HIGH if symbol < "C" else Lane.LOW
                tasks.append(asyncio.create_task(ask(symbol, interval, lane)))
                asked += 1
        await w.clock.sleep(1.0)
    await asyncio.gather(*tasks)
    by_minute: dict[int, int] = {}
    for entry in w.exchange.log:
        assert entry.status == 200
        if entry.at_ms >= start:
            by_minute[entry.at_ms // 60_000] = by_minute.get(entry.at_ms // 60_000, 0) + entry.weight
    whole = [weight for minute, weight in by_minute.items() if minute < start // 60_000 + minutes]
    assert max(by_minute.values()) <= 300
    assert min(whole) >= 180
    assert served[Lane.HIGH] > 0
    assert served[Lane.LOW] > 0


FAULTS = {
    "truncate": None,
    "html": "not-json",
    "object": "not-a-list",
    "columns": "columns",
    "numbers": "types",
    "nan": "prices",
    "crossed": "prices",
    "outside": "window",
    "disorder": "order",
    "doubled": "order",
    "empty": "empty",
    "interval": "interval",
    "garbage_gzip": "encoding",
    "huge": "too-large",
    "gzip_bomb": "too-large",
}


def test_the_simulator_knows_these_faults() -> None:
    from mdcache.sim import FAULT_KINDS

    assert set(FAULTS) | {"403", "429"} <= set(FAULT_KINDS), sorted(FAULT_KINDS)


@pytest.mark.parametrize("kind", sorted(FAULTS))
async def test_broken_bodies_are_neither_served_nor_stored(kind: str) -> None:
    w = await ready(VirtualDaemon(PLENTY))
    first = await w.ask(SPOT, TAIL)
    other = "symbol=ETHUSDT&interval=1h&startTime=1700000000000&endTime=1700100000000"
    await w.clock.sleep(2.5)
    w.exchange.control.fault(kind, path=SPOT, size=20_000_000)
    older = await w.ask(SPOT, TAIL)
    assert (older.stale, older.body) == (True, first.body)
    if kind != "empty":  # for rows that are not known, an empty list may be right
        with pytest.raises(UpstreamFailed):
            await w.ask(SPOT, other)
    w.exchange.control.clear_faults()
    await w.clock.sleep(1.5 if kind != "truncate" else 60)
    assert (await w.ask(SPOT, TAIL)).stale is False
    healed = await w.ask(SPOT, other)
    assert healed.body == w.exchange.truth(SPOT, other, at_ms=healed.as_of_ms)
    reasons = {event.reason for event in w.events if isinstance(event, BodyRejected)}
    expected = {FAULTS[kind]} if FAULTS[kind] else set()
    assert reasons - {"lagging"} == expected  # lagging: of a tail, all whose rows are older than ours


async def test_a_stray_row_from_long_ago_is_left_out_of_a_first_page() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    w.exchange.control.fault("outside", path=SPOT)
    answer = await w.ask(SPOT, "symbol=BTCUSDT&interval=1h&limit=1000")
    assert answer.body == w.exchange.truth(SPOT, "symbol=BTCUSDT&interval=1h&limit=1000", at_ms=answer.as_of_ms)
    assert all(series.coverage.at(w.clock.true_ms() - 900 * 86_400_000) is None for series in w.library)
    assert {event.oddity for event in w.events if isinstance(event, OddBody)} == {"gap"}


async def test_a_long_silence_that_is_real_is_read_and_accepted() -> None:
    day = 86_400_000
    now = EPOCH_MS
    gone = Outage(now - 400 * day, now - 100 * day)
    spec = SymbolSpec("spot", "BACKUSDT", now - 900 * day, outages=(gone,))
    w = VirtualDaemon(SimConfig(spot_limit=1_000_000, symbols=(spec,)))
    middle = now - 200 * day
    for asked in ("interval=1d&limit=1000", f"interval=1h&endTime={middle}&limit=10", "interval=1d&startTime=0"):
        query = f"symbol=BACKUSDT&{asked}"
        before = len(w.calls())
        answer = await w.ask(SPOT, query)
        assert answer.body == w.exchange.truth(SPOT, query, at_ms=answer.as_of_ms)
        assert len(w.calls()) - before <= 4


async def test_an_error_is_remembered_for_a_second_for_its_window_only() -> None:
    w = await ready(VirtualDaemon(PLENTY, DaemonOptions(limits=GovernorSettings(retry_attempts=1))))
    w.exchange.control.fault("500", path=SPOT, count=1)
    with pytest.raises(ServerFailed):
        await w.ask(SPOT, TAIL)
    before = len(w.calls())
    with pytest.raises(ServerFailed):
        await w.ask(SPOT, TAIL)
    assert len(w.calls()) == before
    assert (await w.ask(SPOT, "symbol=ETHUSDT&interval=1h&limit=5")).rows == 5
    await w.clock.sleep(1.1)
    assert (await w.ask(SPOT, TAIL)).rows == 5


async def test_only_if_cached_reads_nothing() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    before = len(w.calls())
    with pytest.raises(NotCached):
        await w.ask(SPOT, TAIL, directives=FreshnessDirectives(only_if_cached=True))
    assert len(w.calls()) == before
    await w.ask(SPOT, TAIL)
    assert (await w.ask(SPOT, TAIL, directives=FreshnessDirectives(only_if_cached=True))).rows == 5


async def test_an_empty_page_where_rows_are_known_is_broken() -> None:
    w = await ready(VirtualDaemon(PLENTY, DaemonOptions(max_stale_s=1)))
    await w.ask(SPOT, TAIL)
    await w.clock.sleep(5)
    w.exchange.control.fault("empty", path=SPOT)
    with pytest.raises(InvalidBody) as caught:
        await w.ask(SPOT, TAIL)
    assert caught.value.reason == "empty"


class _Aged(httpx.AsyncBaseTransport):
    """An upstream whose klines come out of a cache that keeps them longer than we do."""

    def __init__(self, inner: httpx.AsyncBaseTransport, age_s: int) -> None:
        self._inner = inner
        self.age_s = age_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if request.url.path == SPOT:
            response.headers["age"] = str(self.age_s)
        return response


async def test_a_reply_older_than_its_ttl_is_marked_and_not_read_in_a_loop() -> None:
    w = VirtualDaemon(PLENTY)
    w.transport = aged = _Aged(w.transport, 0)
    w.restart()
    await ready(w)
    for age_s, mark in ((1, False), (3, True), (10, True)):
        aged.age_s = age_s
        await w.clock.sleep(60)
        before = len(w.calls())
        answer = await w.ask(SPOT, TAIL)
        assert (answer.stale, w.clock.true_ms() - answer.as_of_ms) == (mark, age_s * 1000)
        assert len(w.calls()) - before == 1
    aged.age_s = 40
    await w.clock.sleep(60)
    with pytest.raises(InvalidBody, match="no-progress"):
        await w.ask(SPOT, TAIL)
