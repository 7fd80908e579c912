"""The symbols and pairs of a market, parsed from its `exchangeInfo`; a name once seen stays known."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mdcache.errors import BodyFault, InvalidBody
from mdcache.exchange.markets import Market


class _SymbolEntry(msgspec.Struct):
    symbol: str
    status: str | None = None
    contractStatus: str | None = None  # noqa: N815  coinm's name for it
    pair: str | None = None


class _ExchangeInfoSymbols(msgspec.Struct):
    symbols: list[_SymbolEntry]
    rateLimits: list[dict[str, Any]] = []  # noqa: N815  Binance's name


_decoder = msgspec.json.Decoder(_ExchangeInfoSymbols)


@dataclass(frozen=True, slots=True)
class MarketSymbols:
    """The names of one market. `trading`: those that trade now. `as_of_ms`: exchange time of the read."""

    names: frozenset[str] = frozenset()
    pairs: frozenset[str] = frozenset()
    trading: frozenset[str] = frozenset()
    as_of_ms: int = 0
    rate_limits: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    def knows(self, name: str, *, by_pair: bool) -> bool:
        """Return whether this symbol or pair is listed, or once was."""
        return name in (self.pairs if by_pair else self.names)

    def trades(self, name: str, *, by_pair: bool) -> bool:
        """Return whether new rows may still open; a pair trades while any of its contracts does."""
        return by_pair or name in self.trading


def read_symbols(market: Market, body: bytes, as_of_ms: int, before: MarketSymbols) -> MarketSymbols:
    """Return the names of an `exchangeInfo` body, joined with those known `before`.

    Raises:
        InvalidBody: if it is not an `exchangeInfo`.
    """
    try:
        info = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidBody(BodyFault.NOT_EXCHANGE_INFO, str(error)) from error
    if not info.symbols:
        raise InvalidBody(BodyFault.NOT_EXCHANGE_INFO, f"no symbols on {market}")
    return MarketSymbols(
        names=before.names | {entry.symbol for entry in info.symbols},
        pairs=before.pairs | {entry.pair for entry in info.symbols if entry.pair},
        trading=frozenset(
            entry.symbol for entry in info.symbols if (entry.status or entry.contractStatus) == "TRADING"
        ),
        as_of_ms=as_of_ms,
        rate_limits=tuple(info.rateLimits),
    )
