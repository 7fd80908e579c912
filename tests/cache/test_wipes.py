"""Rows that the exchange no longer has: a wiped test network, a symbol listed anew (docs/design.md#wipes)."""

from pathlib import Path

import pytest

from mdcache.events import OddBody
from mdcache.sim import SimConfig
from tests.support.edited_rows import PageRequest, PrintedRows, edit_rows
from tests.support.virtual_daemon import VirtualDaemon, ready, rows

pytestmark = pytest.mark.virtual

PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
MARKETS = [
    ("/api/v3/klines", "BTCUSDT", "ETHUSDT"),
    ("/fapi/v1/klines", "BTCUSDT", "ETHUSDT"),
    ("/dapi/v1/klines", "BTCUSD_PERP", "ETHUSD_PERP"),
]
HOUR = 3_600_000


@pytest.mark.parametrize(("path", "symbol", "other"), MARKETS)
@pytest.mark.parametrize("since", [0, 3, 40])
async def test_what_is_wiped_is_forgotten(path: str, symbol: str, other: str, since: int, tmp_path: Path) -> None:
    w = VirtualDaemon(PLENTY, folder=tmp_path)
    edited = edit_rows(w)
    await ready(w, other, path)
    now = w.clock.true_ms()
    wiped_ms = now // HOUR * HOUR - since * HOUR
    newest = f"symbol={symbol}&interval=1h&limit=500"
    span = f"symbol={symbol}&interval=1h&startTime={wiped_ms - 100 * HOUR}&endTime={now}&limit=400"
    minutes = f"symbol={symbol}&interval=1m&startTime={wiped_ms - 100 * HOUR}&endTime={wiped_ms - 99 * HOUR}"
    for query in (newest, span, minutes):
        assert (await w.ask(path, query)).rows > 50
    edited.lost_before_ms = wiped_ms
    costs = []
    for _ in range(4):
        await w.clock.sleep(2.5)
        before = len(edited.pages)
        assert [row[0] for row in rows(await w.ask(path, newest))] == [wiped_ms + n * HOUR for n in range(since + 1)]
        costs.append(len(edited.pages) - before)
    assert costs[0] <= 4
    assert costs[1:] == [1, 1, 1]
    assert (await w.ask(path, span)).rows == since + 1
    assert (await w.ask(path, minutes)).rows == 0, "another interval of the symbol"
    await w.aclose()
    w.restart()
    assert (await w.ask(path, span)).rows == since + 1
    assert (await w.ask(path, minutes)).rows == 0
    assert [event.oddity for event in w.events if isinstance(event, OddBody)] == ["wiped"]
    await w.aclose()


async def test_a_market_is_forgotten_when_three_of_its_symbols_were_wiped() -> None:
    w = VirtualDaemon(PLENTY)
    edited = edit_rows(w)
    path = "/api/v3/klines"
    wiped_ms = w.clock.true_ms() // HOUR * HOUR - 3 * HOUR
    old = f"interval=1h&startTime={wiped_ms - 100 * HOUR}&endTime={wiped_ms - 50 * HOUR}"
    symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    for symbol in [*symbols, "BNBUSDT"]:
        await w.ask(path, f"symbol={symbol}&interval=1h&limit=200")
    edited.lost_before_ms = wiped_ms
    await w.clock.sleep(2.5)
    for symbol in symbols:
        assert (await w.ask(path, f"symbol=BNBUSDT&{old}")).rows == 51
        await w.ask(path, f"symbol={symbol}&interval=1h&limit=200")
    assert (await w.ask(path, f"symbol=BNBUSDT&{old}")).rows == 0
    await w.aclose()


@pytest.mark.parametrize("known", [True, False])
async def test_a_page_that_is_only_broken_costs_no_rows(*, known: bool) -> None:
    w = VirtualDaemon(PLENTY)
    edited = edit_rows(w)
    path, query = "/api/v3/klines", "symbol=BTCUSDT&interval=1h&limit=200"
    await w.ask(path, query)

    def broken(page: PageRequest, page_rows: PrintedRows) -> PrintedRows:
        if page.newest:
            return page_rows[-4:]
        return page_rows if known else []

    edited.edit = broken
    await w.clock.sleep(2.5)
    answer = await w.ask(path, query)
    assert (answer.rows, answer.stale) == (200, not known)
    edited.edit = None
    await w.clock.sleep(2.5)
    before = len(edited.pages)
    answer = await w.ask(path, query)
    assert answer.body == w.exchange.truth(path, query, at_ms=answer.as_of_ms)
    assert len(edited.pages) - before == 1, "nothing was forgotten"
    await w.aclose()
