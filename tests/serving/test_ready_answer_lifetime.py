"""Remembered answers over the real data path: none outlives what it was true of.

Rule: docs/design.md#as-of, #revisions, #holes.
"""

import pytest

from mdcache.candles.ranges import FOREVER_MS
from mdcache.candles.stored_blocks import evict_block
from mdcache.sim import SimConfig
from mdcache.sim.config import Outage, SymbolSpec
from tests.support.asgi_client import Response, lifetime_s
from tests.support.served_daemon import ServedDaemon
from tests.support.virtual_time import EPOCH_MS

pytestmark = pytest.mark.virtual

MINUTE = 60_000
HOUR = 60 * MINUTE
PATH = "/api/v3/klines"
BASE = EPOCH_MS // MINUTE * MINUTE


async def polled(w: ServedDaemon, query: bytes, *, every_s: float, until_ms: int) -> Response:
    """The last of the answers to `query`, asked for all the time."""
    reply = await w.get(PATH, query)
    while w.clock.true_ms() < until_ms:
        await w.clock.sleep(every_s)
        reply = await w.get(PATH, query)
        assert reply.status == 200
    return reply


async def test_a_candle_that_has_yet_to_open_is_shown_when_it_has() -> None:
    w = ServedDaemon()
    await w.get()
    for end in (b"", b"&endTime=%d" % (BASE + HOUR)):
        opens = w.clock.true_ms() // MINUTE * MINUTE + MINUTE
        query = b"symbol=ETHUSDT&interval=1m&startTime=%d" % opens + end
        before = await polled(w, query, every_s=0.7, until_ms=opens - 3_000)
        assert before.body == b"[]"
        assert w.clock.true_ms() + (lifetime_s(before) - int(before.headers["age"])) * 1000 <= opens
        after = await polled(w, query, every_s=0.7, until_ms=opens + 100)
        as_of_ms = int(after.headers["x-mdcache-as-of"])
        assert after.body == w.exchange.truth(PATH, query.decode(), at_ms=as_of_ms) != b"[]"
    calls = len(w.calls())
    assert (await w.get(query=b"symbol=ETHUSDT&interval=1m&startTime=%d" % (BASE + 9_000 * HOUR))).body == b"[]"
    assert len(w.calls()) == calls


async def test_a_new_listing_is_seen_within_seconds() -> None:
    listed = BASE + 2 * MINUTE
    w = ServedDaemon(SimConfig(symbols=(SymbolSpec("spot", "LISTUSDT", listed, announced_ms=EPOCH_MS - 10**8),)))
    query = b"symbol=LISTUSDT&interval=1m&limit=5"
    before = await polled(w, query, every_s=0.5, until_ms=listed - 6_000)
    assert before.body == b"[]"
    assert len(w.calls()) <= (w.clock.true_ms() - BASE) / 5_000 + 2  # the empty end is trusted for 5 s, after a witness
    after = await polled(w, query, every_s=0.5, until_ms=listed + 6_500)
    assert after.body == w.exchange.truth(PATH, query.decode(), at_ms=int(after.headers["x-mdcache-as-of"])) != b"[]"


async def test_a_hole_is_looked_at_again_however_often_its_answer_is_asked_for() -> None:
    filled = BASE + 2 * MINUTE
    outage = Outage(BASE - 20 * MINUTE, BASE - 15 * MINUTE, filled)
    w = ServedDaemon(SimConfig(symbols=(SymbolSpec("spot", "BTCUSDT", EPOCH_MS - 10**10, outages=(outage,)),)))
    query = b"symbol=BTCUSDT&interval=1m&startTime=%d&endTime=%d" % (BASE - 30 * MINUTE, BASE - 5 * MINUTE)
    truth = w.exchange.truth(PATH, query.decode(), at_ms=filled + 1)
    before = await polled(w, query, every_s=5, until_ms=filled - 6_000)
    assert before.body != truth
    after = await polled(w, query, every_s=5, until_ms=filled + 150_000)  # a tenth of its 22 minutes, and two more
    assert after.body == truth


async def test_rows_evicted_and_read_again_are_the_same_in_every_answer() -> None:
    w = ServedDaemon()
    first = BASE // HOUR * HOUR - 500 * HOUR
    wide = b"symbol=BTCUSDT&interval=1h&startTime=%d&endTime=%d" % (first, first + 9 * HOUR)
    narrow = b"symbol=BTCUSDT&interval=1h&startTime=%d&endTime=%d" % (first + 5 * HOUR, first + 9 * HOUR)
    for _ in range(3):
        await w.get(query=wide)
    (series,) = w.library
    w.exchange.control.revise(PATH, "BTCUSDT", "1h", first + 7 * HOUR, trades=7)
    for index in series.blocks.indexes(0, FOREVER_MS):
        evict_block(series, index)
    calls = len(w.calls())
    assert (await w.get(query=wide)).headers["cache-status"].startswith("mdcache; hit")
    assert len(w.calls()) == calls  # it is valid as long as nothing newer is known
    for query in (narrow, wide):
        assert (await w.get(query=query)).body == w.exchange.truth(PATH, query.decode(), at_ms=w.clock.true_ms())
