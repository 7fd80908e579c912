"""Recent activity for `/v1/status`: weight by second, calls by reason, the heaviest callers, and notable events.

It is a sink for events, bounded in size, and quotes no request, reply or error text.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

from mdcache.clock import Clock
from mdcache.daemon_events import ClientRefused, SettingsRefused, SettingsReloaded
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
    ProfileRead,
    RowRevised,
    SettingsIgnored,
    UpstreamCalled,
)
from mdcache.exchange.markets import Family, Market
from mdcache.results import read_failed
from mdcache.serving.ops.recent_calls import CallCounts, CallSums, RecentCalls, count_call, counts_by_name
from mdcache.store_events import TierFailed, TierStateChanged
from mdcache.stream_events import StreamComplaint, StreamConnected, StreamEnded, StreamRefused, TopicsDead

WEIGHT_SECONDS = 300  # seconds of weight that are kept: five bars of a gauge, and some before them
MAX_NOTES_PER_KIND = 40  # for each kind, so that a thousand rejected bodies do not hide last night's ban
MAX_CLOSURES = 20
_SPENDERS_SLOT_S = 30  # a series that is refreshed takes an entry in each slot
TOP = 10  # of the clients and the series that cost most
MINUTE_S = 60
NO_CLIENT = "other"  # as in metrics: a client without a configured name, or nobody
_RUNBOOK = {"418": "mdcachebanned", "403": "mdcacheforbidden", "429": "mdcacheratelimited"}
_RUNBOOK_OTHERS = "mdcachegateclosed"

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
class ReasonCounts:
    """Calls for one reason, in the last sixty seconds and since the start."""

    minute: CallCounts
    total: CallCounts


@dataclass(frozen=True, slots=True)
class Spender:
    """A client, or a series or another subject of reads, and what was read for it in the last `WEIGHT_SECONDS`."""

    name: str
    calls: int
    failed: int
    weight: int


@dataclass(frozen=True, slots=True)
class Spenders:
    """Those that cost most, the heaviest first. A read counts for the client whose question began it."""

    seconds: int
    clients: list[Spender]
    series: list[Spender]


@dataclass(frozen=True, slots=True)
class GateClosure:
    """A closure of a family's gate: when, why, until when, and the section of the runbook that says what to do.

    Times are this machine's, milliseconds since the Unix epoch.
    """

    family: str
    reason: str
    at_ms: int
    until_ms: int
    runbook: str


class Activity:
    """Recent activity, a sink for `Events`. `utc_ms`: returns a family's exchange time."""

    def __init__(self, clock: Clock, family_now_ms: Callable[[Family], int]) -> None:
        self._clock = clock
        self._family_now_ms = family_now_ms
        self._weights: dict[Family, dict[int, int]] = {family: {} for family in Family}
        self._minute = RecentCalls(MINUTE_S)
        self._totals: CallSums = {}
        self._by_client, self._by_subject = (RecentCalls(WEIGHT_SECONDS, _SPENDERS_SLOT_S) for _ in range(2))
        self._closures: deque[GateClosure] = deque(maxlen=MAX_CLOSURES)
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
            ProfileRead: lambda e: (
                "daemon",
                "warning" if e.refused else "info",
                "exchange profile",
                _describe_profile(e),
            ),
            ClientRefused: lambda e: ("client", "warning", e.client or NO_CLIENT, "asks too often"),
            SettingsReloaded: lambda _: ("daemon", "info", "daemon", "settings read again"),
            SettingsRefused: lambda e: ("daemon", "warning", "daemon", f"settings refused: {len(e.problems)} problems"),
            SettingsIgnored: lambda e: ("daemon", "warning", "daemon", f"ignored: {', '.join(e.names)}"),
            DaemonServing: lambda _: ("daemon", "info", "daemon", "serving"),
            DaemonStopped: lambda _: ("daemon", "info", "daemon", "stopped"),
        }

    def __call__(self, event: Event) -> None:
        """Record `event`."""
        if isinstance(event, UpstreamCalled):
            self._count(event)
            return
        if isinstance(event, GateChanged) and event.state == "closed":
            self._closed(event)
        teller = self._describe.get(type(event))
        if teller is not None:
            self._note(*teller(event), instead=isinstance(event, GateChanged) and event.extended)

    def weights(self) -> dict[str, WeightHistory]:
        """Return the last seconds of each family."""
        return {family.value: self._last_seconds(family) for family in Family}

    def calls(self) -> dict[str, ReasonCounts]:
        """Return calls by reason, the most frequent of the last minute first."""
        minute, none = self._minute.counts(self._clock.now()), CallCounts(0, 0, 0)
        totals = counts_by_name(self._totals)
        order = sorted(totals, key=lambda name: (-minute.get(name, none).calls, name))
        return {name: ReasonCounts(minute.get(name, none), totals[name]) for name in order}

    def total(self) -> CallCounts:
        """Return the calls since the start, for whatever reason."""
        return CallCounts(*(sum(counted) for counted in zip((0, 0, 0), *self._totals.values(), strict=True)))

    def spenders(self) -> Spenders:
        """Return the clients and the series that cost most of late."""
        now_s = self._clock.now()
        return Spenders(WEIGHT_SECONDS, *(_top(each.counts(now_s)) for each in (self._by_client, self._by_subject)))

    def closures(self) -> list[GateClosure]:
        """Return the last closures of gates, newest first."""
        return list(reversed(self._closures))

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
        failed = read_failed(event.status, event.fault)
        count_call(self._totals, event.reason, event.weight, failed=failed)
        now_s = self._clock.now()
        for counted, name in (
            (self._minute, event.reason),
            (self._by_client, event.client or NO_CLIENT),
            (self._by_subject, event.subject),
        ):
            counted.add(now_s, name, event.weight, failed=failed)

    def _closed(self, event: GateChanged) -> None:
        """Remember a closure; one that only tells the last one of this family more exactly replaces it."""
        at_ms = now_ms = self._clock.wall_ms()
        last = next((each for each in reversed(self._closures) if each.family == event.family), None)
        if event.extended and last is not None:
            at_ms = last.at_ms
            self._closures.remove(last)
        until_ms = now_ms + round(event.reopens_in_s * 1000)
        runbook = _RUNBOOK.get(event.reason, _RUNBOOK_OTHERS)
        self._closures.append(GateClosure(event.family, event.reason, at_ms, until_ms, runbook))

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


def _top(counts: dict[str, CallCounts]) -> list[Spender]:
    return [Spender(name, each.calls, each.failed, each.weight) for name, each in islice(counts.items(), TOP)]


def _describe_gate(event: GateChanged) -> tuple[str, NoteLevel, str, str]:
    if event.state != "closed":
        return "gate", "info", event.family, event.state
    return "gate", "warning", event.family, f"closed: {event.reason}, for {event.reopens_in_s:.0f} s"


def _describe_profile(event: ProfileRead) -> str:
    counts = f"{event.facts} measured, {len(event.taken)} taken, {len(event.left)} not as assumed and not taken"
    return counts + (f", {len(event.refused)} refused" if event.refused else "")


def _utc_text(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="minutes").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # microseconds, or out of range
        return str(milliseconds)
