"""The faults of open stream connections, and the other settings of streams (docs/sim.md#stream-faults).

Faults of handshakes are those of requests: `faults.py`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from mdcache.sim.config import Market

StreamFaultKind = Literal[
    "silent", "half", "stuck", "garbage", "broken", "late", "no_finals", "refused", "dropped", "ended"
]  # fmt: skip
STREAM_FAULT_KINDS: frozenset[str] = frozenset(get_args(StreamFaultKind))


@dataclass(frozen=True, slots=True)
class StreamFault:
    """One fault of the connections whose path starts with `path`, for topics that contain `topic`.

    `until_ms`: when it ends by itself (`None`: when cleared). `delay_s`: how late frames come, for `late`.
    `life_s`: how long connections last, for `dropped` (no closing handshake) and `ended`.
    """

    kind: str
    market: Market | None = None
    path: str = ""
    topic: str = ""
    until_ms: int | None = None
    delay_s: float = 8.0
    life_s: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a kind that there is not."""
        if self.kind not in STREAM_FAULT_KINDS:
            raise ValueError(f"no such fault: {self.kind!r}; there are: {', '.join(sorted(STREAM_FAULT_KINDS))}")

    def applies(self, market: Market, path: str, now_ms: int) -> bool:
        """Return whether a connection has the fault now."""
        lasts = self.until_ms is None or now_ms < self.until_ms
        return lasts and self.market in {None, market} and path.startswith(self.path)


@dataclass(frozen=True, slots=True)
class MassClosing:
    """The end at `at_ms` of all connections opened before it was told at `told_ms`; `market`: of one market only."""

    market: Market | None
    told_ms: int
    at_ms: int


class StreamSettings:
    """The settings of streams that the control API changes."""

    faults: list[StreamFault]
    quiet: bool  # nothing is sent where nothing was traded

    def __init__(self) -> None:
        self.restore()

    def restore(self) -> None:
        """Undo every change."""
        self.faults, self.quiet = [], True
        self._closings: list[MassClosing] = []

    def of(self, market: Market, path: str, now_ms: int) -> list[StreamFault]:
        """Return the faults of a connection, in the order in which they were set."""
        return [fault for fault in self.faults if fault.applies(market, path, now_ms)]

    def close_all(self, market: Market | None, now_ms: int, notice_ms: int) -> None:
        """End the connections of one market or of all, so long after now."""
        self._closings.append(MassClosing(market, now_ms, now_ms + notice_ms))

    def closing(self, market: Market, opened_ms: int) -> MassClosing | None:
        """Return the end of a connection opened at a moment, if it was told."""
        told = (one for one in self._closings if one.market in {None, market} and opened_ms <= one.told_ms)
        return min(told, key=lambda one: one.at_ms, default=None)
