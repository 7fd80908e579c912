"""The governor's gate over a fake exchange, in virtual time: bans, pauses, probes."""

import asyncio
import random

import httpx
import pytest

from mdcache.errors import GateClosed, InvalidBody, ServerFailed
from mdcache.events import GateChanged, Retried
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.governor import GovernorSettings
from mdcache.upstream.priority import Lane
from tests.support.examples import exhaustive
from tests.support.fake_exchange import FakeExchange, Pieces, always, fake_read, first, governed, outcomes, refuse

pytestmark = pytest.mark.virtual

BANNED = b'{"code":-1003,"msg":"Way too many requests; IP(1.2.3.4) banned until %d."}'


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


PAGE = b"<!DOCTYPE html><html><title>Log in to our Wi-Fi</title></html>"


def portal(encoding: str) -> httpx.Response:
    headers = {"content-encoding": encoding} if encoding else {}
    return httpx.Response(200, stream=Pieces([PAGE], 0.0), headers=headers)


@pytest.mark.parametrize("encoding", ["", "gzip"])  # gzip: it is none
async def test_who_answers_every_question_with_a_web_page_is_asked_less_and_less(encoding: str) -> None:
    world = await governed(fault=always(lambda: portal(encoding)))
    for _ in range(1_000):
        asking = asyncio.create_task(world.governor.fetch(fake_read(within_s=8)))
        await asyncio.sleep(0.5)
        await asyncio.gather(asking, return_exceptions=True)
    assert len(world.exchange.seen) <= 80
    assert len(world.exchange.seen) >= 20
    world.exchange.fault = None
    ended_s = world.clock.now()
    while world.gate() != "open":
        await asyncio.gather(world.governor.fetch(fake_read()), return_exceptions=True)
        await asyncio.sleep(0.5)
    assert world.clock.now() - ended_s < 30


@pytest.mark.parametrize("good_each", [2, 5])
async def test_web_pages_between_answers_close_no_gate(good_each: int) -> None:
    world = await governed(limits=GovernorSettings(retry_attempts=1))
    for n in range(200):
        world.exchange.fault = None if n % good_each == 0 else always(lambda: portal(""))
        await asyncio.gather(world.governor.fetch(fake_read()), return_exceptions=True)
        assert world.gate() == "open"


async def test_bodies_of_binance_that_are_no_answer_close_no_gate() -> None:
    world = await governed()
    for _ in range(20):
        with pytest.raises(InvalidBody):
            await world.governor.fetch(fake_read(broken=9))
    assert world.gate() == "open"


async def test_a_probe_that_gets_no_answer_does_not_leave_the_gate_probing() -> None:
    world = await governed(fault=first(1, lambda: refuse(429, retry_after="5")))
    with pytest.raises(GateClosed):
        await world.governor.fetch(fake_read())
    await asyncio.sleep(7)
    world.exchange.fault = always(lambda: refuse(200, b"<html>who are you?</html>"))
    with pytest.raises((GateClosed, InvalidBody)):
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
