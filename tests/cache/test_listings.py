"""Symbols that are listed, halted, resumed and delisted while they are polled (docs/design.md#holes)."""

from contextlib import suppress
from itertools import product

import pytest

from mdcache.errors import Refusal
from mdcache.sim import SimConfig
from mdcache.sim.config import Market
from tests.support.examples import thinned
from tests.support.virtual_daemon import VirtualDaemon, rows

pytestmark = pytest.mark.virtual

PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
MARKETS: list[tuple[Market, str, str]] = [
    ("spot", "/api/v3/klines", "LATEUSDT"),
    ("usdm", "/fapi/v1/klines", "LATEUSDT"),
    ("coinm", "/dapi/v1/klines", "LATEUSD_PERP"),
]
FORMS = [
    "limit=3",
    "limit=500",
    "startTime={now-3600000}",
    "startTime={now-3600000}&endTime={now}",
    "startTime=0&limit=1",
]
MINUTE = 60_000
SECONDS = 8.0  # within which the first row shows


async def poll(w: VirtualDaemon, path: str, symbol: str, form: str, seconds: float) -> list[tuple[int, int]]:
    """Ask every second; returns when, and what the newest open time shown was (0: none)."""
    shown = []
    until = w.clock.true_ms() + seconds * 1_000
    while w.clock.true_ms() < until:
        now = w.clock.true_ms()
        asked = form.replace("{now-3600000}", str(now - 3_600_000)).replace("{now}", str(now))
        newest = 0
        with suppress(Refusal):  # the exchange's own, while it is delisted
            answer = await w.ask(path, f"symbol={symbol}&interval=1m&{asked}")
            newest = int(str(rows(answer)[-1][0])) if answer.rows else 0
        shown.append((w.clock.true_ms(), newest))
        await w.clock.sleep(1)
    return shown


@pytest.mark.parametrize(("market", "path", "symbol"), MARKETS)
@pytest.mark.parametrize("form", FORMS)
async def test_a_listing_shows_within_seconds(market: Market, path: str, symbol: str, form: str) -> None:
    if market == "coinm" and "startTime=0" in form:
        pytest.skip("the first 200 days of 1970")
    w = VirtualDaemon(PLENTY)
    starts = w.clock.true_ms() // MINUTE * MINUTE + 3 * MINUTE
    w.exchange.control.list_symbol(market, symbol, listed_ms=starts, trades_per_day=1_000_000)
    before = await poll(w, path, symbol, form, (starts - w.clock.true_ms()) / 1_000 - 1)
    assert {newest for _, newest in before} == {0}
    assert len(w.calls()) <= len(before) / 2 + 4
    after = await poll(w, path, symbol, form, 20)
    first = min(at for at, newest in after if newest)
    assert first - starts <= SECONDS * 1_000
    await w.aclose()


@pytest.mark.parametrize(
    ("of", "form", "halt_s", "gone"), thinned(product(MARKETS, FORMS[:-1], [40, 600, 100_000], [False, True]), 11, 6)
)
async def test_a_resumed_or_relisted_symbol_shows_within_seconds(
    of: tuple[Market, str, str], form: str, halt_s: int, *, gone: bool
) -> None:
    market, path, symbol = of
    w = VirtualDaemon(PLENTY)
    control = w.exchange.control
    control.list_symbol(market, symbol, listed_ms=w.clock.true_ms() - 3_000 * MINUTE, trades_per_day=1_000_000)
    await poll(w, path, symbol, form, 5)
    if gone:
        control.delist(market, symbol)
    else:
        control.halt(market, symbol)
    if halt_s > 1_000:
        await w.clock.sleep(halt_s)
    await poll(w, path, symbol, form, min(halt_s, 100))
    before = len(w.calls())
    polled = await poll(w, path, symbol, form, 60)
    assert len(w.calls()) - before <= len(polled) / (1 if gone else 2) + 3
    control.relist(market, symbol)
    resumed = w.clock.true_ms()
    after = await poll(w, path, symbol, form, 20)
    first = min(at for at, newest in after if newest >= resumed // MINUTE * MINUTE)
    assert first - resumed <= SECONDS * 1_000
    await w.aclose()
