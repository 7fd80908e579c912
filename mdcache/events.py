"""Events as values: code emits them, and sinks (metrics, log) decide what to do with them.

Frozen, slotted, no behaviour. Units are in the names, labels from closed sets: `market` is `spot`, `usdm` or `coinm`;
`family` is `spot` or `futures`; `endpoint` is the path without market and version, such as `ticker/24hr`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mdcache.daemon_events import DaemonEvent
from mdcache.errors import BodyFault, Fault
from mdcache.results import Shares
from mdcache.store_events import StoreEvent
from mdcache.stream_events import StreamEvent


class ReadReason(StrEnum):
    """Why a read was made."""

    MISSING_ROWS = "missing_rows"
    REFRESH = "refresh"
    CLOSE = "close"
    RECHECK_EMPTY = "recheck_empty"
    SETTLE = "settle"
    AUDIT = "audit"
    SNAPSHOT = "snapshot"
    FULL_LIST = "full_list"
    SYMBOLS = "symbols"
    CLOCK = "clock"
    PROBE = "probe"


class RetryReason(StrEnum):
    """Why a read is sent again after a valid reply; other retries have the reason of their error."""

    INCOMPLETE = "incomplete"


class DerivationResult(StrEnum):
    """What came of an attempt to derive an open candle."""

    DERIVED = "derived"
    NO_PARTS = "no_parts"
    NOT_NEWER = "not_newer"
    UNPROVEN = "unproven"
    MISMATCH = "mismatch"


class AuditVerdict(StrEnum):
    """How a settled row compares with what Binance shows when it is read again.

    `MISSING`: Binance has a row where none was known; `GONE`: it has none any more. `UNCONFIRMED`: it differed once,
    and another read did not show the same; or the reply ended before it.
    """

    SAME = "same"
    DIFFERENT = "different"
    MISSING = "missing"
    GONE = "gone"
    UNCONFIRMED = "unconfirmed"


class BackgroundTask(StrEnum):
    """The kinds of background work, for which no answer waits."""

    AUDIT = "audit"
    CLOCK = "clock"
    EVENT_LOOP = "event_loop"
    FLIGHT = "flight"
    GATE_FILE = "gate_file"
    IDLE_BLOCKS = "idle_blocks"
    PURGES = "purges"
    REDIS_PROBE = "redis_probe"
    RELAY = "relay"
    REQUEST = "request"
    ROW_STORE = "row_store"
    SAVE = "save"
    SHARED_BODY = "shared_body"
    SHARED_BUDGET = "shared_budget"
    STREAM_TAILS = "stream_tails"
    SHARED_GATE = "shared_gate"
    SHARING = "sharing"
    SNAPSHOT_READ = "snapshot_read"
    STREAMS = "streams"
    SUBSCRIPTION = "subscription"
    SUMMARIES = "summaries"
    SYMBOLS = "symbols"
    WARMUP = "warmup"
    WATCHERS = "watchers"


@dataclass(frozen=True, slots=True)
class UpstreamCalled:
    """One request to Binance ended, with a status or without (`status` 0, and `fault` says why).

    `rows`: of a page that was accepted; `None` for other bodies, and if the read was cancelled. `client`: whose
    question began the read; empty without a configured name, and if nobody asked. `subject`: the series, or market and
    endpoint.
    """

    market: str
    endpoint: str
    path: str
    reason: ReadReason
    lane: str
    status: int
    fault: str
    weight: int
    body_bytes: int
    seconds: float
    rows: int | None = None
    client: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class RowsRead:
    """A page was merged; one that is read again as incomplete is not."""

    market: str
    rows: int


@dataclass(frozen=True, slots=True)
class GateChanged:
    """A family's gate changed its state; `reopens_in_s` is 0 unless it is closed.

    `extended`: it was closed before, and only for how long, or why, is known better now.
    """

    family: str
    state: str
    reason: str
    reopens_in_s: float
    extended: bool = False


@dataclass(frozen=True, slots=True)
class BudgetShort:
    """A read was refused because a limit is spent, as `cause` says; told once a UTC minute."""

    family: str
    cause: str


@dataclass(frozen=True, slots=True)
class Retried:
    """A read is tried again after a transport fault, a 5xx, or a reply that showed less than is known."""

    market: str
    reason: Fault | BodyFault | RetryReason


@dataclass(frozen=True, slots=True)
class BodyRejected:
    """A reply with status 200, or a frame, was not what was asked for. `path`: of a frame, its topic."""

    market: str
    path: str
    reason: BodyFault | Fault
    detail: str


@dataclass(frozen=True, slots=True)
class OddBody:
    """A reply was accepted that an operator should look at (more than 12 columns, say)."""

    market: str
    path: str
    oddity: str


@dataclass(frozen=True, slots=True)
class RowRevised:
    """Binance changed a row that had been shown as closed."""

    market: str
    series: str
    open_time_ms: int
    was: bytes
    now: bytes


class DumpVerdict(StrEnum):
    """What became of a row of a dump."""

    TAKEN = "taken"
    SAME = "same"  # as what was known
    DIFFERING = "differing"  # from what was read, before or after it was taken
    LEFT = "left"  # to be read


@dataclass(frozen=True, slots=True)
class DumpRowsJudged:
    """Rows of dumps were compared with what is known, or with a reply; `verdict` says what became of them."""

    market: str
    series: str
    verdict: DumpVerdict
    rows: int


@dataclass(frozen=True, slots=True)
class RowsAudited:
    """Settled rows were read again, and so many of them compare like this with what Binance shows."""

    market: str
    verdict: AuditVerdict
    rows: int


@dataclass(frozen=True, slots=True)
class DerivationAttempted:
    """An open candle was to be derived from a shorter series; `result`: `derived`, or why it was not."""

    market: str
    result: DerivationResult


@dataclass(frozen=True, slots=True)
class DerivationEnded:
    """A settled row is not the merge of its settled parts, so that its series is not derived for an hour."""

    market: str
    series: str
    open_time_ms: int
    printed: bytes
    merged: bytes


@dataclass(frozen=True, slots=True)
class RequestCollapsed:
    """A question was answered by the flight of another request."""

    market: str


@dataclass(frozen=True, slots=True)
class QueueWaited:
    """How long a read waited in its lane before it was sent."""

    lane: str
    seconds: float


@dataclass(frozen=True, slots=True)
class MemoryEvicted:
    """Memory dropped blocks or whole answers to stay within its bound."""

    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class ClockMeasured:
    """The exchange's clock was measured: `offset_ms` is exchange time less ours, `error_ms` half the round trip."""

    market: str
    offset_ms: float
    error_ms: float


class ClockWitness(StrEnum):
    """What states a time: its own names, for the log and the status page."""

    DATE = "a reply's date"
    TIME = "/time"
    WALL = "this machine's clock"


@dataclass(frozen=True, slots=True)
class ClockSuspect:
    """One of the witnesses of the exchange's time contradicts the others, by `skew_ms`.

    A reply's `Date` has the clock measured again; until then what settles must be older by so much.
    """

    market: str
    skew_ms: float
    witness: ClockWitness = ClockWitness.DATE


@dataclass(frozen=True, slots=True)
class SymbolsLoaded:
    """A market's `exchangeInfo` was read."""

    market: str
    symbols: int


@dataclass(frozen=True, slots=True)
class BackgroundTaskFailed:
    """Background work failed; no answer was affected."""

    task: BackgroundTask
    detail: str


@dataclass(frozen=True, slots=True)
class SettingsIgnored:
    """Environment variables look like settings but are not: Kubernetes' service links."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProfileRead:
    """The exchange profile was read. `facts`: how many count; `taken`: what the daemon goes by, with what follows.

    `left`: facts that are not as assumed and change nothing; `refused`: what of the file does not count.
    """

    path: str
    measured_at_ms: int
    facts: int
    taken: tuple[str, ...]
    left: tuple[str, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DaemonServing:
    """The daemon accepts connections at `addresses`; the rest tells what it is set to, without secrets."""

    version: str
    addresses: tuple[str, ...]
    page: str
    upstreams: Mapping[str, str]
    weight_share: float
    state_dir: str


@dataclass(frozen=True, slots=True)
class DaemonStopped:
    """The daemon drained and stopped."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What happened in the last `seconds`: clients' requests, and reads of Binance (`failed`: see `read_failed`)."""

    seconds: float
    requests: Shares
    reads: int
    failed: int
    weight: int


Event = (
    UpstreamCalled
    | RowsRead
    | GateChanged
    | BudgetShort
    | Retried
    | BodyRejected
    | OddBody
    | RowRevised
    | RowsAudited
    | DumpRowsJudged
    | DerivationAttempted
    | DerivationEnded
    | RequestCollapsed
    | QueueWaited
    | MemoryEvicted
    | ClockMeasured
    | ClockSuspect
    | SymbolsLoaded
    | StreamEvent
    | StoreEvent
    | BackgroundTaskFailed
    | SettingsIgnored
    | DaemonEvent
    | ProfileRead
    | DaemonServing
    | DaemonStopped
    | Summary
)

Sink = Callable[[Event], None]


class Events:
    """Pass each event to every sink, in order."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = list(sinks)

    def attach(self, sink: Sink) -> None:
        """Add a sink for later events."""
        self._sinks.append(sink)

    def emit(self, event: Event) -> None:
        """Pass `event` to the sinks, which must not block."""
        for sink in self._sinks:
            sink(event)
