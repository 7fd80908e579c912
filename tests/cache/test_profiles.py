"""A daemon with a profile, before an exchange that plays the same profile (docs/design.md#exchange-profile)."""

import asyncio
from dataclasses import replace

import pytest

from mdcache.errors import Refusal
from mdcache.events import OddBody, RowRevised, UpstreamCalled
from mdcache.exchange.fact_kinds import FactValue
from mdcache.exchange.markets import Market
from mdcache.exchange.profile import Profile
from mdcache.sim.played_facts import PlayedFacts
from tests.support.relay_listener import FakeListener
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon, few_symbols, ready, rows

pytestmark = pytest.mark.virtual

SPOT, USDM, COINM = "/api/v3/klines", "/fapi/v1/klines", "/dapi/v1/klines"
WORLD = few_symbols("BTCUSDT", "ETHUSDT", "BTCUSD_PERP")
MINUTE = 60_000


async def world(facts: dict[str, FactValue], *, known: bool, streams: bool = False) -> VirtualDaemon:
    """An exchange that plays the facts, and a daemon that knows them or not."""
    profile = Profile(1, "1.0", {}, facts) if known else None
    options = DaemonOptions(streams=streams, profile=profile)
    return await ready(VirtualDaemon(replace(WORLD, facts=PlayedFacts(facts)), options))


async def at_second(w: VirtualDaemon, second: float) -> None:
    """Wait for so many seconds after the next close of a minute."""
    await w.clock.sleep(60 + second - w.clock.true_ms() % MINUTE / 1000)


@pytest.mark.parametrize(("known", "revisions"), [(True, 0), (False, 1)])
async def test_rows_that_are_final_five_seconds_late_are_no_revisions(known: bool, revisions: int) -> None:
    w = await world({"spot.final_row_lag_ms": 5_000}, known=known)
    await at_second(w, 3.5)
    first = rows(await w.ask(SPOT, "symbol=BTCUSDT&interval=1m&limit=3"))
    await w.clock.sleep(3)
    again = rows(await w.ask(SPOT, "symbol=BTCUSDT&interval=1m&limit=3"))
    assert first[1][0] == again[1][0]
    assert first[1] != again[1]
    assert w.event_count(RowRevised) == revisions
    closed = w.clock.true_ms() // MINUTE * MINUTE
    answer = rows(await w.ask(SPOT, f"symbol=BTCUSDT&interval=1m&endTime={closed - 1}&limit=1"))
    assert answer[0] == again[1]


@pytest.mark.parametrize(("known", "reads"), [(True, 0), (False, 1)])
async def test_where_final_frames_come_at_once_a_close_costs_no_read(known: bool, reads: int) -> None:
    w = await world({"usdm.final_frame_lag_ms": 100}, known=known, streams=True)
    question = "symbol=BTCUSDT&interval=1m&limit=3"
    for _ in range(4):
        await w.ask(USDM, question)
        await w.clock.sleep(2)
    await at_second(w, -1.5)
    await w.ask(USDM, question)
    before = len(w.calls())
    await at_second(w, 0.02)
    shown = rows(await w.ask(USDM, question))
    assert len(w.calls()) - before == reads
    await w.clock.sleep(3)
    final = rows(await w.ask(USDM, question))
    assert final[-2] in shown
    assert len(w.calls()) - before == reads


@pytest.mark.parametrize("known", [True, False])
async def test_final_frames_that_are_always_late_are_waited_for_and_not_mended(known: bool) -> None:
    w = await world({"usdm.final_frame_lag_ms": 5_000}, known=known, streams=True)
    assert w.cache.relay is not None
    listener = FakeListener(w.cache.relay, Market.USDM, "btcusdt@kline_1m")
    before = len(w.calls())
    await w.clock.sleep(200)
    assert sum(b'"x":true' in data for data in listener.of("btcusdt@kline_1m")) == 3
    assert (len(w.calls()) == before) is known


@pytest.mark.parametrize(("known", "calls"), [(True, 3), (False, 4)])
async def test_pages_are_planned_by_a_measured_cap(known: bool, calls: int) -> None:
    w = await world({"spot.klines_cap": 500}, known=known)
    before = len(w.calls())
    answer = await w.ask(SPOT, "symbol=BTCUSDT&interval=1m&limit=1000")
    found = w.calls(before)
    assert answer.rows == 1_000
    assert len(found) == calls
    assert all(call.endswith("limit=500") for call in found) is known


def limits(calls: list[str]) -> list[int]:
    return [int(call.rpartition("limit=")[2]) for call in calls if "klines" in call]


@pytest.mark.parametrize(("market", "path", "symbol"), [("usdm", USDM, "BTCUSDT"), ("coinm", COINM, "BTCUSD_PERP")])
async def test_a_cap_that_was_lowered_without_notice_is_learnt(market: str, path: str, symbol: str) -> None:
    w = await world({f"{market}.klines_cap": 600}, known=False)
    question = f"symbol={symbol}&interval=1m&limit=1500"
    before = len(w.calls())
    both = await asyncio.gather(w.ask(path, question), w.ask(path, question.replace("1m", "5m")))
    assert [answer.rows for answer in both] == [1_500] * 2
    found = limits(w.calls(before))
    assert sorted(each for each in found if each > 600) == [750, 750, 1_500, 1_500]
    assert len(found) <= 4 + 2 * 5
    assert {(event.path, event.oddity) for event in w.events if isinstance(event, OddBody)} == {(path, "lower-cap")}
    before = len(w.calls())
    assert (await w.ask(path, question.replace("1m", "15m"))).rows == 1_500
    assert max(limits(w.calls(before))) == 375
    with pytest.raises(Refusal):
        await w.ask(path, question.replace("1500", "1501"))  # as ever: what clients may ask is as documented


async def test_what_is_refused_for_another_reason_is_passed_on_soon() -> None:
    w = await world({"usdm.klines_cap": 60}, known=False)
    before = len(w.calls())
    with pytest.raises(Refusal, match="-1130"):
        await w.ask(USDM, "symbol=BTCUSDT&interval=1m&limit=1500")
    assert limits(w.calls(before)) == [1_500, 750, 375, 187, 100]
    before = len(w.calls())
    with pytest.raises(Refusal, match="-1130"):
        await w.ask(USDM, "symbol=ETHUSDT&interval=1m&limit=1500")
    assert limits(w.calls(before))[0] == 1_500  # nothing was learnt


@pytest.mark.parametrize("known", [True, False])
async def test_what_reads_really_weigh_is_reserved(known: bool) -> None:
    w = await world({"usdm.klines_weights": {"99": 2, "499": 4, "1000": 10, "1500": 20}}, known=known)
    w.exchange.control.weight_header(absent=True, family="futures")
    charged, reserved = len(w.exchange.log), len(w.events)
    await w.ask(USDM, "symbol=BTCUSDT&interval=1m&limit=1500")
    await w.ask(USDM, "symbol=ETHUSDT&interval=1m&limit=50")
    weights = [event.weight for event in w.events[reserved:] if isinstance(event, UpstreamCalled)]
    assert (sum(weights) == sum(entry.weight for entry in list(w.exchange.log)[charged:])) is known


@pytest.mark.parametrize(("known", "reads"), [(True, True), (False, False)])
async def test_frames_that_are_not_rests_rows_are_not_shown(known: bool, reads: bool) -> None:
    w = await world({"spot.frames_equal_rows": False}, known=known, streams=True)
    for _ in range(4):
        await w.ask(SPOT, "symbol=BTCUSDT&interval=1m&limit=3")
        await w.clock.sleep(4)
    before = len(w.calls())
    await w.ask(SPOT, "symbol=BTCUSDT&interval=1m&limit=3")
    assert bool(len(w.calls()) - before) is reads
