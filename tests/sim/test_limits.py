"""Weights, counters, headers, refusals and bans."""

import json

import pytest

from mdcache.sim import SimConfig
from tests.sim.helpers import MINUTE, WORLD, Sim, header

KLINES = "symbol=BTCUSDT&interval=1m&limit=1"
USDM = "/fapi/v1/klines"


@pytest.fixture
def sim() -> Sim:
    return Sim(now=1_700_000_400_000 + 20_000, config=SimConfig(symbols=WORLD, spot_limit=20, futures_limit=20))


@pytest.mark.parametrize(
    ("limit", "weight"),
    [
        ("1", 1),
        ("99", 1),
        ("100", 2),
        ("499", 2),
        ("500", 5),
        ("1000", 5),
        ("1001", 10),
        ("1501", 10),
        ("abc", 5),
        ("", 5),
    ],
)
def test_futures_weights(limit: str, weight: int) -> None:
    sim = Sim()
    for path, name in ((USDM, "BTCUSDT"), ("/dapi/v1/klines", "BTCUSD_PERP")):
        before = sim.exchange.used_weight("futures")
        sim.get(path, f"symbol={name}&interval=1h" + (f"&limit={limit}" if limit else ""))
        assert sim.exchange.used_weight("futures") - before == weight


def test_spot_weights_and_headers() -> None:
    sim = Sim()
    used = []
    for path, query in (
        ("klines", KLINES),
        ("uiKlines", KLINES),
        ("exchangeInfo", ""),
        ("time", ""),
        ("ping", ""),
    ):
        reply = sim.get("/api/v3/" + path, query)
        used.append(int(header(reply, "x-mbx-used-weight-1m") or ""))
        assert header(reply, "x-mbx-used-weight") == str(used[-1])
    assert used == [2, 4, 24, 25, 26]
    assert sim.exchange.used_weight("spot") == 26
    assert sim.exchange.used_weight("futures") == 0
    assert header(sim.get("/fapi/v1/ping"), "x-mbx-used-weight") is None
    assert header(sim.get("/dapi/v1/ping"), "x-mbx-used-weight-1m") == "2"  # one counter for both


def test_refusals_cost_on_futures_only() -> None:
    sim = Sim()
    sim.get(USDM, KLINES.replace("=1m", "=2m"))
    sim.get("/fapi/v1/nope")
    sim.get("/api/v3/klines", "symbol=NOPE&interval=1m")
    assert (sim.exchange.used_weight("futures"), sim.exchange.used_weight("spot")) == (2, 0)


def test_the_counter_is_the_utc_minute_of_an_address(sim: Sim) -> None:
    sim.get("/api/v3/klines", KLINES)
    assert sim.exchange.used_weight("spot", "10.0.0.2") == 0
    sim.now = (sim.now // MINUTE + 1) * MINUTE - 1
    assert sim.exchange.used_weight("spot") == 2
    sim.now += 1
    assert sim.exchange.used_weight("spot") == 0


def test_over_the_limit(sim: Sim) -> None:
    sim.control.spend("spot", 20)
    reply = sim.get("/api/v3/klines", KLINES)
    assert (reply.status, header(reply, "retry-after")) == (429, "40")
    assert header(reply, "x-mbx-used-weight-1m") == "22"
    assert json.loads(reply.body) == {
        "code": -1003,
        "msg": "Too much request weight used; current limit is 20 request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API.",
    }
    assert sim.get("/api/v3/klines", KLINES, client="10.0.0.2").status == 200
    sim.control.spend("futures", 20)
    assert sim.error(USDM, KLINES) == (
        429,
        -1003,
        (
            "Too many requests; current limit of IP(127.0.0.1) is 20 requests per minute. "
            "Please use the websocket for live updates to avoid polling the API."
        ),
    )
    sim.now += MINUTE
    assert sim.get("/api/v3/klines", KLINES).status == 200


def test_going_on_after_429_is_a_ban_and_bans_grow(sim: Sim) -> None:
    for seconds in (120, 240, 480):
        start = sim.now
        sim.control.spend("spot", 100)
        assert [sim.get("/api/v3/ping").status for _ in range(5)] == [429, 429, 429, 418, 418]
        reply = sim.get("/api/v3/ping")
        assert header(reply, "retry-after") == str(seconds)
        assert f"IP banned until {start + seconds * 1000}." in json.loads(reply.body)["msg"]
        assert sim.get("/fapi/v1/ping").status == 200
        sim.now = start + seconds * 1000 - 100_000
        assert header(sim.get("/api/v3/ping"), "retry-after") == "100"
        sim.now = start + seconds * 1000 - 1
        assert sim.get("/api/v3/ping").status == 418
        sim.now += 1
        assert sim.get("/api/v3/ping").status == 200


def test_bans_end_at_three_days(sim: Sim) -> None:
    longest = 0
    for _ in range(15):
        sim.control.spend("futures", 100)
        replies = [sim.get("/fapi/v1/ping") for _ in range(4)]
        longest = int(header(replies[-1], "retry-after") or "")
        sim.now += longest * 1000
    assert longest == 3 * 86_400


def test_waiting_as_long_as_stated_is_never_banned(sim: Sim) -> None:
    for _ in range(20):
        sim.control.spend("spot", 20)
        reply = sim.get("/api/v3/ping")
        assert reply.status == 429
        sim.now += int(header(reply, "retry-after") or "") * 1000


def test_bans_from_the_control(sim: Sim) -> None:
    sim.control.ban("futures", 100)
    status, code, message = sim.error(USDM, KLINES)
    assert (status, code) == (418, -1003)
    assert message.startswith(f"Way too many requests; IP(127.0.0.1) banned until {sim.now + 100_000}. ")
    assert sim.get(USDM, KLINES, client="10.0.0.2").status == 418
    sim.control.unban()
    assert sim.get(USDM, KLINES).status == 200
    sim.control.ban("spot", 60, client="10.0.0.2", retry_after=False)
    assert sim.get("/api/v3/ping").status == 200
    reply = sim.get("/api/v3/ping", client="10.0.0.2")
    assert (reply.status, header(reply, "retry-after")) == (418, None)


def test_the_log_has_what_was_charged(sim: Sim) -> None:
    sim.get("/api/v3/klines", KLINES)
    sim.get(USDM, "symbol=NOPE&interval=1m", client="10.0.0.2")
    first, second = sim.exchange.log
    assert (first.path, first.query, first.status, first.weight, first.family) == (
        "/api/v3/klines", KLINES, 200, 2, "spot",
    )  # fmt: skip
    assert (second.client, second.status, second.weight, second.at_ms) == ("10.0.0.2", 400, 5, sim.now)
    assert sim.exchange.counts["/api/v3/klines", 200] == 1
    sim.control.reset()
    assert not sim.exchange.log
    assert sim.exchange.used_weight("spot") == 0


def test_falsified_headers(sim: Sim) -> None:
    sim.control.weight_header(offset=5, family="spot")
    assert header(sim.get("/api/v3/ping"), "x-mbx-used-weight-1m") == "6"
    assert header(sim.get("/fapi/v1/ping"), "x-mbx-used-weight-1m") == "1"
    sim.control.weight_header(absent=True)
    assert header(sim.get("/api/v3/ping"), "x-mbx-used-weight") is None
    sim.control.weight_header()
    assert header(sim.get("/api/v3/ping"), "x-mbx-used-weight") == "3"
    sim.control.skew_date(-3600)
    assert header(sim.get("/api/v3/ping"), "date") == "Tue, 14 Nov 2023 21:20:20 GMT"
    sim.control.offset_time(-250)
    assert json.loads(sim.get("/api/v3/time").body) == {"serverTime": sim.now - 250}
    sim.control.reset()
    assert json.loads(sim.get("/api/v3/time").body) == {"serverTime": sim.now}


def test_a_stepped_clock_is_the_whole_exchanges(sim: Sim) -> None:
    sim.get("/api/v3/ping")
    assert sim.exchange.used_weight("spot") == 1
    sim.control.step_clock(60)
    assert json.loads(sim.get("/api/v3/time").body) == {"serverTime": sim.now + 60_000}
    assert header(sim.get("/api/v3/ping"), "x-mbx-used-weight") == "2"  # in another minute
    sim.control.reset()
    assert sim.exchange.now_ms() == sim.now
