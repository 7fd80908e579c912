"""Positions: up to which close a listener was sent each of its series, as a text that it sends back. Pure.

A position names times, not events: it holds after a restart of the daemon, and on its other replicas.

    <what is listened to>.<interval>.<interval>…      one part for each interval, in the order of the question
    <close>[~<close>:<symbols>]…                      the first close is that of all symbols not named after it

All numbers are hexadecimal; `symbols` is a mask, of which bit 0 is the first symbol.
"""

import re
from collections.abc import Sequence

import xxhash

_PART = re.compile(r"[0-9a-f]{1,13}(~[0-9a-f]{1,13}:[0-9a-f]{1,250})*", re.ASCII)


class BadPosition(ValueError):
    """The text is not a position, or not one of these series."""


class Position:
    """The position of one listener: for each interval, the symbols by the close up to which they were sent."""

    def __init__(self, name: str, groups: Sequence[dict[int, int]]) -> None:
        self._name = name
        self._groups = groups
        self._parts = [_print(each) for each in groups]
        self._text: str | None = None

    @classmethod
    def at(cls, name: str, close_ms: int, symbols: int, intervals: int) -> "Position":
        """Return the position of a listener that was sent all that closed until then.

        Args:
            name: What is listened to; see `name_of`.
            close_ms: Exchange time in milliseconds.
            symbols: How many symbols there are.
            intervals: How many intervals.
        """
        return cls(name, [{close_ms: (1 << symbols) - 1} for _ in range(intervals)])

    @classmethod
    def read(cls, text: str, name: str, symbols: int, intervals: int) -> "Position":
        """Return the position that a listener sent back; raise `BadPosition`. The arguments are those of `at`."""
        named, *parts = text.split(".")
        if len(parts) != intervals or not all(_PART.fullmatch(part) for part in parts):
            raise BadPosition("it is not a position of mdcache's")
        if named != name:
            raise BadPosition("it belongs to other series, or to an mdcache with another upstream")
        return cls(name, [_read(part, (1 << symbols) - 1) for part in parts])

    def until_ms(self, interval: int, symbol: int) -> int:
        """Return up to which close one series was sent; both are places in the question."""
        return next(close_ms for close_ms, mask in self._groups[interval].items() if mask >> symbol & 1)

    def move(self, interval: int, symbol: int, close_ms: int) -> None:
        """Note that a series was sent up to a later close."""
        bit, groups = 1 << symbol, self._groups[interval]
        for before_ms, mask in groups.items():
            if mask & bit:
                if mask == bit:
                    del groups[before_ms]
                else:
                    groups[before_ms] = mask ^ bit
                break
        groups[close_ms] = groups.get(close_ms, 0) | bit
        self._parts[interval] = _print(groups)
        self._text = None

    def __str__(self) -> str:
        if self._text is None:
            self._text = ".".join((self._name, *self._parts))
        return self._text


def name_of(market: str, symbols: Sequence[str], intervals: Sequence[str], upstream: str) -> str:
    """Return a short name of what is listened to; another upstream has other candles."""
    text = "\n".join((market, ",".join(symbols), ",".join(intervals), upstream))
    return xxhash.xxh64_hexdigest(text.encode())


def _print(groups: dict[int, int]) -> str:
    (first_ms, _), *others = groups.items()
    return "".join((f"{first_ms:x}", *(f"~{close_ms:x}:{mask:x}" for close_ms, mask in others)))


def _read(part: str, everything: int) -> dict[int, int]:
    first, *others = part.split("~")
    named: dict[int, int] = {}
    left = everything
    for each in others:
        close_ms, _, mask = each.partition(":")
        named[int(close_ms, 16)] = bits = int(mask, 16)
        if not bits or bits & ~left:
            raise BadPosition("it names a series twice, or one that there is not")
        left ^= bits
    groups = {int(first, 16): left} if left else {}
    if int(first, 16) in named or len(named) != len(others):
        raise BadPosition("it names a time twice")
    return groups | named
