"""The governor over a fake exchange, in virtual time: gate, budget, lanes, retries, cancellation."""

import asyncio
import math
import random
from collections.abc import Callable

import httpx
import pytest
import respx

from mdcache.clock import Instant
from mdcache.errors import (
    BudgetSpent,
    DeadlinePassed,
    GateClosed,
    InvalidBody,
    LaneFull,
    Refusal,
    ServerFailed,
    TransportFailed,
    UpstreamUnavailable,
)
from mdcache.events import BodyRejected, BudgetShort, GateChanged, QueueWaited, Retried, UpstreamCalled
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.rate_limits import FUNDING
from mdcache.upstream import queue
from mdcache.upstream.governor import GovernorSettings
from mdcache.upstream.priority import Lane
from tests.support.examples import exhaustive
from tests.support.fake_exchange import (
    Answer,
    FakeExchange,
    GovernedExchange,
    Pieces,
    always,
    fake_read,
    governed,
    refuse,
    zipped,
)

pytestmark = pytest.mark.virtual

BANNED = b'{"code":-1003,"msg":"Way too many requests; IP(1.2.3.4) banned until %d."}'


def first(count: int, make_response: Callable[[], httpx.Response]) -> Answer:
    left = [count]

    def answer(exchange: FakeExchange, request: httpx.Request) -> httpx.Response | None:
        left[0] -= 1
        return make_response() if left[0] >= 0 else None

    return answer


async def outcomes(world: GovernedExchange, count: int, **more: object) -> list[object]:
    reads = (world.governor.fetch(fake_read(**more)) for _ in range(count))  # type: ignore[arg-type]
    return await asyncio.gather(*reads, return_exceptions=True)


# ------------------------------------------------------------------------------------------ an answer


async def test_an_answer_and_its_event() -> None:
    world = await governed(trip_s=0.1, fault=always(lambda: zipped(b'[[1,"2"]]')))
    before = world.exchange.now_ms()
    reply = await world.governor.fetch(fake_read(Lane.HIGH, cost=2, market=Market.USDM))
    assert reply.body == b'[[1,"2"]]'
    assert abs(reply.sent.ms - before) <= reply.sent.error_ms
    assert reply.received.ms - reply.sent.ms == 100
    assert reply.may_settle
    assert reply.round_trip_s == pytest.approx(0.1)
    [called] = world.events_of(UpstreamCalled)
    assert (called.market, called.endpoint, called.reason, called.lane) == ("usdm", "klines", "refresh", "high")
    assert (called.path, called.status, called.fault, called.weight) == ("/fapi/v1/klines", 200, "", 2)
    assert (called.body_bytes, called.rows, called.seconds) == (9, 1, pytest.approx(0.1))
    assert [event.lane for event in world.events_of(QueueWaited)] == ["high"]
    assert world.exchange.seen[0].path == "/base/fapi/v1/klines"
    minute = before // 60_000
    assert world.governor.reported_usage(Market.COINM) == world.governor.reported_usage(Market.USDM) == (minute, 8)
    assert world.governor.reported_usage(Market.SPOT) == (minute, None)  # its only reads were of an unmeasured clock
    await asyncio.sleep(60)
    assert world.governor.reported_usage(Market.USDM) == (minute + 1, None)


async def test_binance_refuses_the_question() -> None:
    world = await governed(fault=always(lambda: refuse(400, b'{"code":-1121,"msg":"Invalid symbol."}')))
    for _ in range(7):
        with pytest.raises(Refusal) as caught:
            await world.governor.fetch(fake_read())
        assert (caught.value.status, caught.value.code, caught.value.msg) == (400, -1121, "Invalid symbol.")
    assert len(world.exchange.seen) == 7
    assert world.gate() == "open"


@pytest.mark.parametrize(
    "body", [b"", b"<html>nothing here</html>", b'{"timestamp":1,"status":404,"error":"Not Found"}']
)
@pytest.mark.parametrize("status", [400, 404, 405, 410])
async def test_a_4xx_without_a_reason_is_passed_on_and_closes_nothing(status: int, body: bytes) -> None:
    world = await governed(fault=always(lambda: refuse(status, body)))
    for _ in range(20):
        with pytest.raises(Refusal) as caught:
            await world.governor.fetch(fake_read())
        assert (caught.value.status, caught.value.code) == (status, -1000)
    assert len(world.exchange.seen) == 20
    assert world.gate() == "open"


async def test_a_4xx_between_failures_is_an_answer() -> None:
    """What answers is not silent, so the row of failures ends; five without anything between still close."""
    replies = [502] * 4 + [404] + [502] * 4
    world = await governed(limits=GovernorSettings(retry_attempts=1))
    world.exchange.fault = lambda *_: refuse(replies.pop(0))
    for _ in range(9):
        await outcomes(world, 1)
        assert world.gate() == "open"


# ---------------------------------------------------------------------------------------------- gate


async def test_a_ban_whose_body_says_how_long_is_one_closure() -> None:
    world = await governed(trip_s=0.2)
    until = world.exchange.now_ms() + 180_000
    world.exchange.fault = first(1, lambda: refuse(418, BANNED % until))
    await outcomes(world, 1)
    closed, extended = world.events_of(GateChanged)
    assert (closed.state, closed.reason, closed.extended) == ("closed", "418", False)
    assert (extended.state, extended.reason, extended.extended) == ("closed", "418", True)
    assert extended.reopens_in_s == pytest.approx(182, abs=1)


@pytest.mark.parametrize("market", list(Market))
async def test_a_ban_stops_all_then_one_probe_then_a_ramp(market: Market) -> None:
    world = await governed(trip_s=0.2)
    until = world.exchange.now_ms() + 180_000
    world.exchange.fault = first(1, lambda: refuse(418, BANNED % until))
    results = await outcomes(world, 50, market=market)
    refused = [each for each in results if isinstance(each, GateClosed)]
    assert len(refused) + sum(not isinstance(each, Exception) for each in results) == 50
    assert len(world.exchange.seen) <= 8
    assert len(refused) >= 42
    assert any(each.retry_after_s == pytest.approx(182, abs=1) for each in refused)
    assert "418" in refused[-1].cause
    world.exchange.seen.clear()
    while world.exchange.now_ms() < until + 1_000:
        late = await outcomes(world, 2, market=market)
        assert all(isinstance(each, GateClosed) for each in late)
        await asyncio.sleep(5)
    assert world.exchange.seen == []
    await asyncio.sleep(4)
    probe = asyncio.create_task(outcomes(world, 50, market=market))
    await asyncio.sleep(0.19)
    assert len(world.exchange.seen) == 1
    assert world.gate(market.family) == "probing"
    assert sum(isinstance(each, GateClosed) for each in await probe) == 49
    world.exchange.most_flying = 0
    ramp = asyncio.create_task(outcomes(world, 50, market=market))
    counts = []
    for _ in range(5):
        await asyncio.sleep(0.199)
        counts.append(world.exchange.flying)
    await ramp
    assert counts[:4] == [1, 2, 4, 8]
    assert world.gate(market.family) == "open"
    moves = [event.state for event in world.events_of(GateChanged)]
    assert [state for state, last in zip(moves, ["", *moves], strict=False) if state != last] == [
        "closed", "probing", "ramp", "open",
    ]  # fmt: skip


async def test_the_other_family_goes_on() -> None:
    world = await governed(fault=first(1, lambda: refuse(429, b"{}", retry_after="30")))
    with pytest.raises(GateClosed) as caught:
        await world.governor.fetch(fake_read(market=Market.COINM))
    assert caught.value.retry_after_s == pytest.approx(31, abs=0.2)
    with pytest.raises(GateClosed):
        await world.governor.fetch(fake_read(market=Market.USDM))
    await world.governor.fetch(fake_read(market=Market.SPOT))
    assert world.governor.refusal_now(Market.SPOT, Lane.HIGH, 2) is None
    assert isinstance(world.governor.refusal_now(Market.USDM, Lane.HIGH, 2), GateClosed)


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait_s"),
    [
        (429, {"retry-after": "10"}, b"", 11),
        (429, {"retry-after": "-10"}, b"", None),
        (429, {"retry-after": "99999999"}, b"", 300),
        (429, {}, b"", None),
        (418, {"retry-after": "720"}, b"", 722),
        (418, {}, b"", 120),
        (418, {"retry-after": "Wed, 21 Oct 2037 07:28:00 GMT"}, b"", 3 * 86_400),
        (418, {"retry-after": "Wed, 21 Oct 2020 07:28:00 GMT"}, b"", 120),
        (403, {"retry-after": "900"}, b"<html>blocked</html>", 902),
        (503, {"retry-after": "30"}, b'{"code":-1008,"msg":"Server is currently overloaded."}', 31),
        (503, {"retry-after": "30"}, b"", 31),
        (418, {"retry-after": "999999999999"}, b"", 3 * 86_400),
        (418, {}, BANNED % 1, 120),
        (403, {}, b"<html>blocked</html>", 1),
        (451, {}, b'{"code":0,"msg":"restricted"}', 3_600),
    ],
)
async def test_how_long_each_refusal_closes(
    status: int, headers: dict[str, str], body: bytes, wait_s: int | None
) -> None:
    world = await governed(fault=first(1, lambda: httpx.Response(status, headers=headers, content=body)))
    with pytest.raises(GateClosed) as caught:
        await world.governor.fetch(fake_read(within_s=8))
    assert str(status) in caught.value.cause
    expected = wait_s if wait_s is not None else 61 - world.exchange.now_ms() % 60_000 / 1000
    low = 0.5 * expected if status == 403 else expected
    assert low - 0.2 <= caught.value.retry_after_s <= expected + 0.2
    assert len(world.exchange.seen) == 1
    assert world.events_of(Retried) == []


@pytest.mark.parametrize("status", [200, 400, 403, 404, 418, 429, 500, 503])
@pytest.mark.parametrize("synced", [True, False])
async def test_a_ban_stated_by_a_text_is_obeyed_with_any_status(status: int, *, synced: bool) -> None:
    world = await governed(synced=synced)
    body = BANNED % (world.exchange.now_ms() + 300_000)
    world.exchange.fault = always(lambda: refuse(status, body))
    with pytest.raises(GateClosed) as caught:
        await world.governor.fetch(fake_read(within_s=8))
    assert caught.value.retry_after_s == pytest.approx(302, abs=1)
    assert "banned" in caught.value.cause
    for _ in range(20):
        await asyncio.sleep(14)
        assert all(isinstance(each, GateClosed) for each in await outcomes(world, 3))
    assert len(world.exchange.seen) == 1
    world.exchange.fault = None
    await asyncio.sleep(25)
    assert (await world.governor.fetch(fake_read())).body


@pytest.mark.parametrize(
    "body",
    [
        b"<HTML>The Amazon CloudFront distribution is configured to block access from your country.</HTML>",
        b'{"code":0,"msg":"Service unavailable from a restricted location according to \'b. Eligibility\'."}',
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403, 451])
async def test_a_country_block_is_asked_again_hourly_and_named(status: int, body: bytes) -> None:
    world = await governed(fault=always(lambda: refuse(status, body)))
    with pytest.raises(GateClosed) as caught:
        await world.governor.fetch(fake_read(within_s=8))
    assert caught.value.retry_after_s == pytest.approx(3_600, abs=1)
    assert "location" in caught.value.cause
    assert world.governor.status()[0].gate_reason == "451"
    await outcomes(world, 5)
    assert len(world.exchange.seen) == 1


@pytest.mark.parametrize(
    ("headers", "wait_s"), [({"retry-after": "14"}, 16), ({}, 16), ({"retry-after": "14", "date": "gone"}, 16)]
)
async def test_a_ban_met_before_the_clock_is_measured_lasts_as_long_as_stated(
    headers: dict[str, str], wait_s: float
) -> None:
    """The machine's clock is a minute off, and the error of an unmeasured clock is a minute: neither is waited for."""
    world = await governed(synced=False, skew_ms=47_000)
    body = BANNED % (world.exchange.now_ms() + 14_000)
    world.exchange.fault = always(lambda: httpx.Response(418, headers=headers, content=body))
    with pytest.raises(GateClosed) as caught:
        await world.governor.fetch(fake_read())
    assert wait_s - 0.2 <= caught.value.retry_after_s <= wait_s + 1.1


async def test_a_429_without_a_time_met_before_the_clock_is_measured_lasts_a_minute_at_most() -> None:
    world = await governed(synced=False, skew_ms=47_000, fault=always(lambda: refuse(429, date="gone")))
    with pytest.raises(GateClosed) as caught:
        await world.governor.fetch(fake_read())
    assert caught.value.retry_after_s <= 61


async def test_a_refusal_closes_before_its_body_came_and_even_without_it() -> None:
    world = await governed()
    stream = Pieces([b"<html>"] * 100, 1.0)
    world.exchange.fault = first(1, lambda: httpx.Response(418, stream=stream))
    asking = asyncio.create_task(world.governor.fetch(fake_read()))
    await asyncio.sleep(0.06)
    assert world.gate() == "closed"
    with pytest.raises(GateClosed):
        await world.governor.fetch(fake_read())
    with pytest.raises(GateClosed) as caught:
        await asking
    assert caught.value.retry_after_s == pytest.approx(120, abs=0.1)


@pytest.mark.parametrize(
    "headers",
    [
        {"Date": "Mon, 23 Nov 99999999999999999999 10:00:00 GMT"},
        {"Date": "Mon, 23 Nov 0000 10:00:00 -2400"},
        {"X-MBX-USED-WEIGHT-" + "9" * 5_000 + "M": "1"},
        {"X-MBX-USED-WEIGHT-1M": "9" * 5_000},
        {"Age": "9" * 5_000, "Retry-After": "9" * 5_000},
    ],
)
@pytest.mark.parametrize("status", [200, 418])
async def test_absurd_headers_neither_hide_a_ban_nor_leave_the_gate_probing(
    status: int, headers: dict[str, str]
) -> None:
    def absurd() -> httpx.Response:
        return httpx.Response(status, headers=headers, content=b"[]")

    world = await governed(fault=first(1, lambda: refuse(403, b"<html>")))
    await outcomes(world, 1)
    await asyncio.sleep(2)
    world.exchange.fault = always(absurd)
    [outcome] = await outcomes(world, 1)
    seen = len(world.exchange.seen)
    if status == 200:
        assert not isinstance(outcome, BaseException)
        [outcome] = await outcomes(world, 1)
        assert not isinstance(outcome, BaseException)
    else:
        assert isinstance(outcome, GateClosed)
        assert all(isinstance(error, GateClosed) for error in await outcomes(world, 5))
        assert len(world.exchange.seen) == seen


async def test_a_fault_of_ours_after_the_head_ends_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(body: bytes) -> bool:
        raise RuntimeError(body)

    world = await governed(fault=first(1, lambda: refuse(403, b"<html>")))
    await outcomes(world, 1)
    await asyncio.sleep(2)
    with monkeypatch.context() as patch:
        patch.setattr("mdcache.upstream.reply_status.looks_like_binance", broken)
        assert [type(error) for error in await outcomes(world, 1)] == [RuntimeError]
    await asyncio.sleep(10)
    [reply] = await outcomes(world, 1)
    assert not isinstance(reply, BaseException)


async def test_a_late_200_opens_nothing() -> None:
    world = await governed()
    calls = iter([5.0, 0.0])

    def answer(exchange: FakeExchange, request: httpx.Request) -> httpx.Response:
        pause = next(calls)
        return httpx.Response(200, stream=Pieces([b"[]"], 3.0)) if pause else refuse(429, retry_after="60")

    world.exchange.fault = answer
    slow = asyncio.create_task(world.governor.fetch(fake_read()))
    await asyncio.sleep(0.01)
    with pytest.raises(GateClosed):
        await world.governor.fetch(fake_read())
    assert (await slow).body == b"[]"
    assert world.gate() == "closed"


@pytest.mark.untraced
@pytest.mark.parametrize("seed", [0, 1, *exhaustive(2, 3, 4, 5)])
@pytest.mark.parametrize("every_s", [0.2, 2.0])
async def test_half_of_all_answers_403_for_ten_minutes(seed: int, every_s: float) -> None:
    world = await governed(seed=seed, trip_s=0.05)
    rng = random.Random(seed)
    world.exchange.fault = lambda *_: refuse(403) if rng.random() < 0.5 else None
    tasks = []
    for _ in range(int(600 / every_s)):
        tasks.append(asyncio.create_task(world.governor.fetch(fake_read(within_s=8))))
        await asyncio.sleep(every_s)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(world.exchange.seen) <= 25


async def test_five_failed_questions_in_a_row_close_the_family() -> None:
    world = await governed(fault=always(lambda: refuse(502)), limits=GovernorSettings(retry_attempts=1))
    for _ in range(5):
        assert world.gate() == "open"
        with pytest.raises(ServerFailed):
            await world.governor.fetch(fake_read())
    assert world.gate() == "closed"
    with pytest.raises(GateClosed) as caught:
        await world.governor.fetch(fake_read())
    assert "fails" in caught.value.cause
    world.exchange.fault = None
    await asyncio.sleep(1.1)
    await world.governor.fetch(fake_read())
    assert world.gate() == "ramp"


async def test_a_probe_that_gets_no_answer_does_not_leave_the_gate_probing() -> None:
    world = await governed(fault=first(1, lambda: refuse(429, retry_after="5")))
    with pytest.raises(GateClosed):
        await world.governor.fetch(fake_read())
    await asyncio.sleep(7)
    world.exchange.fault = always(lambda: refuse(200, b"<html>who are you?</html>"))
    with pytest.raises((GateClosed, ValueError)):
        await world.governor.fetch(fake_read())
    assert world.gate() == "closed"


async def test_the_operator_closes_and_opens() -> None:
    world = await governed()
    world.governor.close_gate(Family.SPOT, 60)
    with pytest.raises(GateClosed) as caught:
        await world.governor.fetch(fake_read())
    assert caught.value.retry_after_s == pytest.approx(60)
    world.governor.open_gate(Family.SPOT)
    await world.governor.fetch(fake_read())


# -------------------------------------------------------------------------------------------- budget


@pytest.mark.untraced
async def test_tenfold_demand_stays_within_the_share_and_serves_all_lanes() -> None:
    world = await governed(skew_ms=1_234)
    world.governor.set_limits(
        Market.SPOT,
        [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 600}],
    )
    done = dict.fromkeys(Lane, 0)

    async def one(lane: Lane) -> None:
        try:
            await world.governor.fetch(fake_read(lane, within_s=8, cost=2))
        except UpstreamUnavailable:
            return
        done[lane] += 1

    tasks = []
    for _ in range(3_000):
        tasks += [asyncio.create_task(one(lane)) for lane in Lane]
        await asyncio.sleep(0.06)
    await asyncio.gather(*tasks)
    minutes = sorted(minute for family, minute in world.exchange.spent if family == "spot")
    for minute in minutes:
        assert world.exchange.spent["spot", minute] <= 300
    for minute in minutes[1:-1]:
        assert world.exchange.spent["spot", minute] >= 180
    assert done[Lane.HIGH] > done[Lane.NORMAL] > 0
    assert done[Lane.LOW] > 40


async def test_what_others_spend_on_the_address_counts() -> None:
    world = await governed(foreign=1_070)
    await asyncio.sleep(60)
    await world.governor.fetch(fake_read())
    results = await outcomes(world, 30, within_s=1)
    assert sum(isinstance(each, BudgetSpent) for each in results) > 15
    [spot, _] = world.governor.status()
    assert spot.address <= 1_080


async def test_a_spent_budget_is_refused_at_once_with_the_time_it_takes() -> None:
    world = await governed()
    world.governor.set_limits(
        Market.USDM,
        [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 40}],
    )
    results = await outcomes(world, 30, within_s=8, market=Market.USDM)
    spent = [each for each in results if isinstance(each, BudgetSpent)]
    assert len(world.exchange.seen) <= 16
    assert len(spent) >= 14
    left_s = 60 - world.exchange.now_ms() % 60_000 / 1000
    assert spent[0].retry_after_s == pytest.approx(left_s, abs=2)
    refusal = world.governor.refusal_now(Market.COINM, Lane.NORMAL, 1)
    assert isinstance(refusal, BudgetSpent)
    began = world.clock.now()
    await world.governor.fetch(fake_read(within_s=100, market=Market.USDM))
    assert world.clock.now() - began == pytest.approx(left_s, abs=2)
    with pytest.raises(BudgetSpent) as caught:
        await world.governor.fetch(fake_read(market=Market.USDM, cost=99))
    assert caught.value.retry_after_s == 60


async def test_a_shortage_is_told_once_a_minute_and_shown_for_a_minute() -> None:
    world = await governed()
    limit = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 40}]
    world.governor.set_limits(Market.USDM, limit)
    await asyncio.sleep(60 - world.exchange.now_ms() % 60_000 / 1000 + 1)
    await outcomes(world, 30, within_s=1, market=Market.USDM, lane=Lane.LOW)
    assert [each.short for each in world.governor.status()] == [False, False]  # the low lane is meant to wait
    for _ in range(3):
        await outcomes(world, 30, within_s=1, market=Market.USDM)
        assert world.events_of(BudgetShort) == [BudgetShort("futures", "the weight budget is spent")]
        assert [each.short for each in world.governor.status()] == [False, True]
    await asyncio.sleep(60)
    await outcomes(world, 30, within_s=1, market=Market.USDM)
    assert len(world.events_of(BudgetShort)) == 2
    await asyncio.sleep(120)
    assert [each.short for each in world.governor.status()] == [False, False]


async def test_a_question_that_never_fits_is_no_shortage() -> None:
    world = await governed()
    with pytest.raises(BudgetSpent):
        await world.governor.fetch(fake_read(market=Market.USDM, cost=9_999))
    assert not any(each.short for each in world.governor.status())


async def test_a_spent_request_limit_is_a_shortage() -> None:
    world = await governed()
    for _ in range(250):
        world.governor.count_request(FUNDING)
    assert world.events_of(BudgetShort) == []
    with pytest.raises(BudgetSpent):
        world.governor.count_request(FUNDING)
    assert world.events_of(BudgetShort) == [BudgetShort("futures", "the request limit of funding is spent")]


async def test_the_smallest_limit_of_a_family_counts() -> None:
    world = await governed()
    assert [each.limit for each in world.governor.status()] == [1_200, 1_200]
    world.governor.set_limits(Market.USDM, [])
    world.governor.set_limits(Market.SPOT, None)
    [spot, futures] = world.governor.status()
    assert (spot.limit, futures.limit, futures.allowed) == (6_000, 2_400, 1_200)
    entry = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1_000}
    world.governor.set_limits(Market.COINM, [entry])
    assert world.governor.status()[1].limit == 1_000


async def test_paced_refreshes_wait_where_cold_reads_go() -> None:
    world = await governed(trip_s=0.01)
    await asyncio.sleep(60 - world.exchange.now_ms() % 60_000 / 1000 + 0.1)
    tasks = [asyncio.create_task(world.governor.fetch(fake_read(paced=True, cost=2))) for _ in range(100)]
    await asyncio.sleep(1)
    assert 60 <= sum(task.done() for task in tasks) < 70
    assert world.governor.refusal_now(Market.SPOT, Lane.NORMAL, 2) is None
    assert isinstance(world.governor.refusal_now(Market.SPOT, Lane.NORMAL, 2, paced=True), BudgetSpent)
    await asyncio.gather(*(world.governor.fetch(fake_read(cost=2, within_s=1)) for _ in range(20)))
    await asyncio.gather(*tasks)


# ------------------------------------------------------------------------------------ queue and lanes


async def test_no_more_in_flight_than_the_concurrency_of_a_market() -> None:
    world = await governed(limits=GovernorSettings(upstream_concurrency=3))
    await outcomes(world, 40)
    assert world.exchange.most_flying == 3


async def test_a_full_market_does_not_block_its_sibling() -> None:
    world = await governed(trip_s=1.0, limits=GovernorSettings(upstream_concurrency=1))
    usdm = [asyncio.create_task(world.governor.fetch(fake_read(Lane.HIGH, market=Market.USDM))) for _ in range(3)]
    await asyncio.sleep(0.5)
    began = world.clock.now()
    await world.governor.fetch(fake_read(Lane.LOW, market=Market.COINM))
    assert world.clock.now() - began == pytest.approx(1.0)
    await asyncio.gather(*usdm)


async def test_a_read_is_dropped_at_its_last_deadline_and_a_later_one_saves_it() -> None:
    world = await governed(trip_s=4.0, limits=GovernorSettings(upstream_concurrency=1))
    running = asyncio.create_task(world.governor.fetch(fake_read()))
    dropped, saved, raised = fake_read(within_s=2), fake_read(within_s=2), fake_read(Lane.LOW)
    waiting = [asyncio.create_task(world.governor.fetch(each)) for each in (dropped, saved, raised)]
    await asyncio.sleep(1)
    saved.priority.deadline_s = math.inf
    raised.priority.lane = Lane.HIGH
    await asyncio.sleep(1.01)
    assert waiting[0].done()
    assert isinstance(waiting[0].exception(), DeadlinePassed)
    assert dropped.built == 0
    await running
    await asyncio.sleep(0.01)
    assert (raised.built, saved.built) == (1, 0)
    await asyncio.gather(*waiting[1:])


async def test_a_lane_is_bounded() -> None:
    world = await governed(trip_s=100.0, limits=GovernorSettings(upstream_concurrency=1), synced=False)
    desk = world.governor._schedulers[Family.SPOT]
    desk.queue = queue.ReadQueue(max_waiting=5)
    tasks = [asyncio.create_task(world.governor.fetch(fake_read())) for _ in range(7)]
    await asyncio.sleep(0.1)
    assert [isinstance(task.exception(), LaneFull) for task in tasks if task.done()] == [True]
    assert world.governor.status()[0].queued["normal"] == 5
    await world.governor.aclose()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_request_that_costs_more_than_its_read_stated_is_not_sent() -> None:
    world = await governed()
    with pytest.raises(ValueError, match="promised 0"):
        await world.governor.fetch(fake_read(promised=0))
    assert world.exchange.seen == []


# ------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_server_failures_are_tried_again_within_the_deadline(status: int) -> None:
    world = await governed(fault=first(3, lambda: refuse(status)))
    began = world.clock.now()
    assert (await world.governor.fetch(fake_read(within_s=8))).body
    assert world.clock.now() - began < 8
    assert len(world.exchange.seen) == 4
    assert len(world.events_of(Retried)) == 3
    assert len(world.events_of(UpstreamCalled)) == 4
    assert [event.weight for event in world.events_of(UpstreamCalled)] == [1] * 4


@pytest.mark.parametrize("within_s", [0.3, 2.0, 8.0, math.inf])
async def test_the_last_failure_is_raised_before_the_deadline(within_s: float) -> None:
    world = await governed(fault=always(lambda: refuse(503)))
    began = world.clock.now()
    with pytest.raises(ServerFailed) as caught:
        await world.governor.fetch(fake_read(within_s=within_s))
    assert caught.value.reason == "5xx"
    assert world.clock.now() - began <= min(within_s, 8) + 0.05
    assert 1 <= len(world.exchange.seen) <= 4


@pytest.mark.parametrize("fault", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
async def test_faults_are_tried_again_by_respx(fault: type[httpx.TransportError]) -> None:
    world = await governed()
    with respx.mock(base_url="https://spot.test") as router:
        route = router.get("/api/v3/klines").mock(side_effect=[fault, httpx.Response(200, json=[])])
        session = world.governor._clients[Market.SPOT]._session
        session.client._transport = httpx.MockTransport(router.async_handler)
        assert (await world.governor.fetch(fake_read(within_s=8))).body == b"[]"
        assert route.call_count == 2
    [called, _] = world.events_of(UpstreamCalled)
    assert (called.status, bool(called.fault)) == (0, True)


async def test_a_broken_body_is_asked_for_once_more() -> None:
    world = await governed()
    assert (await world.governor.fetch(fake_read(broken=1))).body
    with pytest.raises(InvalidBody):
        await world.governor.fetch(fake_read(broken=9))
    assert len(world.exchange.seen) == 4
    rejected = world.events_of(BodyRejected)
    assert [(event.path, event.reason) for event in rejected] == [("/api/v3/klines", "columns")] * 3
    outcomes = [event for event in world.events if isinstance(event, UpstreamCalled | BodyRejected)]
    assert [getattr(event, "rows", "rejected") for event in outcomes] == [None, "rejected", 1, *[None, "rejected"] * 2]
    assert world.gate() == "open"


async def test_a_body_over_its_bound_is_a_broken_body() -> None:
    world = await governed(fault=always(lambda: zipped(b"[" + b" " * 5_000_000 + b"]")))
    with pytest.raises(InvalidBody) as caught:
        await world.governor.fetch(fake_read())
    assert caught.value.reason == "too-large"
    assert len(world.exchange.seen) == len(world.events_of(BodyRejected)) == 2
    assert world.governor.status()[0].in_flight == {"spot": 0}


@pytest.mark.parametrize("status", [204, 302])
async def test_a_status_no_rule_knows_is_not_tried_again(status: int) -> None:
    world = await governed(fault=always(lambda: refuse(status, b"what?")))
    with pytest.raises(ServerFailed) as caught:
        await world.governor.fetch(fake_read())
    assert caught.value.reason == "status"
    assert len(world.exchange.seen) == 1


async def test_silence_ends_by_the_time_out_and_frees_its_place() -> None:
    limits = GovernorSettings(upstream_concurrency=1, upstream_timeout_s=2, retry_attempts=1)
    world = await governed(limits=limits)
    world.exchange.trip_s = 100.0
    with pytest.raises(TransportFailed) as caught:
        await world.governor.fetch(fake_read())
    assert caught.value.reason == "timeout"
    world.exchange.trip_s = 0.05
    await world.governor.fetch(fake_read())


# -------------------------------------------------------------------------------------- cancellation


@pytest.mark.parametrize("turns", range(14))
async def test_cancelling_at_any_turn_of_the_loop_leaks_nothing(turns: int) -> None:
    world = await governed(trip_s=0.0, limits=GovernorSettings(upstream_concurrency=2))
    for _ in range(10):
        task = asyncio.create_task(world.governor.fetch(fake_read()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(1)
    [spot, _] = world.governor.status()
    assert spot.in_flight == {"spot": 0}
    assert spot.queued == {"high": 0, "normal": 0, "low": 0}
    assert len(world.events_of(UpstreamCalled)) == len(world.exchange.seen)
    assert spot.used == 3 + len(world.exchange.seen)
    await outcomes(world, 5)


async def test_leaving_the_queue_frees_the_place_and_leaving_a_sent_read_ends_it_well() -> None:
    world = await governed(trip_s=2.0, limits=GovernorSettings(upstream_concurrency=1))
    sent, queued = (asyncio.create_task(world.governor.fetch(fake_read())) for _ in range(2))
    await asyncio.sleep(0.1)
    queued.cancel()
    sent.cancel()
    await asyncio.gather(sent, queued, return_exceptions=True)
    [spot, _] = world.governor.status()
    assert (spot.queued["normal"], spot.in_flight["spot"]) == (0, 1)
    await asyncio.sleep(2)
    [called] = world.events_of(UpstreamCalled)
    assert (called.status, called.fault) == (200, "")
    assert world.governor.status()[0].in_flight["spot"] == 0
    assert len(world.exchange.seen) == 1


async def test_closing_ends_everything() -> None:
    world = await governed(trip_s=3.0, limits=GovernorSettings(upstream_concurrency=1))
    tasks = [asyncio.create_task(world.governor.fetch(fake_read())) for _ in range(3)]
    await asyncio.sleep(0.1)
    await world.governor.aclose()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(each, DeadlinePassed) for each in results[1:])
    assert len(asyncio.all_tasks()) == 1


# --------------------------------------------------------------------------------------------- clocks


async def test_an_unmeasured_clock_spends_from_every_minute_it_might_be() -> None:
    world = await governed(synced=False, skew_ms=3_600_000)
    await world.governor.fetch(fake_read(cost=7))
    assert not (await world.governor.fetch(fake_read())).may_settle
    await world.governor.clocks.ensure(Market.SPOT)
    [spot, _] = world.governor.status()
    assert spot.used >= 8


async def test_a_clock_correction_makes_no_room_for_waiting_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget follows a clock correction before the queue is checked, regardless of what causes the check."""

    world = await governed()
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1_200}]
    world.governor.set_limits(Market.SPOT, limits)
    await world.governor.fetch(fake_read(cost=400))
    waiting = asyncio.create_task(world.governor.fetch(fake_read(cost=250)))
    await world.clock.sleep(0.1)
    used = world.governor.status()[0].used
    monkeypatch.setattr(
        world.governor.clocks, "family_now", lambda _family: Instant(world.clock.true_ms() + 600_000, 20)
    )
    world.governor.set_limits(Market.SPOT, limits)
    await world.clock.sleep(1.0)
    assert [seen.weight for seen in world.exchange.klines] == [400]
    assert world.governor.status()[0].used >= used
    await waiting
    assert [seen.weight for seen in world.exchange.klines] == [400, 250]
