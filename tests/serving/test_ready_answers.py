"""Ready answers: remembered on the second asking, shown while they stand, and inside the shared memory."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import igzip

from mdcache.candles.freshness import FreshnessDirectives, fresh_floor
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.tail import Tail
from mdcache.clock import Instant
from mdcache.exchange.markets import Market
from mdcache.serving.binance.ready_answers import MEMORY_KIND, satisfies
from mdcache.serving.binance.representation import Representation
from tests.support.asgi_client import KLINES, QUERY, REMOTE_PEER
from tests.support.serving_fakes import NOW_MS
from tests.support.serving_harness import BODY, ServingHarness


async def test_remembered_on_the_second_asking() -> None:
    house = ServingHarness()
    for asked, ready in ((1, 0), (2, 1), (2, 1), (2, 1)):
        await house.ask()
        assert (len(house.candles.asked), len(house.readies)) == (asked, ready)
    assert [record.result for record in house.recorder.records] == ["miss", "miss", "hit", "hit"]
    assert house.recorder.records[3].age_s == 0.5


async def test_long_keys_are_not_remembered() -> None:
    house = ServingHarness()
    for _ in range(4):
        await house.ask(KLINES, QUERY + b"&timeZone=" + b"0" * 1_024)
        await house.ask(KLINES, QUERY, headers={"x-mbx-time-unit": "m" * 60_000})
    assert len(house.readies) == 0


async def test_a_key_once_seen_is_remembered_at_once_after_it_fell() -> None:
    house = ServingHarness()
    for _ in range(3):
        await house.ask()
    house.clock.seconds += 2.0
    await house.ask()
    await house.ask()
    assert len(house.candles.asked) == 3


@pytest.mark.parametrize("how", ["time", "tail", "settled"])
async def test_it_is_dropped_when_it_is_no_longer_valid(how: str) -> None:
    house = ServingHarness()
    for _ in range(3):
        await house.ask()
    if how == "time":
        house.clock.seconds += 1.5  # half a second old, a TTL of two, and an error of 5 ms
    elif how == "tail":
        house.series.tail_version += 1
    else:
        house.series.settled_version += 1
    await house.ask()
    assert len(house.candles.asked) == 3


async def test_a_settled_answer_survives_new_tails_and_is_always_of_now() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(settled=True)
    for _ in range(3):
        await house.ask()
    house.series.tail_version += 1
    house.clock.seconds += 1_000.25
    reply = await house.ask()
    assert len(house.candles.asked) == 2
    assert reply.headers["x-mdcache-as-of"] == str(NOW_MS + 1_000_250)
    assert reply.headers["age"] == "0"
    assert reply.headers["cache-status"] == "mdcache; hit; ttl=3600"
    assert house.recorder.records[-1].age_s is None


async def test_age_and_ttl_move_with_the_clock() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(lifetime_s=10.0, valid_until_ms=NOW_MS + 9_500)
    for _ in range(3):
        await house.ask()
    seen = []
    for _ in range(4):
        reply = await house.ask()
        seen.append((reply.headers["age"], reply.headers["cache-status"], reply.headers["x-mdcache-as-of"]))
        house.clock.seconds += 0.75
    as_of = str(NOW_MS - 500)
    assert seen == [
        ("0", "mdcache; hit; ttl=10", as_of),
        ("1", "mdcache; hit; ttl=9", as_of),
        ("2", "mdcache; hit; ttl=8", as_of),
        ("2", "mdcache; hit; ttl=8", as_of),
    ]


@pytest.mark.parametrize(
    ("headers", "ready"),
    [
        ({"cache-control": "max-age=1"}, True),
        ({"cache-control": "max-age=0"}, False),
        ({"cache-control": "no-cache"}, False),
        ({"cache-control": "only-if-cached"}, True),
        ({"cache-control": "max-stale=60"}, True),
        ({"x-mdcache-min-as-of": str(NOW_MS - 500)}, True),
        ({"x-mdcache-min-as-of": str(NOW_MS - 499)}, False),
        ({"x-mdcache-min-as-of": str(NOW_MS + 90_000)}, False),
        ({"cache-control": "max-age=x"}, True),
    ],
)
async def test_directives(headers: dict[str, str], ready: bool) -> None:
    house = ServingHarness()
    for _ in range(2):
        await house.ask()
    await house.ask(headers=headers)
    assert len(house.candles.asked) == (2 if ready else 3)


@given(
    st.one_of(st.none(), st.integers(0, 5)),
    st.booleans(),
    st.one_of(st.none(), st.integers(NOW_MS - 4_000, NOW_MS + 2_000)),
    st.integers(0, 2_000),
)
def test_a_ready_answer_is_one_that_the_cache_would_give(
    max_age: int | None, no_cache: bool, since: int | None, age_ms: int
) -> None:
    """What `satisfies` takes, `candles.freshness` takes as well; a moment just ahead the cache would wait for."""
    house = ServingHarness()
    directives = FreshnessDirectives(max_age_s=max_age, no_cache=no_cache, min_as_of_ms=since)
    now = Instant(NOW_MS, 5)
    shown = Representation(house.answer(as_of_ms=NOW_MS - age_ms), Market.SPOT)
    floor = fresh_floor(directives, 2_000, now)
    current = min(floor.as_of_ms, now.ms) <= Tail(0, (), NOW_MS - age_ms).as_of_ms
    taken = current and not directives.wait_ms(now)
    assert satisfies(shown, directives, now) <= taken
    if not no_cache:
        assert satisfies(shown, directives, now) == taken


async def test_units_zones_and_queries_are_kept_apart() -> None:
    house = ServingHarness()
    for headers in ({}, {"x-mbx-time-unit": "MICROSECOND"}):
        for query in (b"symbol=BTCUSDT&interval=1m", b"symbol=BTCUSDT&interval=1m&timeZone=8"):
            for _ in range(3):
                await house.ask(query=query, headers=headers)
    assert len(house.readies) == 4
    assert len(house.candles.asked) == 8
    assert {str(question.key) for question, _, _ in house.candles.asked} == {
        "spot/klines/BTCUSDT/1m",
        "spot/klines/BTCUSDT/1m/+480min",
        "spot/klines/BTCUSDT/1m/us",
        "spot/klines/BTCUSDT/1m/+480min/us",
    }


async def test_its_bytes_count_and_memory_takes_them_back() -> None:
    house = ServingHarness(memory=400_000)
    house.candles.make = lambda: house.answer(body=b"[" + BODY[1:-1].ljust(20_000, b" ") + b"]")
    for n in range(200):
        for _ in range(2):
            await house.ask(query=b"symbol=BTCUSDT&interval=1m&limit=%d" % (n + 1))
        assert house.library.memory.held_bytes <= 400_000
    assert 2 <= len(house.readies) <= 20
    assert any(type(event).__name__ == "MemoryEvicted" for event in house.event_log)


async def test_a_compressed_body_counts_too() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(body=BODY * 100)
    for _ in range(3):
        await house.ask()
    before = house.library.memory.held_bytes
    house.clock.seconds += 1.1
    await house.ask(peer=REMOTE_PEER, headers={"accept-encoding": "gzip"})
    house.clock.seconds += 0.2
    house.readies.find((KLINES, b"symbol=BTCUSDT&interval=1m", b""), None, house.clock.now() + 5)
    assert house.library.memory.held_bytes > before


async def test_expired_ones_are_swept_by_new_ones() -> None:
    house = ServingHarness()
    for n in range(40):
        for _ in range(2):
            await house.ask(query=b"symbol=BTCUSDT&interval=1m&limit=%d" % (n + 1))
    assert len(house.readies) == 40
    house.clock.seconds += 5.0
    for n in range(40, 60):
        for _ in range(2):
            await house.ask(query=b"symbol=BTCUSDT&interval=1m&limit=%d" % (n + 1))
    assert len(house.readies) == 20


async def test_ready_answers_are_bounded_by_number_too() -> None:
    house = ServingHarness(most=10)
    for n in range(50):
        for _ in range(2):
            await house.ask(query=b"symbol=BTCUSDT&interval=1m&limit=%d" % (n + 1))
    assert len(house.readies) == 10


async def test_keys_asked_once_are_bounded() -> None:
    house = ServingHarness(most=10)
    for n in range(50):
        await house.ask(query=b"symbol=BTCUSDT&interval=1m&limit=%d" % (n + 1))
    assert len(house.readies._seen) == 10
    assert len(house.readies) == 0
    assert house.library.memory.held_bytes == 0


async def test_refusals_are_not_remembered() -> None:
    house = ServingHarness()
    for _ in range(5):
        assert (await house.ask(query=b"symbol=BTCUSDT")).status == 400
    assert len(house.readies) == 0
    assert len(house.readies._seen) == 0


async def test_clear_forgets_them_in_memory_too() -> None:
    house = ServingHarness()
    for _ in range(2):
        await house.ask()
    await house.readies.clear(SeriesFilter())
    assert len(house.readies) == 0
    assert house.library.memory.held_bytes == 0
    house.readies.evict((MEMORY_KIND, ("nothing", b"", b"")))


async def test_no_long_body_is_compressed_on_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    house = ServingHarness(compress="on")
    house.candles.make = lambda: house.answer(body=b"[%b]" % b",".join([BODY[1:-1]] * 5_000))
    threads: list[threading.Thread] = []

    def compress(data: bytes, level: int, *, mtime: int) -> bytes:
        threads.append(threading.current_thread())
        return compressed(data, level, mtime=mtime)

    compressed = igzip.compress
    monkeypatch.setattr(igzip, "compress", compress)
    for accept in ("identity", "identity", "identity", "gzip", "gzip"):
        reply = await house.ask(headers={"accept-encoding": accept})
        assert ("content-encoding" in reply.headers) is (accept == "gzip")
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
