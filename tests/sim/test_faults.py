"""Each action of the control does what it says, and no more."""

import gzip
import json
import zlib
from decimal import Decimal

import pytest

from mdcache.sim import FAULT_KINDS
from tests.sim.helpers import HOUR, MINUTE, T0, Sim, header

KLINES = "/api/v3/klines"
QUERY = "symbol=BTCUSDT&interval=1m&limit=5"


def spoilt(sim: Sim, kind: str, **options: object) -> tuple[list[list[object]], object]:
    """The honest rows, and what a fault of that kind makes of them."""
    honest = sim.rows(QUERY)
    sim.control.fault(kind, count=1, **options)  # type: ignore[arg-type]  # options of one kind or another
    return honest, json.loads(sim.get(KLINES, QUERY).body)


@pytest.mark.parametrize(
    ("kind", "status", "wait"), [("429", 429, 7), ("418", 418, 90), ("500", 500, None), ("503", 503, None)]
)
def test_statuses(sim: Sim, kind: str, status: int, wait: int | None) -> None:
    for path, family in ((KLINES, "spot"), ("/fapi/v1/klines", "futures")):
        sim.control.fault(kind, count=1, retry_after_s=wait)
        reply = sim.get(path, QUERY)
        assert reply.status == status
        assert header(reply, "retry-after") == (None if wait is None else str(wait))
        assert json.loads(reply.body)["code"] in {-1003, -1000, -1001, -1008}
        assert sim.exchange.used_weight("spot" if family == "spot" else "futures") > 0
        assert sim.get(path, QUERY).status == 200


def test_refusals_without_a_wait(sim: Sim) -> None:
    sim.control.fault("429", count=1)
    assert header(sim.get(KLINES, QUERY), "retry-after") is None
    sim.control.fault("418", count=1)
    assert f"banned until {sim.now + 120_000}" in json.loads(sim.get(KLINES, QUERY).body)["msg"]


def test_the_edge_answers_before_anything_is_counted(sim: Sim) -> None:
    sim.control.fault("403", count=1)
    reply = sim.get(KLINES, QUERY)
    assert (reply.status, header(reply, "content-type"), header(reply, "server")) == (
        403,
        "text/html",
        "CloudFront",
    )
    assert b"403 ERROR" in reply.body
    assert header(reply, "x-mbx-used-weight") is None
    sim.control.fault("451", count=1)
    status, code, message = sim.error(KLINES, QUERY)
    assert (status, code) == (451, 0)
    assert message.startswith("Service unavailable from a restricted location")
    assert sim.exchange.used_weight("spot") == 0
    assert [entry.status for entry in sim.exchange.log] == [403, 451]


def test_transport_faults_are_stated_in_the_reply(sim: Sim) -> None:
    for kind in ("timeout", "drop", "truncate"):
        sim.control.fault(kind, count=1)
        reply = sim.get(KLINES, QUERY)
        assert (reply.fault, reply.status) == (kind, 200)
        assert len(json.loads(reply.body)) == 5
    assert sim.get(KLINES, QUERY).fault is None


def test_spoilt_rows(sim: Sim) -> None:
    honest, body = spoilt(sim, "object")
    assert isinstance(body, dict)
    assert body["data"] == honest
    honest, body = spoilt(sim, "columns")
    assert body == [row[:11] for row in honest]
    honest, body = spoilt(sim, "more_columns")
    assert body == [[*row, "0"] for row in honest]
    honest, body = spoilt(sim, "disorder")
    assert body == honest[::-1]
    honest, body = spoilt(sim, "doubled")
    assert body == [honest[0], *honest]
    honest, body = spoilt(sim, "empty")
    assert body == []
    honest, body = spoilt(sim, "interval")
    assert body == sim.rows(QUERY.replace("1m", "5m"))
    honest, body = spoilt(sim, "numbers")
    assert isinstance(body, list)
    assert body[0][1] == float(str(honest[0][1]))
    honest, body = spoilt(sim, "nan")
    assert isinstance(body, list)
    assert {row[4] for row in body} == {"NaN"}
    honest, body = spoilt(sim, "crossed")
    assert isinstance(body, list)
    assert all(Decimal(row[2]) < Decimal(row[3]) for row in body)
    honest, body = spoilt(sim, "outside")
    assert isinstance(body, list)
    assert body[0][0] < honest[0][0] - 10**9  # type: ignore[operator]  # rows are lists of anything
    assert body[1:] == honest[1:]


def test_spoilt_bodies(sim: Sim) -> None:
    sim.control.fault("html", count=1)
    reply = sim.get(KLINES, QUERY)
    assert (reply.status, header(reply, "content-type"), reply.body[:6]) == (200, "text/html", b"<html>")
    sim.control.fault("huge", count=1, size=3_000_000)
    assert len(sim.get(KLINES, QUERY).body) == 3_000_000
    sim.control.fault("gzip_bomb", count=1, size=5_000_000)
    reply = sim.get(KLINES, QUERY)
    assert header(reply, "content-encoding") == "gzip"
    assert len(reply.body) < 50_000
    assert len(gzip.decompress(reply.body)) == 5_000_000
    sim.control.fault("garbage_gzip", count=1)
    reply = sim.get(KLINES, QUERY)
    assert header(reply, "content-encoding") == "gzip"
    with pytest.raises((OSError, EOFError, zlib.error)):
        gzip.decompress(reply.body)


def test_faults_choose_their_requests(sim: Sim) -> None:
    sim.control.fault("500", count=2, path="/fapi/")
    sim.control.fault("503", contains="ETH")
    assert [sim.get(KLINES, QUERY).status, sim.get(KLINES, QUERY + "&ETH").status] == [200, 503]
    assert [sim.get("/fapi/v1/ping").status for _ in range(3)] == [500, 500, 200]
    sim.control.clear_faults()
    assert sim.get(KLINES, QUERY + "&ETH").status == 400
    sim.control.fault("500", probability=0.3)
    statuses = [sim.get("/api/v3/ping").status for _ in range(400)]
    assert 80 < statuses.count(500) < 160
    sim.control.reset()
    assert sim.get("/api/v3/ping").status == 200


def test_impossible_faults_are_refused(sim: Sim) -> None:
    with pytest.raises(ValueError, match="no such fault"):
        sim.control.fault("teapot")
    with pytest.raises(ValueError, match="probability"):
        sim.control.fault("500", probability=2)
    assert len(FAULT_KINDS) == 24


def test_refusals_pass_the_body_faults(sim: Sim) -> None:
    sim.control.fault("columns")
    assert sim.error(KLINES, "symbol=NOPE&interval=1m")[1] == -1121
    assert json.loads(sim.get("/api/v3/time").body) == {"serverTime": sim.now}


def test_latency_before_and_after(sim: Sim) -> None:
    assert sim.exchange.delay_before(KLINES) == 0
    sim.control.latency(before_s=1.5, after_s=0.25)
    sim.control.latency(after_s=3, path="/fapi/")
    reply = sim.get(KLINES, QUERY)
    assert (sim.exchange.delay_before(KLINES), reply.delay_after_s) == (1.5, 0.25)
    assert (sim.exchange.delay_before("/fapi/v1/ping"), sim.get("/fapi/v1/ping").delay_after_s) == (0, 3)
    sim.control.latency(after_s=1, jitter_s=0.5)
    waits = {sim.get(KLINES, QUERY).delay_after_s for _ in range(20)}
    assert len(waits) > 10
    assert 1 <= min(waits) < max(waits) <= 1.5


def test_replicas_lag_in_turn(sim: Sim) -> None:
    sim.now = T0 + HOUR + 1_000
    sim.control.set_replicas([0, 4_000])
    bodies = [sim.get(KLINES, QUERY).body for _ in range(4)]
    fresh = sim.exchange.truth(KLINES, QUERY, at_ms=sim.now)
    late = sim.exchange.truth(KLINES, QUERY, at_ms=sim.now, lag_ms=4_000)
    assert late == sim.exchange.truth(KLINES, QUERY, at_ms=sim.now - 4_000)
    assert bodies == [fresh, late, fresh, late]
    assert json.loads(fresh)[-1][0] == json.loads(late)[-1][0] + MINUTE
    assert json.loads(sim.get("/api/v3/time").body)["serverTime"] == sim.now
    sim.control.set_replicas([0, 4_000], mode="random")
    assert {sim.get(KLINES, QUERY).body for _ in range(20)} == {fresh, late}
    with pytest.raises(ValueError, match="lags"):
        sim.control.set_replicas([])


def test_revisions_change_a_row_from_a_moment_on(sim: Sim) -> None:
    row = sim.rows(QUERY)[1]
    sim.control.revise(KLINES, "BTCUSDT", "1m", row[0], from_ms=sim.now + 5_000, volume="0.5", trades=3)
    assert sim.rows(QUERY)[1] == row
    sim.now += 5_000
    revised = sim.rows(QUERY)[1]
    assert Decimal(revised[5]) - Decimal(row[5]) == Decimal("0.5")
    assert len(revised[5].split(".")[1]) == 8
    assert revised[8] == row[8] + 3
    assert [*revised[:5], *revised[6:8], *revised[9:]] == [*row[:5], *row[6:8], *row[9:]]
    assert sim.rows(QUERY, "/api/v3/uiKlines")[1] == revised
    assert sim.rows("symbol=BTCUSDT&interval=5m&limit=2")[0][8] != 0
    sim.control.revise(KLINES, "BTCUSDT", "1m", row[0], volume="-0.00001", trades=-1)
    assert sim.rows(QUERY)[1][8] == row[8] - 1
    sim.control.set_replicas([6_000])
    assert row in sim.rows(QUERY)
    with pytest.raises(ValueError, match="kline path"):
        sim.control.revise("/api/v3/time", "BTCUSDT", "1m", 0)


def test_final_rows_can_come_late(sim: Sim) -> None:
    close = T0 + HOUR
    query = f"symbol=BTCUSDT&interval=1m&limit=1&endTime={close - 1}"
    sim.control.late_rows(10, short_s=3, symbol="BTCUSDT")
    final = json.loads(Sim().exchange.truth(KLINES, query, at_ms=close))[0]
    before = json.loads(Sim().exchange.truth(KLINES, query, at_ms=close - 3_001))[0]
    assert before[8] < final[8]
    trades = []
    for after in (-5_000, -3_001, -1, 0, 9_999, 10_000, 20_000):
        sim.now = close + after
        trades.append(sim.rows(query)[0][8])
    assert trades == sorted(trades)
    assert trades[1:5] == [before[8]] * 4
    assert trades[5:] == [final[8]] * 2
    assert sim.rows(query.replace("BTC", "QUIET")) == Sim(now=sim.now).rows(query.replace("BTC", "QUIET"))
    sim.control.late_rows(0, symbol="BTCUSDT")
    sim.now = close
    assert sim.rows(query)[0] == final


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (KLINES, QUERY),
        (KLINES, "symbol=BTCUSDT&interval=1d&timeZone=8"),
        ("/fapi/v1/premiumIndexKlines", "symbol=BTCUSDT&interval=1m"),
        ("/dapi/v1/indexPriceKlines", "pair=BTCUSD&interval=1M"),
        (KLINES, "symbol=NOPE&interval=1m"),
        ("/fapi/v1/nope", ""),
        ("/api/v3/exchangeInfo", ""),
        ("/dapi/v1/exchangeInfo", ""),
        ("/fapi/v1/time", ""),
    ],
)
def test_truth_is_what_is_answered_without_faults(sim: Sim, path: str, query: str) -> None:
    headers = {"X-MBX-TIME-UNIT": "MICROSECOND"}
    truth = sim.exchange.truth(path, query, headers, at_ms=sim.now)
    assert not sim.exchange.log
    assert sim.exchange.respond("GET", path, query, headers).body == truth
