"""Handshakes of streams before the simulated exchange: paths, refusals, and the gate."""

import itertools

import pytest

from mdcache.exchange.markets import Family, Market
from mdcache.sim.api.replies import ExchangeReply
from mdcache.sim.streams.session import StreamSession
from mdcache.stream_events import StreamRefused
from tests.upstream.streams.world import BTC, StreamWorld

pytestmark = pytest.mark.virtual

PERPETUALS = ("btcusd_perp@kline_1m", "ethusd_perp@kline_1m")


async def test_coinm_finds_the_path_that_brings_candles_and_remembers_it() -> None:
    world = StreamWorld()
    world.control.stream_fault("silent", path="/coinm/stream", topic="@kline")
    world.subscribe(*PERPETUALS, market=Market.COINM)
    await world.wait(40)
    assert world.consumer.since(0, Market.COINM, *PERPETUALS) != [float("inf")] * 2
    assert world.status(Market.COINM).path == "/market/stream"
    world.net.pull_the_cable()
    await world.wait(15)
    world.net.unplugged = False
    await world.wait(15)
    assert world.net.attempts[-1][1] == "ws://sim.test/coinm/market/stream"
    assert len(world.net.open) == 1


async def test_a_path_that_does_not_exist_gives_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = StreamWorld()
    real = world.exchange.open_stream

    def has_one_path(path: str, query: str, client: str = "") -> StreamSession | ExchangeReply:
        return real("/none" if path == "/coinm/stream" else path, query, client)

    monkeypatch.setattr(world.exchange, "open_stream", has_one_path)
    world.subscribe(*PERPETUALS, market=Market.COINM)
    await world.wait(6)
    assert world.consumer.since(0, Market.COINM, *PERPETUALS) != [float("inf")] * 2


@pytest.mark.exhaustive
async def test_while_the_gate_is_closed_nothing_is_sent() -> None:
    world = StreamWorld()
    world.governor.close_gate(Family.SPOT, 300)
    world.subscribe(BTC)
    world.subscribe(BTC, market=Market.USDM)
    await world.wait(200)
    assert [url for _, url in world.net.attempts] == ["ws://sim.test/usdm/market/stream"]
    world.governor.open_gate(Family.SPOT)
    await world.wait(4)
    assert world.consumer.accepted[Market.SPOT, BTC]


@pytest.mark.parametrize(("kind", "waits_s"), [("403", 0.4), ("418", 30), ("429", 30)])
async def test_a_handshake_refused_for_the_address_closes_the_gate(kind: str, waits_s: float) -> None:
    world = StreamWorld()
    world.control.fault(kind, path="/stream", count=1, retry_after_s=None if kind == "403" else 30)
    world.subscribe(BTC)
    await world.wait(0.01)
    status = next(one for one in world.governor.status() if one.family == "spot")
    assert (status.gate_state, status.gate_reason) == ("closed", kind)
    assert status.reopens_in_s >= waits_s
    assert status.used == 0
    (event,) = world.matching(StreamRefused)
    assert (event.status, event.closed_gate) == (int(kind), True)
    futures = next(one for one in world.governor.status() if one.family == "futures")
    assert futures.gate_state == "open"


async def test_a_ban_that_stands_only_in_the_body_is_kept() -> None:
    world = StreamWorld()
    world.control.ban("spot", 200, retry_after=False)
    world.subscribe(BTC)
    await world.wait(1)
    status = next(one for one in world.governor.status() if one.family == "spot")
    assert status.reopens_in_s >= 198
    await world.wait(150)
    assert len(world.net.attempts) == 1


@pytest.mark.parametrize("kind", ["403", "429"])
async def test_streams_that_a_firewall_refuses_for_an_hour_do_not_close_the_way_for_reads(kind: str) -> None:
    world = StreamWorld()
    await world.governor.start()
    world.control.fault(kind, path="/stream")
    world.subscribe(BTC)
    await world.wait(120)
    for _ in range(3_600):
        await world.wait(1)
        assert next(one for one in world.governor.status() if one.family == "spot").gate_state in {"ramp", "open"}
    refused = world.matching(StreamRefused)
    assert sum(event.closed_gate for event in refused) == 1
    assert len(refused) <= 200
    world.control.clear_faults()
    await world.wait(70)
    assert world.consumer.accepted[Market.SPOT, BTC]
    world.control.fault(kind, path="/stream")  # another day, another refusal
    world.control.close_streams()
    await world.wait(12)
    assert sum(event.closed_gate for event in world.matching(StreamRefused)) == 2


@pytest.mark.parametrize("kind", ["429", "418"])
async def test_no_handshake_is_sent_before_a_refusal_said_so_however_often_it_comes(kind: str) -> None:
    world = StreamWorld()
    await world.governor.start()
    world.control.fault(kind, path="/stream", retry_after_s=70)
    world.subscribe(BTC)
    await world.wait(240)
    times = [at_s for at_s, _ in world.net.attempts]
    assert len(times) >= 3  # and it is tried again soon after
    assert min(later - sooner for sooner, later in itertools.pairwise(times)) >= 70
    closures = sum(event.closed_gate for event in world.matching(StreamRefused))
    assert closures == (1 if kind == "429" else len(times))  # a limit of connects is no reason to stop reads
    world.control.clear_faults()
    while not world.consumer.accepted[Market.SPOT, BTC]:
        assert world.clock.now() - times[-1] < 350
        await world.wait(5)


@pytest.mark.parametrize("kind", ["451", "500", "503", "timeout", "drop"])
async def test_other_failures_of_handshakes_leave_the_gate_open(kind: str) -> None:
    world = StreamWorld()
    world.control.fault(kind, path="/stream")
    world.subscribe(BTC)
    await world.wait(30)
    status = next(one for one in world.governor.status() if one.family == "spot")
    assert status.gate_state == "open"
    assert 3 <= len(world.net.attempts) <= 10
    assert world.status().last_error
