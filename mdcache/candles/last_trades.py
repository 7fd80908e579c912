"""The newest trade of each symbol: the frames of its topics vouch for one another (docs/design.md#silence). Pure."""

from typing import NamedTuple

_BEGUN_ANEW_MS = 600_000  # a lower number that is so much newer is no late frame


class _Seen(NamedTuple):
    """A trade's number, and the latest moment at which it was known to be the newest one."""

    number: int
    until_ms: int


class LastTrades:
    """The newest trade that frames of one market have shown, by symbol.

    A frame shows its candle as it was at its event time, and says which trade was the candle's last. While the candle
    is open, that is the symbol's last trade: any tail that ends with it is complete until then.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def take(self, symbol: str, number: int, until_ms: int) -> None:
        """Record that a trade was the newest one at a moment; a negative number is none.

        Numbers begin anew where a test network was wiped, or a symbol listed again.
        """
        known = self._seen.get(symbol, _Seen(-1, 0))
        newer_ms = until_ms - known.until_ms
        if number > known.number or (number >= 0 and newer_ms > (0 if number == known.number else _BEGUN_ANEW_MS)):
            self._seen[symbol] = _Seen(number, until_ms)

    def newest_until_ms(self, symbol: str, number: int) -> int | None:
        """Return until when a trade was surely the newest one; nothing if there is a newer one, or if it is unknown."""
        known = self._seen.get(symbol)
        return known.until_ms if known is not None and known.number == number >= 0 else None
