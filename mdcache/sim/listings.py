"""The listed symbols at each moment; symbols may be listed and delisted while the exchange runs.

Every change makes a new version of a symbol from that moment on, so that questions about earlier moments still get
their old answers.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import replace

from mdcache.sim.config import Market, Outage, SymbolSpec

_Key = tuple[Market, str]


class Listings:
    """All symbols of the three markets, in the order in which they were added."""

    def __init__(self, symbols: Iterable[SymbolSpec]) -> None:
        self._given = tuple(symbols)
        self._versions: dict[_Key, list[tuple[int, SymbolSpec]]] = {}
        self._resets = 0
        self.reset()

    def reset(self) -> None:
        """Forget every change."""
        self._resets += 1
        self._changed_ms: list[int] = []
        self._versions = {(spec.market, spec.symbol): [(0, spec)] for spec in self._given}

    def changes(self, at_ms: int) -> tuple[int, int]:
        """Return a value that is another one for moments between which anything below has changed."""
        return self._resets, bisect_right(self._changed_ms, at_ms)

    def known(self, market: Market, at_ms: int) -> list[SymbolSpec]:
        """Return every symbol of a market as it was at a moment, listed or not."""
        found = (_version(versions, at_ms) for (one, _), versions in self._versions.items() if one == market)
        return [spec for spec in found if spec is not None]

    def visible(self, market: Market, at_ms: int) -> list[SymbolSpec]:
        """Return what the market's `exchangeInfo` lists at a moment."""
        return [spec for spec in self.known(market, at_ms) if spec.visible(at_ms)]

    def changed(self) -> list[SymbolSpec]:
        """Return the current versions of the symbols that changed since the last `reset`."""
        given = set(self._given)
        return [versions[-1][1] for versions in self._versions.values() if versions[-1][1] not in given]

    def add(self, spec: SymbolSpec, at_ms: int) -> None:
        """List a new symbol; raises `ValueError` if the market ever listed it."""
        key = (spec.market, spec.symbol)
        if key in self._versions:
            raise ValueError(f"{spec.market} knows {spec.symbol} already")
        self._versions[key] = [(at_ms, spec)]
        insort(self._changed_ms, at_ms)

    def halt(self, market: Market, symbol: str, at_ms: int, *, status: str) -> None:
        """Stop trading in a symbol."""
        spec = self._current(market, symbol)
        if spec.halted_ms is not None and spec.halted_ms <= at_ms:
            raise ValueError(f"{symbol} is halted already")
        self._change(replace(spec, halted_ms=at_ms, status=status), at_ms)

    def delist(self, market: Market, symbol: str, at_ms: int) -> None:
        """Delist a symbol, and stop trading in it."""
        spec = self._current(market, symbol)
        if not spec.visible(at_ms):
            raise ValueError(f"{symbol} is not listed")
        halted_ms = at_ms if spec.halted_ms is None else min(spec.halted_ms, at_ms)
        self._change(replace(spec, halted_ms=halted_ms, delisted_ms=at_ms), at_ms)

    def relist(self, market: Market, symbol: str, at_ms: int) -> None:
        """Let a halted or delisted symbol trade again; the time between stays without rows."""
        spec = self._current(market, symbol)
        if spec.halted_ms is None or spec.halted_ms > at_ms:
            raise ValueError(f"{symbol} trades")
        outages = (*spec.outages, Outage(spec.halted_ms, at_ms))
        self._change(replace(spec, halted_ms=None, delisted_ms=None, status="TRADING", outages=outages), at_ms)

    def _current(self, market: Market, symbol: str) -> SymbolSpec:
        versions = self._versions.get((market, symbol))
        if versions is None:
            raise ValueError(f"{market} does not know {symbol}")
        return versions[-1][1]

    def _change(self, spec: SymbolSpec, at_ms: int) -> None:
        self._versions[spec.market, spec.symbol].append((at_ms, spec))
        insort(self._changed_ms, at_ms)


def _version(versions: list[tuple[int, SymbolSpec]], at_ms: int) -> SymbolSpec | None:
    """Return the version in force at a moment."""
    return next((spec for since, spec in reversed(versions) if since <= at_ms), None)
