"""Requests to `/v1/stream`: what is refused, how many may listen, and how they end."""

import json

import pytest

from mdcache.serving.native.positions import Position
from tests.serving.native.test_event_streams import PLENTY, TWO, listen, world
from tests.support.asgi_client import ask
from tests.support.event_client import EventClient
from tests.support.served_daemon import ServedDaemon
from tests.support.virtual_daemon import DaemonOptions

pytestmark = pytest.mark.virtual

MANY = ",".join(f"S{place}USDT" for place in range(1_001))


def served_series(w: ServedDaemon) -> int:
    return sum(counts.series for counts in w.event_streams.counts().values())


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ("", -1102, "market"),
        ("market=spot", -1102, "symbols"),
        ("market=spot&symbols=BTCUSDT", -1102, "intervals"),
        ("market=spot&symbols=BTCUSDT&intervals=", -1105, "intervals"),
        ("market=moon&symbols=BTCUSDT&intervals=1m", -1130, "market"),
        ("market=spot&symbols=BTCUSDT,NOSUCHUSDT&intervals=1m", -1121, "symbol"),
        ("market=spot&symbols=BTCUSDT,,ETHUSDT&intervals=1m", -1100, "symbols"),
        ("market=spot&symbols=BTCUSDT&intervals=1m,7m", -1120, "'7m': spot has 1s, 1m,"),
        ("market=spot&symbols=BTCUSDT&intervals=1m,", -1120, "''"),
        ("market=usdm&symbols=BTCUSDT&intervals=1s", -1120, "'1s': usdm has 1m, 3m,"),
        (f"market=spot&symbols={MANY}&intervals=1m", -1130, "1000"),
        (f"{TWO}&closed=maybe", -1130, "closed"),
        (f"{TWO}&limit=5", -1104, "limit"),
        (f"{TWO}&signature=abc", -1104, "signature"),
        (f"{TWO}&market=usdm", -1101, "Duplicate"),
    ],
)
async def test_a_wrong_question_is_refused_in_binances_form(query: str, code: int, named: str) -> None:
    client = await listen(world(), query)
    await client._task
    assert client.status == 400
    error = json.loads(client.body)
    assert error["code"] == code
    assert named in error["msg"]
    assert client.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "text",
    ["x", "0", "a.b", "é", "." * 70, "1" * 9_000, f"{'0' * 16}.zz", f"{'0' * 16}.0", f"{'0' * 16}.1~2:3", "-1"],
)
async def test_a_garbage_position_is_refused(text: str) -> None:
    client = await listen(world(), TWO, text)
    await client._task
    assert (client.status, json.loads(client.body)["code"]) == (400, -1130)
    assert "Last-Event-ID" in json.loads(client.body)["msg"]


async def test_a_position_of_other_series_or_of_another_upstream_or_age_is_refused() -> None:
    w = world()
    first = await listen(w)
    await w.clock.sleep(2.0)
    for query in ("market=spot&symbols=BTCUSDT&intervals=1m", "market=spot&symbols=BTCUSDT,BNBUSDT&intervals=1m"):
        other = await listen(w, query, first.last_id)
        assert other.status == 400
    again = await listen(w, f"{TWO}&closed=true", first.last_id)
    assert again.status == 200
    name = first.last_id.partition(".")[0]
    ahead = Position.at(name, w.clock.true_ms() + 120_000, 2, 1)
    assert (await listen(w, TWO, str(ahead))).status == 400
    old = Position.at(name, w.clock.true_ms() - 1_001 * 60_000, 2, 1)
    refused = await listen(w, TWO, str(old))
    await refused._task
    assert refused.status == 410
    assert "1000 candles of BTCUSDT 1m" in json.loads(refused.body)["msg"]
    elsewhere = Position.at("f" * 16, w.clock.true_ms(), 2, 1)
    assert (await listen(w, TWO, str(elsewhere))).status == 400


async def test_no_more_listen_than_may_and_a_place_that_is_left_is_free() -> None:
    w = world()
    w.app._listeners.most = 2
    first, _ = await listen(w), await listen(w)
    third = await listen(w)
    await third._task
    assert third.status == 503
    assert int(third.headers["retry-after"]) >= 1
    assert "MDCACHE_LISTENERS_MAX" in json.loads(third.body)["msg"]
    await first.close()
    assert (await listen(w)).status == 200


async def test_a_shutdown_ends_all_within_the_grace_and_nothing_of_them_is_left() -> None:
    w = world()
    clients = [await listen(w) for _ in range(20)]
    await w.clock.sleep(3.0)
    w.app.drain(10.0)
    assert (await listen(w)).status == 503
    await w.clock.sleep(4.0)
    assert 5 <= sum(client.ended for client in clients) <= 15
    await w.clock.sleep(5.0)
    assert all(client.ended for client in clients)
    assert not served_series(w)
    assert not len(w.app._listeners)


async def test_symbols_may_be_written_small_on_futures_and_twice() -> None:
    w = world()
    client = await listen(w, "market=usdm&symbols=btcusdt,BTCUSDT&intervals=1m,1m")
    await w.clock.sleep(1.0)
    assert [event.series for event in client.named("candle")] == [("BTCUSDT", "1m")]


async def test_head_options_and_other_methods() -> None:
    w = world()
    head = await ask(w.app, "/v1/stream", TWO.encode(), method="HEAD")
    assert (head.status, head.body, head.headers["content-type"]) == (200, b"", "text/event-stream")
    assert (await ask(w.app, "/v1/stream", TWO.encode(), method="OPTIONS")).status == 204
    assert (await ask(w.app, "/v1/stream", TWO.encode(), method="POST")).status == 405


async def test_requests_are_counted_as_others_are() -> None:
    w = world()
    await listen(w)
    await ask(w.app, "/v1/stream", b"market=spot")
    page = (await w.get("/metrics", b"")).body.decode()
    counted = [line for line in page.splitlines() if line.startswith("mdcache_requests_total") and '"stream"' in line]
    assert sorted(counted) == [
        'mdcache_requests_total{client="other",endpoint="stream",market="spot",result="hit"} 1.0',
        'mdcache_requests_total{client="other",endpoint="stream",market="spot",result="refused"} 1.0',
    ]


async def test_while_binance_cant_be_asked_whether_a_symbol_exists_the_answer_says_when_to_come_back() -> None:
    w = ServedDaemon(PLENTY, DaemonOptions())
    w.exchange.control.ban("spot", 300.0)
    await w.get(query=b"symbol=BTCUSDT&interval=1m")
    client = await listen(w)
    await client._task
    assert client.status == 503
    assert int(client.headers["retry-after"]) > 200


async def test_nothing_is_left_of_a_listener_that_leaves() -> None:
    w = world(streams=True)
    clients: list[EventClient] = [await listen(w) for _ in range(3)]
    await w.clock.sleep(3.0)
    assert served_series(w) == 2
    for client in clients:
        await client.close()
    assert not served_series(w)
    before = len(w.calls())
    await w.clock.sleep(60.0)
    assert len(w.calls()) == before
