"""The known symbols of each market, from the newest `exchangeInfo`; a name once seen stays known."""

import math

from mdcache.clock import Clock
from mdcache.exchange.markets import Market
from mdcache.exchange.symbols import MarketSymbols


class SymbolTable:
    """The symbols of the three markets."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._symbols = dict.fromkeys(Market, MarketSymbols())
        self._read_at_s = dict.fromkeys(Market, -math.inf)

    def symbols(self, market: Market) -> MarketSymbols:
        """Return what is known now.

        Returns:
            Every name ever seen on the market, and which of them trade; nothing before the first list.
        """
        return self._symbols[market]

    def age_s(self, market: Market) -> float:
        """Return the seconds since the list was read; infinite if it never was."""
        return self._clock.now() - self._read_at_s[market]

    def update(self, market: Market, symbols: MarketSymbols, age_s: float) -> bool:
        """Apply a list that was read `age_s` ago; return whether it is the newest so far."""
        if symbols.as_of_ms < self._symbols[market].as_of_ms:
            return False
        self._symbols[market] = symbols.joined_with(self._symbols[market])
        self._read_at_s[market] = self._clock.now() - age_s
        return True
