"""The symbols and pairs of a market, parsed from its `exchangeInfo`; a name once seen stays known."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from mdcache.background_work import give_way
from mdcache.errors import BodyFault, InvalidBody
from mdcache.exchange.markets import Market
from mdcache.exchange.symbol_list import cut_body
from mdcache.exchange.undecodable import UNDECODABLE, read_text

_NOTHING = msgspec.Raw(b"null")
_ENTRIES_AT_ONCE = 256


class _Entry(msgspec.Struct):
    """An entry of the list. Any field may be of another type than Binance documents: docs/design.md#odd-entries."""

    symbol: msgspec.Raw = _NOTHING
    status: msgspec.Raw = _NOTHING
    contract_status: msgspec.Raw = msgspec.field(default=_NOTHING, name="contractStatus")  # coinm's name for it
    pair: msgspec.Raw = _NOTHING


_any_decoder = msgspec.json.Decoder(Any)
_entry_decoder = msgspec.json.Decoder(_Entry)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What an entry says. `pair`: empty if it names none."""

    symbol: str
    pair: str
    trades: bool


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

    def joined_with(self, before: "MarketSymbols") -> "MarketSymbols":
        """Return these with the names known `before`: one that is no longer listed stays known."""
        return replace(self, names=before.names | self.names, pairs=before.pairs | self.pairs)

    def trades(self, name: str, *, by_pair: bool) -> bool:
        """Return whether new rows may still open; a pair trades while any of its contracts does."""
        return by_pair or name in self.trading


def read_symbols(market: Market, body: bytes, as_of_ms: int) -> MarketSymbols:
    """Return the names of an `exchangeInfo` body.

    Raises:
        InvalidBody: if it is not an `exchangeInfo`.
    """
    try:
        spans, listed = cut_body(body)
    except UNDECODABLE as error:
        raise InvalidBody(BodyFault.NOT_EXCHANGE_INFO, str(error)) from error
    entries: list[_Listed] = []
    for at in range(0, len(listed), _ENTRIES_AT_ONCE):
        entries += [entry for raw in listed[at : at + _ENTRIES_AT_ONCE] if (entry := _read_entry(raw)).symbol]
        give_way()
    if not entries:
        raise InvalidBody(BodyFault.NOT_EXCHANGE_INFO, f"no symbols on {market}")
    limits_at, limits_to = spans.get("rateLimits", (0, 0))
    return MarketSymbols(
        names=frozenset(entry.symbol for entry in entries),
        pairs=frozenset(entry.pair for entry in entries if entry.pair),
        trading=frozenset(entry.symbol for entry in entries if entry.trades),
        as_of_ms=as_of_ms,
        rate_limits=_read_limits(body[limits_at:limits_to]),
    )


def _read_entry(raw: msgspec.Raw) -> _Listed:
    """Return what an entry says; its symbol is empty if it names none.

    A symbol without a known status trades, so that nothing after its rows is believed.
    """
    try:
        entry = _entry_decoder.decode(raw)
    except UNDECODABLE:
        entry = _Entry()
    status = read_text(entry.status) or read_text(entry.contract_status) or "TRADING"
    return _Listed(read_text(entry.symbol), read_text(entry.pair), trades=status == "TRADING")


def _read_limits(raw: bytes) -> tuple[Mapping[str, Any], ...]:
    try:
        limits = _any_decoder.decode(raw)
    except UNDECODABLE:
        return ()
    return tuple(limit for limit in limits if isinstance(limit, dict)) if isinstance(limits, list) else ()
