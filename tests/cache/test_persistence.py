"""Settled rows outlive the process: after a restart no byte differs, and nothing settled is read again."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.upstream.governor import GovernorSettings
from tests.support.examples import examples
from tests.support.kline_oracle import PLENTY, STEPS_S, KlineOracle
from tests.support.random_klines import draw
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon
from tests.support.virtual_time import run

pytestmark = pytest.mark.virtual

SPOT = "/api/v3/klines"
MINUTE, DAY = 60_000, 86_400_000
BIG = [(SPOT, "BTCUSDT", 1000), ("/fapi/v1/klines", "BTCUSDT", 1500), ("/dapi/v1/klines", "BTCUSD_PERP", 1500)]


def world(folder: Path, **options: Any) -> VirtualDaemon:
    return VirtualDaemon(PLENTY, DaemonOptions(limits=GovernorSettings(weight_share=0.9), **options), folder)


async def again(w: VirtualDaemon, *, orderly: bool) -> None:
    """Start a new process; if the old one is killed, wait a second for its last changes first."""
    if orderly:
        await w.aclose()
    else:
        await w.clock.sleep(1.0)
        await w.kill()
    w.restart()


@pytest.mark.parametrize("orderly", [True, False])
@pytest.mark.parametrize(("path", "symbol", "page"), BIG)
async def test_a_restart_costs_the_tail_alone(tmp_path: Path, path: str, symbol: str, page: int, orderly: bool) -> None:
    w = world(tmp_path)
    query = f"symbol={symbol}&interval=1m&limit=500"
    now = w.clock.true_ms()
    old = f"symbol={symbol}&interval=1m&startTime={now - 9 * DAY}&endTime={now - 8 * DAY}&limit={page}"
    await w.ask(path, query)
    before = await w.ask(path, old)
    await again(w, orderly=orderly)
    since = len(w.calls())
    answer = await w.ask(path, query)
    assert answer.body == w.exchange.truth(path, query, at_ms=answer.as_of_ms)
    (call,) = w.calls(since)
    assert "startTime" not in call
    assert "endTime" not in call
    assert (await w.ask(path, old)).body == before.body
    assert len(w.calls(since)) == 1


async def test_stored_futures_rows_make_the_first_tail_cheap(tmp_path: Path) -> None:
    w = world(tmp_path)
    query = "symbol=BTCUSDT&interval=1m&limit=1500"
    await w.ask("/fapi/v1/klines", query)
    await again(w, orderly=True)
    since = len(w.calls())
    answer = await w.ask("/fapi/v1/klines", query)
    assert answer.rows == 1500
    assert [int(call.split("limit=")[1]) for call in w.calls(since)] == [99]


@pytest.mark.exhaustive
async def test_evicted_blocks_come_back_from_the_disk(tmp_path: Path) -> None:
    w = world(tmp_path, memory_mb=1.0)
    now = w.clock.true_ms()
    pages = [f"symbol=BTCUSDT&interval=1m&startTime={now - n * 1000 * MINUTE}&limit=1000" for n in range(30, 2, -1)]
    first = [(await w.ask(SPOT, page)).body for page in pages]
    assert w.library.memory.held_bytes <= 1_000_000
    since = len(w.calls())
    assert [(await w.ask(SPOT, page)).body for page in pages] == first
    assert w.calls(since) == []


async def test_a_purge_deletes_stored_rows(tmp_path: Path) -> None:
    from mdcache.candles.persistence import SeriesFilter

    w = world(tmp_path)
    now = w.clock.true_ms()
    queries = [f"symbol={s}&interval=1h&startTime={now - 90 * DAY}&limit=10" for s in ("BTCUSDT", "ETHUSDT")]
    for query in queries:
        await w.ask(SPOT, query)
    await again(w, orderly=True)
    assert await w.library.persistence.purge(SeriesFilter(subject="ETHUSDT")) == 1
    await again(w, orderly=False)
    since = len(w.calls())
    for query in queries:
        await w.ask(SPOT, query)
    assert [call.split("symbol=")[1][:7] for call in w.calls(since)] == ["ETHUSDT"]


async def test_rows_of_another_upstream_are_not_served(tmp_path: Path) -> None:
    w = world(tmp_path)
    query = f"symbol=BTCUSDT&interval=1h&startTime={w.clock.true_ms() - 90 * DAY}&limit=10"
    await w.ask(SPOT, query)
    w.options.origin = "http://testnet.test"
    await again(w, orderly=True)
    since = len(w.calls())
    await w.ask(SPOT, query)
    assert len(w.calls(since)) == 1
    w.options.origin = "http://exchange.test"
    await again(w, orderly=True)
    since = len(w.calls())
    await w.ask(SPOT, query)
    assert w.calls(since) == []


async def test_a_revision_replaces_stored_rows(tmp_path: Path) -> None:
    w = world(tmp_path)
    query = "symbol=BTCUSDT&interval=1m&limit=100"
    first = await w.ask(SPOT, query)
    await w.clock.sleep(5.0)
    opened = (w.clock.true_ms() // MINUTE - 5) * MINUTE
    w.exchange.control.revise(SPOT, "BTCUSDT", "1m", opened, volume="1.5", trades=2)
    second = await w.ask(SPOT, query)
    assert second.body != first.body
    await again(w, orderly=False)
    span = f"symbol=BTCUSDT&interval=1m&startTime={opened}&endTime={opened}"
    since = len(w.calls())
    answer = await w.ask(SPOT, span)
    assert answer.body == w.exchange.truth(SPOT, span, at_ms=answer.as_of_ms)
    assert w.calls(since) == []


async def history(folder: Path, seed: int, steps: int) -> None:
    """The oracle of test_oracle.py, with processes that end in every way and a disk that stays."""
    rng = random.Random(seed)
    w = world(
        folder,
        ttl_s=rng.choice([0.5, 2.0, 10.0]),
        memory_mb=rng.choice([0.3, 0.5, 512.0]),
        disk_bytes=rng.choice([300_000, 1 << 30, 1 << 30]),
    )
    lags_ms = rng.choice([[0], [0, 4_000], [0, 1_500]])
    w.exchange.control.set_replicas(lags_ms, mode=rng.choice(["alternate", "random"]))
    paths = rng.sample(sorted(KLINE_ENDPOINTS), 2)
    oracle = KlineOracle(w.exchange, lags_ms)
    asked = draw(rng, w.clock.true_ms(), paths=paths)
    for _ in range(steps):
        if rng.random() < 0.7:
            asked = draw(rng, w.clock.true_ms(), paths=paths, limit=rng.choice([60, 1000]))
        answer = await oracle.ask(w, asked)
        if not answer.settled:
            oracle.goes_on(asked, answer)
        await w.clock.sleep(rng.choice(STEPS_S))
        dice = rng.random()
        if dice < 0.3:
            await again(w, orderly=dice < 0.1)
            oracle.shown.clear()
            if answer.settled and w.options.disk_bytes > 1_000_000:
                before = len(w.calls())
                once_more = await oracle.ask(w, asked)
                if once_more.settled and not any(True for s in w.library for _ in s.empty_ranges):
                    assert len(w.calls()) == before, (asked, w.calls(before))
        elif dice < 0.35:
            await w.kill()  # in the middle of whatever it does
            w.restart()
            oracle.shown.clear()
    assert not w.state.troubles
    await w.aclose()


@pytest.mark.exhaustive
@pytest.mark.untraced
@given(seed=st.integers(0, 2**32))
@examples(6, 200)
def test_any_history_with_a_disk(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    run(history(tmp_path_factory.mktemp("disk"), seed, 14))


@pytest.mark.untraced
@given(seed=st.integers(0, 2**32))
@examples(5, 200)
def test_parts_of_one_block_read_apart_are_all_stored(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Short ranges with gaps between them, each perhaps read by another process, or by one that had to make room."""

    async def main() -> None:
        rng = random.Random(seed)
        w = world(tmp_path_factory.mktemp("state"), memory_mb=rng.choice([0.01, 512.0]))
        end = (w.clock.true_ms() - DAY) // MINUTE * MINUTE
        shown: list[str] = []
        for _ in range(8):
            start, count = end - rng.randrange(2_000) * MINUTE, rng.choice([1, 1, 3, 40])
            shown.append(f"symbol=BTCUSDT&interval=1m&startTime={start}&endTime={start + (count - 1) * MINUTE}")
            await w.ask(SPOT, shown[-1])
            if rng.random() < 0.4:
                await again(w, orderly=rng.random() < 0.5)
        await again(w, orderly=False)
        since = len(w.calls())
        for query in shown:
            assert (await w.ask(SPOT, query)).body == w.exchange.truth(SPOT, query, at_ms=w.clock.true_ms())
        assert w.calls(since) == []

    run(main())
