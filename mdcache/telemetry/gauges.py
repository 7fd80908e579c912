"""The sources of gauges, which are read at each scrape."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


class FamilyState(Protocol):
    """The state of one family of markets (`upstream.governor.FamilyStatus`)."""

    @property
    def family(self) -> str:
        """Return `spot` or `futures`."""

    @property
    def gate_state(self) -> str:
        """Return `open`, `closed`, `probing` or `ramp`."""

    @property
    def gate_reason(self) -> str:
        """Return why it was last closed."""

    @property
    def reopens_in_s(self) -> float:
        """Return the seconds until a probe; 0 unless the gate is closed."""

    @property
    def used(self) -> int:
        """Return the weight we used in this UTC minute."""

    @property
    def allowed(self) -> int:
        """Return the weight we may use per minute."""

    @property
    def address(self) -> int:
        """Return the whole address's weight in this UTC minute, as far as Binance reported it."""

    @property
    def limit(self) -> int:
        """Return the address's limit."""


class StreamState(Protocol):
    """The state of one market's streams (`cache.stream_status.StreamsStatus`)."""

    @property
    def market(self) -> str:
        """Return the market."""

    @property
    def connections(self) -> int:
        """Return how many connections are open."""

    @property
    def topics(self) -> Mapping[str, int]:
        """Return how many topics are followed, by state."""

    @property
    def dead(self) -> int:
        """Return how many of them are dead."""

    @property
    def frames(self) -> Mapping[str, int]:
        """Return how many frames came since the start, by result."""


class ListenersState(Protocol):
    """The state of one market's listeners (`serving.listener_status.ListenersStatus`)."""

    @property
    def market(self) -> str:
        """Return the market."""

    @property
    def listeners(self) -> Mapping[str, int]:
        """Return how many clients listen, by kind."""

    @property
    def topics(self) -> int:
        """Return to how many topics they listen."""

    @property
    def series(self) -> int:
        """Return to the events of how many series they listen."""

    @property
    def frames(self) -> int:
        """Return how many frames were sent since the start."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Return how many were not, by reason."""

    @property
    def mended(self) -> int:
        """Return how many final frames were made of rows."""

    @property
    def closed(self) -> Mapping[str, int]:
        """Return how many listeners were closed, by reason."""

    @property
    def events(self) -> Mapping[str, int]:
        """Return how many events were sent, by name."""


@dataclass(frozen=True, slots=True)
class GaugeSources:
    """The sources; `holes`: by market; `tiers`: whether each store in use works; `tails`: by market and source.

    `streams`, `listeners`: of every market; zeros where there are none.
    """

    families: Callable[[], Iterable[FamilyState]]
    flights: Callable[[], int]
    holes: Callable[[], Mapping[str, int]]
    series: Callable[[], int]
    rows: Callable[[], int]
    rows_bytes: Callable[[], int]
    memory_max_bytes: Callable[[], int]
    tiers: Callable[[], Mapping[str, bool]]
    streams: Callable[[], Iterable[StreamState]]
    listeners: Callable[[], Iterable[ListenersState]]
    listeners_max: Callable[[], int]
    tails: Callable[[], Mapping[str, Mapping[str, int]]]
