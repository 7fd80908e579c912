"""Recent activity for `/v1/status`: weight by second, calls by reason, and notable events.

It is a sink for events, bounded in size, and quotes no request, reply or error text.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from mdcache.clock import Clock
from mdcache.events import (
    BackgroundTaskFailed,
    BodyRejected,
    BudgetShort,
    ClockSuspect,
    DaemonServing,
    DaemonStopped,
    DerivationEnded,
    Event,
    GateChanged,
    OddBody,
    RowRevised,
    SettingsIgnored,
    UpstreamCalled,
)
from mdcache.exchange.markets import Family, Market
from mdcache.results import read_failed
from mdcache.store_events import TierFailed, TierStateChanged
from mdcache.stream_events import StreamComplaint, StreamConnected, StreamEnded, StreamRefused, TopicsDead

WEIGHT_SECONDS = 300  # seconds of weight that are kept: five bars of a gauge, and some before them
MAX_NOTES_PER_KIND = 40  # for each kind, so that a thousand rejected bodies do not hide last night's ban
MINUTE_S = 60

NoteLevel = Literal["info", "warning"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something happened at `where` (a family, a market, a store), `count` times from `since_ms` to `at_ms`.

    Times are this machine's, milliseconds since the Unix epoch.
    """

    kind: str
    level: NoteLevel
    where: str
    what: str
    at_ms: int
    since_ms: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class WeightHistory:
    """Weight sent in each of the last `WEIGHT_SECONDS` seconds of exchange time; the last one began at `newest_s`."""

    newest_s: int
    by_second: list[int]


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Reads of Binance. `failed`: no reply, a refusal to answer, a 5xx or an unreadable body, but no wrong question."""

    calls: int
    failed: int
    weight: int


@dataclass(frozen=True, slots=True)
class ReasonCounts:
    """Calls for one reason, in the last sixty seconds and since the start."""

    minute: CallCounts
    total: CallCounts


class Activity:
    """Recent activity, a sink for `Events`. `utc_ms`: returns a family's exchange time."""

    def __init__(self, clock: Clock, family_now_ms: Callable[[Family], int]) -> None:
        self._clock = clock
        self._family_now_ms = family_now_ms
        self._weights: dict[Family, dict[int, int]] = {family: {} for family in Family}
        self._seconds: deque[tuple[int, Counter[tuple[str, str]]]] = deque()
        self._totals: Counter[tuple[str, str]] = Counter()
        self._notes: dict[str, deque[Note]] = {}
        # mypy can't express "the handler of a type takes that type": the test sends one of each
        self._describe: dict[type, Callable[[Any], tuple[str, NoteLevel, str, str]]] = {
            GateChanged: _describe_gate,
            BudgetShort: lambda e: ("budget", "warning", e.family, e.cause),
            BodyRejected: lambda e: ("rejected", "warning", e.market, f"{e.path}: {e.reason}"),
            OddBody: lambda e: ("odd", "warning", e.market, f"{e.path}: {e.oddity}"),
            RowRevised: lambda e: (
                "revised",
                "warning",
                e.market,
                f"{e.series}: the row of {_utc_text(e.open_time_ms)}",
            ),
            DerivationEnded: lambda e: (
                "derivation",
                "warning",
                e.market,
                f"{e.series}: the row of {_utc_text(e.open_time_ms)} differs from shorter ones",
            ),
            ClockSuspect: lambda e: ("clock", "warning", e.market, f"{e.witness.value} is off by {e.skew_ms:.0f} ms"),
            StreamConnected: lambda e: ("streams", "info", e.market, f"connected: {e.reason}"),
            StreamEnded: lambda e: (
                "streams",
                "warning" if e.end.is_loss else "info",
                e.market,
                f"connection {e.end} after {e.seconds:.0f} s",
            ),
            StreamRefused: lambda e: ("streams", "warning", e.market, f"connect failed: {e.status or 'no reply'}"),
            StreamComplaint: lambda e: ("streams", "warning", e.market, "a message was refused"),
            TopicsDead: lambda e: ("streams", "warning", e.market, f"dead topics: {e.topics}, such as {e.example}"),
            TierStateChanged: lambda e: ("store", "info" if e.state == "ok" else "warning", e.tier, e.state),
            TierFailed: lambda e: ("store", "warning", e.tier, f"{e.op} failed" + (", data lost" if e.lost else "")),
            BackgroundTaskFailed: lambda e: ("failed", "warning", "daemon", e.task),
            SettingsIgnored: lambda e: ("daemon", "warning", "daemon", f"ignored: {', '.join(e.names)}"),
            DaemonServing: lambda _: ("daemon", "info", "daemon", "serving"),
            DaemonStopped: lambda _: ("daemon", "info", "daemon", "stopped"),
        }

    def __call__(self, event: Event) -> None:
        """Record `event`."""
        if isinstance(event, UpstreamCalled):
            self._count(event)
            return
        teller = self._describe.get(type(event))
        if teller is not None:
            self._note(*teller(event), instead=isinstance(event, GateChanged) and event.extended)

    def weights(self) -> dict[str, WeightHistory]:
        """Return the last seconds of each family."""
        return {family.value: self._last_seconds(family) for family in Family}

    def calls(self) -> dict[str, ReasonCounts]:
        """Return calls by reason, the most frequent of the last minute first."""
        self._prune()
        minute: Counter[tuple[str, str]] = Counter()
        for _, counted in self._seconds:
            minute.update(counted)
        names = {name for name, _ in self._totals}
        order = sorted(names, key=lambda name: (-minute[name, "calls"], name))
        return {name: ReasonCounts(_calls(minute, name), _calls(self._totals, name)) for name in order}

    def total(self) -> CallCounts:
        """Return the calls since the start, for whatever reason."""
        names = ("calls", "failed", "weight")
        return CallCounts(*(sum(n for (_, of), n in self._totals.items() if of == name) for name in names))

    def notes(self) -> list[Note]:
        """Return the notable events, newest first."""
        found = [note for notes in self._notes.values() for note in reversed(notes)]
        return sorted(found, key=lambda note: -note.at_ms)

    # ------------------------------------------------------------------------------------ parts

    def _count(self, event: UpstreamCalled) -> None:
        family = Market(event.market).family
        second = self._family_now_ms(family) // 1000
        weights = self._weights[family]
        weights[second] = weights.get(second, 0) + event.weight
        if len(weights) > 2 * WEIGHT_SECONDS:
            self._weights[family] = {at: weight for at, weight in weights.items() if 0 <= second - at < WEIGHT_SECONDS}
        now = int(self._clock.now())
        if not self._seconds or self._seconds[-1][0] != now:
            self._prune()
            self._seconds.append((now, Counter()))
        for counted in (self._seconds[-1][1], self._totals):
            counted[event.reason, "calls"] += 1
            counted[event.reason, "failed"] += read_failed(event.status, event.fault)
            counted[event.reason, "weight"] += event.weight

    def _prune(self) -> None:
        since = int(self._clock.now()) - MINUTE_S
        while self._seconds and self._seconds[0][0] <= since:
            self._seconds.popleft()

    def _last_seconds(self, family: Family) -> WeightHistory:
        newest, weights = self._family_now_ms(family) // 1000, self._weights[family]
        return WeightHistory(newest, [weights.get(at, 0) for at in range(newest - WEIGHT_SECONDS + 1, newest + 1)])

    def _note(self, kind: str, level: NoteLevel, where: str, what: str, *, instead: bool) -> None:
        """Record it; if it equals the last of its kind and place, increase that one's count.

        `instead`: it only tells the last one of this place more exactly, and replaces its text.
        """
        notes = self._notes.setdefault(kind, deque(maxlen=MAX_NOTES_PER_KIND))
        now = self._clock.wall_ms()
        place = next((at for at in reversed(range(len(notes))) if notes[at].where == where), None)
        if instead and place is not None:
            notes[place] = replace(notes[place], what=what)
            return
        if place is not None and (notes[place].level, notes[place].what) == (level, what):
            notes[place] = replace(notes[place], at_ms=now, count=notes[place].count + 1)
        else:
            notes.append(Note(kind, level, where, what, now, now))


def _calls(counted: Mapping[tuple[str, str], int], name: str) -> CallCounts:
    return CallCounts(*(counted.get((name, what), 0) for what in ("calls", "failed", "weight")))


def _describe_gate(event: GateChanged) -> tuple[str, NoteLevel, str, str]:
    if event.state != "closed":
        return "gate", "info", event.family, event.state
    return "gate", "warning", event.family, f"closed: {event.reason}, for {event.reopens_in_s:.0f} s"


def _utc_text(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="minutes").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # microseconds, or out of range
        return str(milliseconds)
