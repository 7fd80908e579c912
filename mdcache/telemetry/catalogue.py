"""Every metric: its name, type, labels and meaning.

Rule: docs/design.md#metrics.
"""

from dataclasses import dataclass
from typing import Literal

PREFIX = "mdcache_"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `name` is without the prefix, and a counter's without its `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str

    @property
    def full_name(self) -> str:
        """Return the name as it is documented."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


def _counter(name: str, labels: str, text: str) -> Metric:
    return Metric(name, "counter", tuple(labels.split()), text)


def _gauge(name: str, labels: str, text: str) -> Metric:
    return Metric(name, "gauge", tuple(labels.split()), text)


def _histogram(name: str, labels: str, text: str) -> Metric:
    return Metric(name, "histogram", tuple(labels.split()), text)


REQUESTS = _counter("requests", "market endpoint result client", "Requests of clients, by how they were answered.")
REQUEST_SECONDS = _histogram("request_seconds", "endpoint result", "Time to a client's answer, less its wait for news.")
UPSTREAM_REQUESTS = _counter(
    "upstream_requests", "market endpoint status", "Requests to Binance; status 0: no reply came."
)
UPSTREAM_SECONDS = _histogram("upstream_seconds", "market", "Time to Binance's whole reply.")
UPSTREAM_ROWS = _counter("upstream_rows", "market", "Rows read from Binance that passed every check.")
UPSTREAM_WEIGHT = _counter("upstream_weight", "market", "Weight of the requests to Binance, as documented.")
REQUESTS_BY_REASON = _counter(
    "upstream_requests_by_reason", "market reason lane", "Requests to Binance, by what they were for and their lane."
)
WEIGHT_BY_REASON = _counter(
    "upstream_weight_by_reason", "market reason lane", "Weight of the requests to Binance, by what they were for."
)
WEIGHT_USED = _gauge("upstream_weight_used", "family", "Weight this daemon used in this UTC minute.")
WEIGHT_ADDRESS = _gauge(
    "upstream_weight_address", "family", "Weight the whole address used in this UTC minute, as far as Binance reported."
)
WEIGHT_LIMIT = _gauge("upstream_weight_limit", "family", "Weight the address may use in a minute.")
WEIGHT_ALLOWED = _gauge("upstream_weight_allowed", "family", "Weight this daemon may use in a minute.")
GATE_STATE = _gauge("gate_state", "family state", "1 for the state the family's gate is in, 0 for the others.")
GATE_REASON = _gauge("gate_reason", "family reason", "1 for why the family's gate is shut, 0 for other reasons.")
GATE_REOPENS = _gauge("gate_reopens_seconds", "family", "Time until a closed gate may be probed; 0 if not closed.")
GATE_CLOSURES = _counter("gate_closures", "family reason", "Closures of a family's gate.")
RETRIES = _counter("retries", "market reason", "Reads that were tried again.")
FLIGHTS = _gauge("flights_in_progress", "", "Reads that are queued or in progress.")
COLLAPSED = _counter("collapsed", "market", "Questions that joined another request's read.")
QUEUE_WAIT = _histogram("queue_wait_seconds", "lane", "Time a read waited in its lane before it was sent.")
REJECTED = _counter(
    "rejected_bodies", "market reason", "Replies with status 200, and frames, that were not what was asked for."
)
ODD_BODIES = _counter("odd_bodies", "market", "Replies that were accepted although they look unusual: more columns.")
REVISIONS = _counter("revisions", "market", "Closed rows that Binance changed after they were shown.")
AUDIT_ROWS = _counter(
    "audit_rows", "market verdict", "Settled rows read again by audits, by how they compare with what is kept."
)
DUMP_ROWS = _counter(
    "dump_rows", "market verdict", "Rows of dump files: taken, known and the same or differing, left to be read."
)
DERIVED = _counter("derived", "result", "Attempts to derive an open candle, by what came of them.")
HOLES = _gauge("holes", "market", "Buckets without a row inside what is known.")
SERIES = _gauge("series", "", "Series held.")
ROWS = _gauge("rows", "", "Rows held.")
ROWS_BYTES = _gauge("rows_bytes", "", "Bytes held: blocks, tails, ready and compressed answers.")
MEMORY_MAX = _gauge("memory_max_bytes", "", "Most bytes that may be held: MEMORY_MAX_MB.")
EVICTIONS = _counter("evictions", "", "Entries evicted so that memory stays inside its bound.")
TAIL_AGE = _histogram("tail_age_seconds", "market", "Age of the tails that were served.")
TIER_SECONDS = _histogram("tier_seconds", "tier op", "Duration of a store operation, waiting included.")
TIER_ERRORS = _counter("tier_errors", "tier", "Store operations that failed, or found damaged data.")
TIER_UP = _gauge("tier_up", "tier", "1 while a store that is in use works, 0 while the daemon does without it.")
CLOCK_OFFSET = _gauge("clock_offset_seconds", "market", "Exchange time minus this machine's.")
CLOCK_ERROR = _gauge("clock_error_seconds", "market", "Possible error of the exchange's clock: half the round trip.")
CLOCK_DOUBTS = _counter(
    "clock_doubts", "market", "Times that disagreed: a reply's date, /time or this machine's clock."
)
STREAM_CONNECTIONS = _gauge("stream_connections", "market", "Open connections to streams.")
STREAM_TOPICS = _gauge(
    "stream_topics", "market state", "Topics that are followed, by when their last frame came; all 0 without streams."
)
STREAM_DEAD_TOPICS = _gauge(
    "stream_dead_topics", "market", "Topics that sent no frame although a read of their series showed trades."
)
STREAM_FRAMES = _counter("stream_frames", "market result", "Frames of streams, by what they brought.")
STREAM_CONNECTS = _counter("stream_connects", "market reason", "Connections to streams that were opened.")
STREAM_REFUSALS = _counter(
    "stream_refusals", "market status", "Connections to streams that could not be opened; status 0: no reply came."
)
STREAM_ENDS = _counter("stream_ends", "market end", "Connections to streams that ended.")
STREAM_RESUBSCRIBED = _counter(
    "stream_resubscribed", "market", "Topics that were subscribed to again, as they had been silent for long."
)
LISTENERS = _gauge(
    "listeners", "market kind", "Clients that listen: over WebSockets, to events, or waiting for an answer."
)
LISTENERS_MAX = _gauge("listeners_max", "", "Most clients that may listen at once: LISTENERS_MAX.")
LISTENED_TOPICS = _gauge("listened_topics", "market", "Topics that clients listen to, each subscribed to once.")
LISTENED_SERIES = _gauge("listened_series", "market", "Series whose events clients listen to.")
RELAYED_FRAMES = _counter("relayed_frames", "market", "Frames sent to listeners, each once for each of them.")
DROPPED_FRAMES = _counter(
    "dropped_frames", "market reason", "Frames not sent to a listener: a newer one said all, or it was sent before."
)
MENDED_FRAMES = _counter("mended_frames", "market", "Final frames that were lost, and made of a row that was read.")
LISTENER_CLOSES = _counter("listener_closes", "market reason", "Listeners that were closed, or refused.")
EVENTS_SENT = _counter("events_sent", "market event", "Events sent to listeners, each once for each of them.")
TAILS = _gauge("tails", "market source", "Tails at most a minute old, by what feeds them.")
FAILURES = _counter("failures", "what", "Background work that failed.")
CLIENTS_REFUSED = _counter(
    "clients_refused", "client", "Requests refused, as their client asks too often: CLIENT_REQUESTS_PER_S."
)
SETTINGS_LOADED = _gauge("settings_loaded_timestamp_seconds", "", "When the settings in effect were read, since 1970.")
SETTINGS_REFUSED = _gauge("settings_refused", "", "1 if they were to be read again since, and could not; else 0.")
BUILD_INFO = _gauge("build_info", "version", "1, for the version that runs.")

ALL: tuple[Metric, ...] = tuple(found for found in list(vars().values()) if isinstance(found, Metric))  # those above
