"""Preconditions of every question: the exchange's clock has been measured, and the symbols exist."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from mdcache.errors import DeadlinePassed, GateClosed
from mdcache.exchange.markets import Market
from mdcache.upstream.exchange_clock import ExchangeClocks


class SymbolChecks(Protocol):
    """Checks which names exist."""

    async def check_symbols(self, market: Market, names: Iterable[tuple[str, bool]]) -> None:
        """Raise Binance's refusal if one of these names, given as (name, is a pair), is not known."""


async def check_preconditions(
    clocks: ExchangeClocks, symbols: SymbolChecks, market: Market, names: Iterable[tuple[str, bool]], timeout_s: float
) -> GateClosed | None:
    """Measure the market's clock if it never was, and check that all names are listed.

    Args:
        clocks: The exchange's clocks.
        symbols: The symbols of all markets.
        market: The market that is asked.
        names: Names, each with whether it is a pair.
        timeout_s: How long this may take, in seconds.

    Returns:
        Why the clock can't be known, if a closed gate is the reason. Settled rows may be served all the same, but
        nothing may be read by that clock.

    Raises:
        Refusal: A name is not listed.
        DeadlinePassed: It took longer than `timeout_s`.
        UpstreamUnavailable, UpstreamFailed: Binance can't be asked, or gave no usable reply.
    """
    gate_closed = None
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            try:
                await clocks.ensure(market)
            except GateClosed as error:
                gate_closed = error
            await symbols.check_symbols(market, names)
    except TimeoutError as error:
        raise DeadlinePassed(1.0, "no answer from Binance in time") from error
    return gate_closed
