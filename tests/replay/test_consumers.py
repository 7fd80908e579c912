"""The incident's consumers, in virtual time: what they ask and when, and how they judge what they get."""

import asyncio
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from mdcache.replay.consumers import INTERVALS, NO_ANSWER, Consumers, ConsumerTally, ReplayLoad
from tests.support.virtual_time import VirtualClock, run

SYMBOLS = ["AUSDT", "BUSDT"]
Answer = Callable[[VirtualClock, httpx.Request], httpx.Response]


def played(answer: Answer, load: ReplayLoad, offset_ms: int = 0) -> tuple[ConsumerTally, list[tuple[float, str, str]]]:
    """The tally, and (second, symbol, interval) of every question."""
    asked: list[tuple[float, str, str]] = []

    async def main() -> ConsumerTally:
        clock = VirtualClock()
        start_s = clock.now() + 3

        async def handle(request: httpx.Request) -> httpx.Response:
            asked.append((clock.now() - start_s, request.url.params["symbol"], request.url.params["interval"]))
            assert request.url.params["limit"] == "500"
            await asyncio.sleep(0.1)
            return answer(clock, request)

        transport = httpx.MockTransport(handle)
        crowd = Consumers("http://exchange.test", SYMBOLS, load, clock, offset_ms=offset_ms, transport=transport)
        return await crowd.run(start_s)

    return run(main()), asked


def fine(_clock: VirtualClock, _request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=[])


def test_everybody_asks_for_everything_every_five_seconds_and_evenly() -> None:
    load = ReplayLoad(seconds=20, symbols=2, consumers=3)
    tally, asked = played(fine, load)
    assert tally.asked == len(asked) == load.questions == 4 * 3 * 2 * len(INTERVALS)
    questions = Counter((symbol, interval) for _, symbol, interval in asked)
    assert questions == dict.fromkeys(((s, i) for s in SYMBOLS for i in INTERVALS), 12)
    assert Counter(int(at) for at, _, _ in asked) == pytest.approx(dict.fromkeys(range(20), 7.2), abs=2)
    assert all(0 <= at < 20 for at, _, _ in asked)
    gaps = {at for at, symbol, interval in asked if (symbol, interval) == ("AUSDT", "1m")}
    assert max(b - a for a, b in zip(sorted(gaps), sorted(gaps)[1:], strict=False)) == pytest.approx(5 / 3, abs=0.01)


def test_a_refusal_leaves_the_consumer_with_what_it_had() -> None:
    def banned_after_ten_seconds(clock: VirtualClock, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if clock.now() < 1_013 else 418)

    tally, _ = played(banned_after_ten_seconds, ReplayLoad(seconds=30, symbols=2, consumers=1))
    assert tally.statuses == {200: 24, 418: 48}
    assert (tally.asked, tally.failed) == (72, 48)
    assert 20.0 <= tally.worst_age_s <= 20.3
    assert sum(tally.answered.values()) == 24
    assert min(tally.refused) in {9, 10}


def test_a_consumer_that_never_had_any_is_as_old_as_its_first_question() -> None:
    tally, _ = played(lambda *_: httpx.Response(503), ReplayLoad(seconds=10, symbols=2, consumers=1))
    assert tally.worst_age_s == pytest.approx(5.1, abs=0.01)


def test_the_age_is_what_the_answer_says_by_the_exchanges_clock() -> None:
    def old(clock: VirtualClock, _: httpx.Request) -> httpx.Response:
        as_of = clock.wall_ms() + 20_000 - 4_000
        return httpx.Response(
            200, headers={"x-mdcache-as-of": str(as_of), "cache-status": "mdcache; hit; ttl=-2; detail=stale"}
        )

    tally, _ = played(old, ReplayLoad(seconds=5, symbols=2, consumers=1), offset_ms=20_000)
    assert tally.worst_age_s == pytest.approx(4.0, abs=0.002)
    assert tally.marked == tally.asked == 12


def test_no_answer_is_a_failure_like_any_other() -> None:
    def broken(_clock: VirtualClock, request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too late", request=request)

    tally, _ = played(broken, ReplayLoad(seconds=5, symbols=2, consumers=1))
    assert tally.statuses == {NO_ANSWER: 12}
    assert tally.failed == 12
