"""The application over the real data path and the simulated exchange: docs/design.md#clients from the outside."""

import json
from collections.abc import AsyncIterator

import pytest

from mdcache.exchange.markets import Family, Market
from tests.support.asgi_client import ask
from tests.support.served_daemon import QUERY, TOKEN, ServedDaemon, served_daemon

pytestmark = pytest.mark.virtual


@pytest.fixture(name="w")
async def one() -> AsyncIterator[ServedDaemon]:
    async with served_daemon() as w:
        yield w


async def test_the_same_bytes_as_binance(w: ServedDaemon) -> None:
    for path in ("/api/v3/klines", "/fapi/v1/klines"):
        ours = await w.get(path, b"symbol=ETHUSDT&interval=1h&limit=200&endTime=1790000000000")
        theirs = await w.direct(path, b"symbol=ETHUSDT&interval=1h&limit=200&endTime=1790000000000")
        assert ours.status == theirs.status_code == 200
        assert ours.body == theirs.content
        assert ours.headers["content-type"] == theirs.headers["content-type"]


async def test_once_is_enough_within_the_ttl(w: ServedDaemon) -> None:
    first = await w.get()
    before = len(w.calls())
    replies = [await w.get() for _ in range(20)]
    assert len(w.calls()) == before
    assert first.headers["cache-status"].startswith("mdcache; fwd=uri-miss; fwd-status=200; stored; ttl=")
    assert {reply.headers["cache-status"] for reply in replies} <= {f"mdcache; hit; ttl={n}" for n in range(3)}
    assert {reply.headers["etag"] for reply in replies} == {first.headers["etag"]}
    assert {reply.headers["x-mdcache-as-of"] for reply in replies} == {first.headers["x-mdcache-as-of"]}
    assert int(first.headers["x-mbx-used-weight-1m"]) > 0
    await w.clock.sleep(2.5)
    refreshed = await w.get()
    assert len(w.calls()) == before + 1
    assert refreshed.headers["cache-status"].startswith("mdcache; fwd=stale; ")


async def test_a_closed_gate_is_refused_with_retry_after_once_too_stale(w: ServedDaemon) -> None:
    await w.get()
    w.governor.close_gate(Family.SPOT, 90.0)
    await w.clock.sleep(3.0)
    marked = await w.get()
    assert marked.status == 200
    assert marked.headers["cache-status"].endswith("; detail=stale")
    await w.clock.sleep(40.0)
    refused = await w.get()
    assert (refused.status, json.loads(refused.body)["code"]) == (503, -1003)
    assert 40 < int(refused.headers["retry-after"]) <= 50
    assert (await w.get(query=QUERY, cache_control="only-if-cached")).status in {503, 504}
    reply = await ask(
        w.app,
        "/v1/admin/gate",
        b"",
        method="POST",
        headers={"authorization": f"Bearer {TOKEN}"},
        body=b'{"family":"spot","action":"open"}',
    )
    assert reply.status == 200
    assert (await w.get()).status == 200


async def test_wrong_questions_cost_nothing(w: ServedDaemon) -> None:
    await w.get()
    before = len(w.calls())
    for query, code in [(b"symbol=NOPEUSDT&interval=1m", -1121), (b"symbol=ETHUSDT&interval=7m", -1120)]:
        reply = await w.get(query=query)
        assert (reply.status, json.loads(reply.body)["code"]) == (400, code)
    assert len(w.calls()) == before


async def test_time_is_the_exchanges(w: ServedDaemon) -> None:
    body = json.loads((await w.get("/fapi/v1/time", b"")).body)
    assert abs(body["serverTime"] - w.clock.true_ms()) < 50
    assert w.governor.clocks.measured(Market.USDM)


async def test_a_purge_makes_it_ask_again(w: ServedDaemon) -> None:
    for _ in range(3):
        await w.get()
    before = len(w.calls())
    reply = await ask(
        w.app, "/v1/admin/purge", b"", method="POST", headers={"authorization": f"Bearer {TOKEN}"}, body=b"{}"
    )
    assert json.loads(reply.body) == {"purged": 1}
    assert (await w.get()).headers["cache-status"].startswith("mdcache; fwd=uri-miss")
    assert len(w.calls()) == before + 1


async def test_status_and_metrics(w: ServedDaemon) -> None:
    for _ in range(3):
        await w.get(x_mdcache_client="engine")
    status = json.loads((await w.get("/v1/status", b"")).body)
    assert status["series"]["count"] == 1
    assert status["symbols"]["spot"]["count"] > 0
    assert status["clocks"]["spot"]["measured"] is True
    assert status["requests"] == {
        "hit": 2,
        "miss": 1,
        "partial": 0,
        "collapsed": 0,
        "stale": 0,
        "refused": 0,
        "error": 0,
    }
    assert status["calls"]["missing_rows"]["minute"] == {"calls": 1, "failed": 0, "weight": 2}
    assert status["calls"].keys() == {"missing_rows", "symbols", "clock"}
    spent = sum(entry.weight for entry in w.exchange.log)
    assert sum(status["weights"]["spot"]["by_second"]) == spent == status["families"][0]["used"]


async def test_a_ban_stands_in_the_status(w: ServedDaemon) -> None:
    await w.get()
    w.exchange.control.ban("spot", 90)
    await w.clock.sleep(3)
    await w.get()
    status = json.loads((await w.get("/v1/status", b"")).body)
    note = next(note for note in status["events"] if note["kind"] == "gate")
    assert (note["level"], note["where"]) == ("warning", "spot")
    assert note["what"].startswith("closed: 418, for 8")
    assert status["calls"]["refresh"]["total"]["failed"] == 1


async def test_the_series_of_the_status(w: ServedDaemon) -> None:
    await w.get()
    await w.get("/fapi/v1/continuousKlines", b"pair=BTCUSDT&contractType=PERPETUAL&interval=1h&limit=20")
    await w.clock.sleep(1)
    assert "list" not in json.loads((await w.get("/v1/status", b"")).body)["series"]
    listed = json.loads((await w.get("/v1/status", b"series=1")).body)["series"]["list"]
    assert [(line["market"], line["symbol"], line["interval"], line["rows"]) for line in listed] == [
        ("spot", "ETHUSDT", "1m", 1000),
        ("usdm", "BTCUSDT", "1h", 99),
    ]
    assert listed[1]["contract_type"] == "PERPETUAL"
    assert all(line["source"] == "rest" and 1.0 <= line["age_s"] < 3.0 for line in listed)
    assert (await w.get("/v1/status", b"series=all")).status == 400


async def test_metrics(w: ServedDaemon) -> None:
    for _ in range(3):
        await w.get(x_mdcache_client="engine")
    page = (await w.get("/metrics", b"")).body.decode()
    assert 'mdcache_requests_total{client="engine",endpoint="klines",market="spot",result="hit"} 2.0' in page
    assert 'mdcache_gate_state{family="spot",state="open"} 1.0' in page


@pytest.mark.parametrize("header", ["gzip", "gzip, deflate, br"])
async def test_far_clients_get_gzip(header: str) -> None:
    async with served_daemon() as w:
        for _ in range(3):
            reply = await ask(w.app, query=QUERY, headers={"accept-encoding": header}, peer=("192.0.2.1", 5))
            assert reply.headers["content-encoding"] == "gzip"
            assert len(reply.body) < 30_000
