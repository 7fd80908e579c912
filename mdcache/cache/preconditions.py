"""What every question needs first: the market's clock, and symbols that exist."""

import asyncio
from collections.abc import Iterable

from mdcache.cache.symbols import SymbolTable
from mdcache.errors import DeadlinePassed, GateClosed
from mdcache.exchange.markets import Market
from mdcache.upstream.exchange_clock import ExchangeClocks


async def check_preconditions(
    clocks: ExchangeClocks, symbols: SymbolTable, market: Market, names: Iterable[tuple[str, bool]], timeout_s: float
) -> GateClosed | None:
    """Measure the clock if it never was, and check that each (name, is a pair) is listed; at most `within_s`.

    Returns why the clock can't be known, where a shut gate is the reason: what is settled may be shown all the same,
    and nothing may be read by that clock. Raises Binance's refusal of a name it does not know, `DeadlinePassed`, and
    what asking Binance raises.
    """
    barred = None
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            try:
                await clocks.ensure(market)
            except GateClosed as error:
                barred = error
            await symbols.ensure_loaded(market)
            for name, by_pair in names:
                await symbols.check(market, name, by_pair=by_pair)
    except TimeoutError as error:
        raise DeadlinePassed(1.0, "no answer from Binance in time") from error
    return barred
