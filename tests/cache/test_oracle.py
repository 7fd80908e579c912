"""Random questions at random times through the whole data path, against the exchange's own truth.

The body is byte for byte what the exchange (or one of its replicas) would have sent for the same question at the
answer's as-of; asked again at once, it costs nothing; and no tail's as-of ever goes back.
"""

import random
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.exchange.fact_kinds import FactValue
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.profile import Profile
from mdcache.sim.played_facts import PlayedFacts
from mdcache.upstream.governor import GovernorSettings
from tests.support.examples import examples
from tests.support.kline_oracle import PLENTY, STEPS_S, KlineOracle
from tests.support.random_klines import draw
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon
from tests.support.virtual_time import run


def world(
    ttl_s: float = 2.0, memory_mb: float = 512.0, facts: Mapping[str, FactValue] = MappingProxyType({})
) -> VirtualDaemon:
    """An exchange that plays facts, and a daemon that knows them."""
    profile = Profile(1, "1.0", {}, facts)
    limits = GovernorSettings(weight_share=0.9)
    return VirtualDaemon(
        replace(PLENTY, facts=PlayedFacts(facts)),
        DaemonOptions(ttl_s=ttl_s, memory_mb=memory_mb, limits=limits, profile=profile),
    )


async def history(seed: int, steps: int, facts: Mapping[str, FactValue] = MappingProxyType({})) -> None:
    rng = random.Random(seed)
    w = world(rng.choice([0.5, 2.0, 10.0]), rng.choice([0.5, 512.0]), facts)
    lags_ms = rng.choice([[0], [0, 4_000], [0, 1_500]])
    w.exchange.control.set_replicas(lags_ms, mode=rng.choice(["alternate", "random"]))
    off_ms = [0]
    if rng.random() < 0.5:  # a round trip of 50 ms, all of it in the reply: our clock of the exchange is 25 ms late
        w.exchange.control.latency(after_s=0.05)
        off_ms = [0, 24, 25, 26]
    paths = rng.sample(sorted(KLINE_ENDPOINTS), 2)
    oracle = KlineOracle(w.exchange, lags_ms, off_ms)
    asked = draw(rng, w.clock.true_ms(), paths=paths)
    for _ in range(steps):
        if rng.random() < 0.7:
            asked = draw(rng, w.clock.true_ms(), paths=paths)
        answer = await oracle.ask(w, asked)
        if not answer.settled:
            oracle.goes_on(asked, answer)
        before = len(w.calls())
        await oracle.ask(w, asked)
        if w.options.memory_mb > 1:
            assert len(w.calls()) == before, (asked, w.calls(before))
        await w.clock.sleep(rng.choice(STEPS_S))
        if rng.random() < 0.05:
            await w.aclose()
            w.restart()
            oracle.shown.clear()
    await w.aclose()


@pytest.mark.untraced
@given(seed=st.integers(0, 2**32))
@examples(15, 500)
def test_any_history(seed: int) -> None:
    run(history(seed, 12))


OTHERWISE = {
    f"{market}.{name}": value
    for market in Market
    for name, value in (
        ("klines_cap", 500), ("zero_trade_rows", False), ("untraded_symbol_rows", "go_on"), ("final_row_lag_ms", 5_000),
    )
}  # fmt: skip


@pytest.mark.untraced
@given(seed=st.integers(0, 2**32))
@examples(6, 200)
def test_any_history_of_an_exchange_that_is_not_as_assumed_but_measured(seed: int) -> None:
    run(history(seed, 12, OTHERWISE))
