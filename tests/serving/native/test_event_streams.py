"""`/v1/stream` against the exchange's own truth: each closed candle once, in order, whatever happens between.

Rule: docs/design.md#events.
"""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from mdcache.candles.ranges import FOREVER_MS
from mdcache.candles.window import Window, WindowKind
from mdcache.exchange.markets import Market
from mdcache.sim import SimConfig
from mdcache.sim.default_symbols import default_symbols
from mdcache.stores import block_codec
from mdcache.upstream.priority import Lane, Priority
from tests.support.event_client import EventClient, ReceivedEvent
from tests.support.served_daemon import ServedDaemon
from tests.support.virtual_daemon import DaemonOptions

pytestmark = pytest.mark.virtual

SYMBOLS = {"BTCUSDT", "ETHUSDT", "BNBUSDT", "BTCUSD_PERP"}
PLENTY = SimConfig(
    spot_limit=1_000_000,
    futures_limit=1_000_000,
    symbols=tuple(spec for spec in default_symbols() if spec.symbol in SYMBOLS),
)
PREFIX = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}
MINUTE = 60_000
TWO = "market=spot&symbols=BTCUSDT,ETHUSDT&intervals=1m"


def world(**options: Any) -> ServedDaemon:
    w = ServedDaemon(PLENTY, DaemonOptions(**options))
    w.exchange.control.latency(before_s=0.03, after_s=0.03)
    return w


async def listen(w: ServedDaemon, query: str = TWO, last_id: str = "") -> EventClient:
    return await EventClient(w.app, query, last_id).started()


def printed(row: Iterable[Any], *, closed: bool) -> list[Any]:
    """A row of Binance's as the native API prints it."""
    return [*list(row)[:11], closed]


def truth(w: ServedDaemon, event: ReceivedEvent, at_ms: int) -> list[list[Any]]:
    """All rows of the event's series since the world's beginning, as printed at a moment."""
    symbol, interval = event.series
    path = f"{PREFIX[event.data['market']]}klines"
    found: list[list[Any]] = json.loads(
        w.exchange.truth(path, f"symbol={symbol}&interval={interval}&limit=1000", {}, at_ms=at_ms)
    )
    return found


def check_closed(w: ServedDaemon, events: list[ReceivedEvent], after_ms: int, until_ms: int) -> None:
    """Each candle of each series that closed between the two times came once, in order, as it is."""
    closed = [event for event in events if event.name == "closed" and event.row[6] <= until_ms]
    for series in {event.series for event in events}:
        own = [event for event in closed if event.series == series]
        rows = truth(w, next(event for event in events if event.series == series), w.clock.true_ms())
        assert [event.row for event in own] == [
            printed(row, closed=True) for row in rows if after_ms < row[6] <= until_ms
        ], series


SPOT_QUERY = "market=spot&symbols=BTCUSDT,ETHUSDT&intervals=1s,1m"
USDM_QUERY = "market=usdm&symbols=BTCUSDT&intervals=1m,3m"
COINM_QUERY = "market=coinm&symbols=BTCUSD_PERP&intervals=1m"


@pytest.mark.parametrize(
    ("query", "length_ms", "streams"),
    [
        (SPOT_QUERY, 1_000, True),
        (USDM_QUERY, MINUTE, True),
        (COINM_QUERY, MINUTE, False),
        pytest.param(SPOT_QUERY, 1_000, False, marks=pytest.mark.exhaustive),
        pytest.param(USDM_QUERY, MINUTE, False, marks=pytest.mark.exhaustive),
        pytest.param(COINM_QUERY, MINUTE, True, marks=pytest.mark.exhaustive),
    ],
)
async def test_each_closed_candle_comes_once_and_in_time(query: str, length_ms: int, *, streams: bool) -> None:
    w = world(streams=streams)
    client, began_ms = await listen(w, query), w.clock.true_ms()
    await w.clock.sleep(100.0)
    until_ms = (w.clock.true_ms() - 3_000) // length_ms * length_ms - 1
    check_closed(w, client.events, began_ms - 5_000, until_ms)
    assert client.named("candle")
    assert not client.named("stale", "fresh", "revised")
    origin_s = w.clock.now() - w.clock.true_ms() / 1000
    late_s = [
        event.at_s - origin_s - event.row[6] / 1000 for event in client.named("closed") if event.row[6] > began_ms
    ]
    assert max(late_s) < (2.6 if "spot" in query else 3.0)


async def test_an_open_candle_is_what_binance_would_have_sent_at_its_as_of() -> None:
    w = world(streams=True)
    client = await listen(w)
    await w.clock.sleep(100.0)
    for event in client.named("candle"):
        rows = truth(w, event, event.data["as_of"])
        assert event.row == printed(rows[-1], closed=False)


async def test_all_listeners_together_cost_what_one_poll_costs() -> None:
    w = world(derive=False)
    first = await listen(w)
    await w.clock.sleep(60.0)
    before = len(w.calls())
    await w.clock.sleep(60.0)
    alone = len(w.calls()) - before
    others = [await listen(w) for _ in range(20)]
    await w.clock.sleep(1.0)
    before = len(w.calls())
    await w.clock.sleep(60.0)
    assert len(w.calls()) - before <= alone + 1
    assert alone <= 2 * 32
    assert {event.row[0] for event in others[7].named("closed")} <= {event.row[0] for event in first.named("closed")}


@pytest.mark.exhaustive
@pytest.mark.parametrize("closed", ["true", "false"])
async def test_with_streams_listening_costs_next_to_nothing(closed: str) -> None:
    w = world(streams=True)
    await listen(w, f"market=spot&symbols=BTCUSDT,ETHUSDT&intervals=1m,1h&closed={closed}")
    await w.clock.sleep(65.0)
    before = len(w.calls())
    await w.clock.sleep(310.0)  # longer than what nobody asks for is followed
    assert len(w.calls()) - before <= 4
    assert len(w.streams.topics[Market.SPOT]) == 4


async def test_who_wants_only_closed_candles_costs_one_read_a_close() -> None:
    w = world()
    client, began_ms = await listen(w, f"{TWO}&closed=true"), w.clock.true_ms()
    await w.clock.sleep(5.0)
    before = len(w.calls())
    await w.clock.sleep(240.0)
    assert len(w.calls()) - before <= 2 * 4 + 2
    assert {event.name for event in client.events} == {"closed"}
    check_closed(w, client.events, began_ms - 5_000, w.clock.true_ms() // MINUTE * MINUTE - 1)


async def test_an_outage_of_streams_and_rest_loses_and_repeats_nothing() -> None:
    w = world(connections=True)
    client, began_ms = await listen(w, "market=spot&symbols=BTCUSDT&intervals=1s,1m"), w.clock.true_ms()
    await w.clock.sleep(30.0)
    w.net.pull_the_cable()
    w.exchange.control.ban("spot", 70.0)
    await w.clock.sleep(70.0)
    assert {event.series for event in client.named("stale")} == {("BTCUSDT", "1s"), ("BTCUSDT", "1m")}
    assert not client.named("fresh")
    lost_s = w.clock.now()
    w.net.unplugged = False
    await w.clock.sleep(30.0)
    assert {event.series for event in client.named("fresh")} == {("BTCUSDT", "1s"), ("BTCUSDT", "1m")}
    assert max(event.at_s for event in client.named("fresh")) < lost_s + 10.0
    check_closed(w, client.events, began_ms - 5_000, client.named("closed")[-1].row[6])
    for series in (("BTCUSDT", "1s"), ("BTCUSDT", "1m")):
        turns = [event.name for event in client.named("stale", "fresh") if event.series == series]
        assert turns == ["stale", "fresh"] * (len(turns) // 2)


async def test_who_comes_back_with_his_position_gets_what_he_missed() -> None:
    w = world(streams=True)
    query = "market=spot&symbols=BTCUSDT&intervals=1s,1m"
    client, began_ms = await listen(w, query), w.clock.true_ms()
    events: list[ReceivedEvent] = []
    for listens_s, away_s in ((0.2, 0.0), (27.94, 0.4), (0.0, 25.0), (0.001, 100.0), (1.0, 3.0), (10.0, 0.0)):
        await w.clock.sleep(listens_s)  # the second time ends at a full minute
        await client.close()
        events += client.events
        await w.clock.sleep(away_s)
        client = await listen(w, query, client.last_id)
    await w.clock.sleep(5.0)
    events += client.events
    check_closed(w, events, began_ms - 5_000, (w.clock.true_ms() - 3_000) // 1_000 * 1_000 - 1)


async def test_a_position_holds_after_a_restart_of_the_daemon() -> None:
    w = world()
    client, began_ms = await listen(w), w.clock.true_ms()
    await w.clock.sleep(70.0)
    await client.close()
    await w.aclose()
    await w.clock.sleep(300.0)
    w.restart()
    again = await listen(w, TWO, client.last_id)
    await w.clock.sleep(10.0)
    check_closed(w, [*client.events, *again.events], began_ms - 5_000, w.clock.true_ms() // MINUTE * MINUTE - 1)


@pytest.mark.exhaustive
async def test_a_position_holds_on_another_replica() -> None:
    w = world()
    other = ServedDaemon(PLENTY, DaemonOptions(), beside=w)
    client, began_ms = await listen(w), w.clock.true_ms()
    events: list[ReceivedEvent] = []
    for replica in (other, w, other):
        await w.clock.sleep(70.0)
        await client.close()
        events += client.events
        client = await listen(replica, TWO, client.last_id)
        assert client.status == 200
    await w.clock.sleep(70.0)
    check_closed(w, [*events, *client.events], began_ms - 5_000, w.clock.true_ms() // MINUTE * MINUTE - 1)


@pytest.mark.exhaustive
async def test_a_candle_that_is_printed_differently_is_sent_again() -> None:
    w = world()
    client = await listen(w)
    await w.clock.sleep(35.0)
    (first,) = [event for event in client.named("closed") if event.series == ("BTCUSDT", "1m")]
    w.exchange.control.revise("/api/v3/klines", "BTCUSDT", "1m", first.row[0], volume="1", trades=3)
    await w.clock.sleep(10.0)
    (revised,) = client.named("revised")
    assert revised.row == printed(
        next(row for row in truth(w, first, w.clock.true_ms()) if row[0] == first.row[0]), closed=True
    )
    assert revised.row[8] == first.row[8] + 3
    await w.clock.sleep(200.0)
    w.exchange.control.revise("/api/v3/klines", "BTCUSDT", "1m", first.row[0], volume="2", trades=4)  # it has settled
    await w.ask("/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=1")
    await w.clock.sleep(80.0)
    assert len(client.named("revised")) == 2
    assert [event.row[0] for event in client.named("closed")].count(first.row[0]) == 2  # of both symbols, once each
    late = await listen(w)
    await w.clock.sleep(5.0)
    assert not late.named("revised")


async def test_what_an_audit_mends_is_sent_without_looking_at_what_lies_between() -> None:
    w = world()
    client = await listen(w, "market=spot&symbols=BTCUSDT&intervals=1m")
    old_ms = w.clock.true_ms() // MINUTE * MINUTE - 4_000 * MINUTE
    old = f"symbol=BTCUSDT&interval=1m&startTime={old_ms}&limit=1000".encode()
    for page in range(4):
        await w.get(query=old.replace(str(old_ms).encode(), str(old_ms + page * 1000 * MINUTE).encode()))
    (series,) = [each for each in w.library if each.key.subject == "BTCUSDT" and each.key.interval == "1m"]
    before, between = await w.get(query=old), series.blocks.span(series.blocks.indexes(0, FOREVER_MS)[2])[0]
    index = between // series.blocks.width_ms
    block = series.blocks.find(index)
    assert block is not None
    series.blocks.compress(block, block_codec.encode(block), block_codec)
    w.exchange.control.revise("/api/v3/klines", "BTCUSDT", "1m", old_ms + MINUTE, volume="1", trades=3)
    window = Window(WindowKind.RANGE, old_ms, old_ms + 99 * MINUTE, 1000)
    found = await w.flights.reread(series, window, Priority(Lane.LOW, w.clock.now() + 8.0))
    assert found.confirmed
    await w.clock.sleep(5.0)
    assert [event.row[0] for event in client.named("revised")] == [old_ms + MINUTE]
    assert series.blocks.if_decompressed(index) is None
    after = await w.get(query=old)
    assert after.body == w.exchange.truth("/api/v3/klines", old.decode(), at_ms=w.clock.true_ms())
    assert after.headers["etag"] != before.headers["etag"]


async def test_what_an_audit_mends_is_sent_before_the_next_close() -> None:
    w = world()
    query = "market=spot&symbols=BTCUSDT&intervals=1d&closed=true"
    client = await listen(w, query)
    since = json.loads((await w.get("/v1/candles", f"{query}&limit=10".encode())).body)["token"]
    waiting = asyncio.create_task(w.get("/v1/candles", f"{query}&limit=10&since={since}&wait=60".encode()))
    await w.clock.sleep(3.0)
    (series,) = [each for each in w.library if each.key.interval == "1d"]
    day_ms = w.clock.true_ms() // 86_400_000 * 86_400_000 - 5 * 86_400_000
    w.exchange.control.revise("/api/v3/klines", "BTCUSDT", "1d", day_ms, volume="1", trades=3)
    window = Window(WindowKind.RANGE, day_ms, day_ms + 86_400_000, 1000)
    assert (await w.flights.reread(series, window, Priority(Lane.LOW, w.clock.now() + 8.0))).confirmed
    before = len(w.calls())
    await w.clock.sleep(5.0)
    assert [event.row[0] for event in client.named("revised")] == [day_ms]
    assert waiting.done()
    assert waiting.result().status == 200
    assert len(w.calls()) - before <= 1


async def test_rows_that_are_shown_unfinished_are_closed_once_and_then_revised() -> None:
    w = world()
    w.exchange.control.late_rows(4.0, short_s=3.0)
    client, began_ms = await listen(w), w.clock.true_ms()
    await w.clock.sleep(130.0)
    last: dict[tuple[tuple[str, str], int], list[Any]] = {}
    for event in client.named("closed", "revised"):
        last[event.series, event.row[0]] = event.row
    for (series, _), row in last.items():
        event = next(each for each in client.events if each.series == series)
        assert row in [printed(each, closed=True) for each in truth(w, event, w.clock.true_ms())]
    opens = [(event.series, event.row[0]) for event in client.named("closed") if event.row[6] > began_ms]
    assert len(opens) == len(set(opens)) == 2 * 2


async def test_a_client_that_takes_nothing_costs_nobody_anything_and_misses_no_close() -> None:
    w = world(streams=True)
    query = "market=spot&symbols=BTCUSDT&intervals=1s"
    slow, quick, began_ms = await listen(w, query), await listen(w, query), w.clock.true_ms()
    await w.clock.sleep(3.0)
    slow.reads.clear()
    await w.clock.sleep(120.0)
    until_ms = (w.clock.true_ms() - 3_000) // 1_000 * 1_000 - 1
    check_closed(w, quick.events, began_ms - 5_000, quick.named("closed")[-1].row[6])
    had = len(slow.events)
    slow.reads.set()
    await w.clock.sleep(3.0)
    check_closed(w, slow.events, began_ms - 5_000, slow.named("closed")[-1].row[6])
    assert slow.named("closed")[-1].row[6] >= until_ms
    assert len([event for event in slow.events[had:] if event.name == "candle"]) <= 5


async def test_a_heartbeat_comes_when_there_is_nothing_to_say() -> None:
    w = world()
    client = await listen(w, "market=spot&symbols=BTCUSDT&intervals=1h&closed=true")
    await w.clock.sleep(301.0)
    assert client.comments == 20
    assert not client.events
