"""What the metrics read of the rest of the daemon, each time somebody scrapes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


class FamilyState(Protocol):
    """What is known of one family of markets (`upstream.governor.FamilyStatus`)."""

    @property
    def family(self) -> str:
        """`spot` or `futures`."""
        ...

    @property
    def gate_state(self) -> str:
        """`open`, `closed`, `probing` or `ramp`."""
        ...

    @property
    def gate_reason(self) -> str:
        """Why it was last closed."""
        ...

    @property
    def reopens_in_s(self) -> float:
        """0 where the gate is not closed."""
        ...

    @property
    def used(self) -> int:
        """Our weight in this UTC minute."""
        ...

    @property
    def allowed(self) -> int:
        """The most of it."""
        ...

    @property
    def address(self) -> int:
        """The whole address's weight in this UTC minute, as far as Binance told."""
        ...

    @property
    def limit(self) -> int:
        """The address's limit."""
        ...


@dataclass(frozen=True, slots=True)
class GaugeSources:
    """What is read at each scrape; `holes` by market; `tiers`: whether each store in use works."""

    families: Callable[[], Iterable[FamilyState]]
    flights: Callable[[], int]
    holes: Callable[[], Mapping[str, int]]
    series: Callable[[], int]
    rows: Callable[[], int]
    rows_bytes: Callable[[], int]
    memory_max_bytes: Callable[[], int]
    tiers: Callable[[], Mapping[str, bool]]
