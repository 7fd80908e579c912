"""Symbols that come and go while the exchange runs."""

import json
from typing import Any

import httpx
import pytest

from mdcache.sim.asgi import SimApp
from tests.sim.helpers import DAY, HOUR, T0, Sim


def listed(sim: Sim, market: str = "spot") -> dict[str, str]:
    path = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}[market]
    symbols = sim.answer(path + "exchangeInfo")["symbols"]
    return {one["symbol"]: one.get("status") or one["contractStatus"] for one in symbols}


def test_a_symbol_is_listed_while_it_runs(sim: Sim) -> None:
    assert sim.error("/api/v3/klines", "symbol=MINTUSDT&interval=1m")[1] == -1121
    born = sim.now
    sim.control.list_symbol("spot", "MINTUSDT", price="3.5")
    assert listed(sim)["MINTUSDT"] == "TRADING"
    sim.now += HOUR
    rows = sim.rows("symbol=MINTUSDT&interval=1m")
    assert 50 < len(rows) <= 61
    assert rows[0][0] > born - 60_000
    assert sim.answer("/api/v3/historicalTrades", "symbol=MINTUSDT&fromId=0&limit=1")[0]["time"] >= born
    assert sim.answer("/api/v3/ticker/price")[-1]["symbol"] == "MINTUSDT"
    assert b'"code":-1121' in sim.exchange.truth("/api/v3/klines", "symbol=MINTUSDT&interval=1m", at_ms=born - 1)
    with pytest.raises(ValueError, match="knows MINTUSDT already"):
        sim.control.list_symbol("spot", "MINTUSDT")
    sim.control.reset()
    assert "MINTUSDT" not in listed(sim)


def test_announced_and_backdated_listings(sim: Sim) -> None:
    sim.control.list_symbol("usdm", "SOONUSDT", listed_ms=sim.now + HOUR)
    sim.control.list_symbol("coinm", "OLDUSD_PERP", listed_ms=T0 - 100 * DAY, price="40")
    assert listed(sim, "usdm")["SOONUSDT"] == "PENDING_TRADING"
    assert sim.rows("symbol=SOONUSDT&interval=1m", "/fapi/v1/klines") == []
    assert len(sim.rows("pair=OLDUSD&contractType=PERPETUAL&interval=1d", "/dapi/v1/continuousKlines")) == 101
    assert sim.answer("/dapi/v1/ticker/price", "pair=OLDUSD")[0]["symbol"] == "OLDUSD_PERP"
    sim.now += HOUR
    assert listed(sim, "usdm")["SOONUSDT"] == "TRADING"


def test_halted_delisted_and_relisted(sim: Sim) -> None:
    query = "symbol=QUIETUSDT&interval=1h&limit=100"
    before = sim.rows(query)
    sim.now += 1
    sim.control.halt("spot", "QUIETUSDT")
    halted_ms = sim.now
    assert listed(sim)["QUIETUSDT"] == "BREAK"
    sim.now += 5 * HOUR
    assert sim.rows(query)[-1][0] == before[-1][0]
    sim.control.delist("spot", "QUIETUSDT")
    delisted_ms = sim.now
    assert "QUIETUSDT" not in listed(sim)
    assert sim.error("/api/v3/ticker/price", "symbol=QUIETUSDT")[1] == -1121
    sim.now += 5 * HOUR
    sim.control.relist("spot", "QUIETUSDT")
    assert listed(sim)["QUIETUSDT"] == "TRADING"
    sim.now += 5 * HOUR
    rows = sim.rows(query)
    opens = [row[0] for row in rows]
    assert rows[-7] == sim.rows(f"symbol=QUIETUSDT&interval=1h&endTime={halted_ms}&limit=1")[0]
    assert opens[-6] - opens[-7] == 10 * HOUR
    assert rows[-8] == before[-2]
    gone = sim.exchange.truth("/api/v3/klines", query, at_ms=delisted_ms + 1)
    assert b"-1121" in gone
    assert json.loads(sim.exchange.truth("/api/v3/klines", query, at_ms=halted_ms - 1)) == before


def test_what_cannot_be_changed(sim: Sim) -> None:
    with pytest.raises(ValueError, match="does not know NOPE"):
        sim.control.halt("spot", "NOPE")
    with pytest.raises(ValueError, match="OLDUSDT is halted"):
        sim.control.halt("spot", "OLDUSDT")
    with pytest.raises(ValueError, match="BTCUSDT trades"):
        sim.control.relist("spot", "BTCUSDT")
    with pytest.raises(ValueError, match="GONEUSDT is not listed"):
        sim.control.delist("spot", "GONEUSDT")


async def test_the_door_lists_and_delists(sim: Sim) -> None:
    async def sleep(_: float) -> None:
        return None

    transport = httpx.ASGITransport(SimApp(sim.exchange, sleep))
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as client:

        async def act(action: str, **arguments: Any) -> int:
            return (await client.post(f"/_sim/{action}", json=arguments)).status_code

        assert await act("list", market="usdm", symbol="MINTUSDT", price="2") == 200
        assert await act("list", market="usdm", symbol="MINTUSDT") == 400
        assert await act("list", market="margin", symbol="X") == 400
        assert await act("halt", market="usdm", symbol="MINTUSDT", status="SETTLING") == 200
        assert listed(sim, "usdm")["MINTUSDT"] == "SETTLING"
        assert await act("relist", market="usdm", symbol="MINTUSDT") == 200
        assert await act("delist", market="usdm", symbol="MINTUSDT") == 200
        assert "MINTUSDT" not in listed(sim, "usdm")
        assert await act("delist", market="usdm", symbol="NOPE") == 400
        body = (await client.get("/_sim/status")).json()
        assert {one["symbol"] for one in body["changed"]} == {"MINTUSDT"}
