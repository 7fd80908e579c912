"""The board for the second look: by market, endpoint and lane; stores, trouble, memory, clocks."""

from grafana.model import Board, Fault, Query, Section, Step, Variable
from grafana.shared import CLOSURES, DAEMON, INSTANCE, JOB, RATE, grown, lines, metric, number, quantile, rate, stacked

_MARKET = 'market=~"$market"'
_ENDPOINT = 'endpoint=~"$endpoint"'
_LANE = 'lane=~"$lane"'
_CHOSEN = f"{{{DAEMON}}}"

CLIENTS = Section(
    "Clients",
    (
        stacked(
            "Answers a second, by market",
            "",
            "reqps",
            Query(rate("requests_total", "market", _MARKET, _ENDPOINT), "{{market}}"),
        ),
        stacked(
            "Answers a second, by endpoint",
            "",
            "reqps",
            Query(rate("requests_total", "endpoint", _MARKET, _ENDPOINT), "{{endpoint}}"),
        ),
        stacked(
            "Answers a second, by client",
            "Names from CLIENTS; everybody else is other. Refused: beyond CLIENT_REQUESTS_PER_S.",
            "reqps",
            Query(rate("requests_total", "client", _MARKET, _ENDPOINT), "{{client}}"),
            Query(rate("clients_refused_total", "client"), "{{client}} refused"),
        ),
        lines(
            "Latency by endpoint, p99",
            "",
            "s",
            Query(quantile(0.99, "request_seconds", "endpoint", _ENDPOINT), "{{endpoint}}"),
        ),
        lines(
            "Latency by result, p99",
            "",
            "s",
            Query(quantile(0.99, "request_seconds", "result", _ENDPOINT), "{{result}}"),
        ),
        stacked(
            "Questions that joined a read, a second",
            "Each of them would have been a call of its own.",
            "reqps",
            Query(rate("collapsed_total", "market", _MARKET), "{{market}}"),
        ),
    ),
)
CALLS = Section(
    "Binance",
    (
        stacked(
            "Calls a second, by market and endpoint",
            "",
            "reqps",
            Query(rate("upstream_requests_total", "market, endpoint", _MARKET), "{{market}} {{endpoint}}"),
        ),
        stacked(
            "Calls a second, by lane and reason",
            "",
            "reqps",
            Query(rate("upstream_requests_by_reason_total", "lane, reason", _MARKET, _LANE), "{{lane}}: {{reason}}"),
        ),
        stacked(
            "Weight a minute, by market",
            "",
            "short",
            Query("60 * " + rate("upstream_weight_total", "market", _MARKET), "{{market}}"),
        ),
        lines(
            "Time to Binance's reply",
            "",
            "s",
            Query(quantile(0.5, "upstream_seconds", "market", _MARKET), "{{market}} p50"),
            Query(quantile(0.99, "upstream_seconds", "market", _MARKET), "{{market}} p99"),
        ),
        lines(
            "Wait in the lane, p99",
            "From the question's read to its sending: budget, turn and concurrency.",
            "s",
            Query(quantile(0.99, "queue_wait_seconds", "lane", _LANE), "{{lane}}"),
        ),
        lines("Reads queued or under way", "", "short", Query(f"sum({metric('flights_in_progress')})", "reads")),
        stacked(
            "Rows read a second",
            "Of replies that passed every check.",
            "short",
            Query(rate("upstream_rows_total", "market", _MARKET), "{{market}}"),
        ),
        stacked(
            "Reads that were not answered with 200, a second",
            "By status; 0: no reply came.",
            "reqps",
            Query(
                rate("upstream_requests_total", "market, status", _MARKET, 'status!="200"') + " > 0",
                "{{market}} {{status}}",
                Fault.FORBIDDEN,
            ),
        ),
        stacked(
            "Closures of gates",
            "",
            "short",
            Query(grown("gate_closures_total", "family, reason") + " > 0", "{{family}} {{reason}}", Fault.FORBIDDEN),
        ),
    ),
)
STREAMS = Section(
    "Streams",
    (
        stacked(
            "Tails by what feeds them",
            "Of the series that are asked for. A stream costs no weight; rest: read by the TTL; derived: from the rows "
            "of a shorter series.",
            "short",
            Query(f"sum by (market, source) ({metric('tails', _MARKET)})", "{{market}} {{source}}"),
        ),
        lines(
            "Topics by state",
            "Fed: a frame in the last 5 s. Silent: none for a minute. Quiet: the others. Dead: none although a read "
            "showed trades.",
            "short",
            Query(f"sum by (state) ({metric('stream_topics', _MARKET)})", "{{state}}"),
            Query(f"sum({metric('stream_dead_topics', _MARKET)})", "dead"),
        ),
        stacked(
            "Frames a second",
            "News; old: with nothing new; rejected: not readable.",
            "ops",
            Query(rate("stream_frames_total", "result", _MARKET), "{{result}}"),
        ),
        lines(
            "Connections",
            "Open now.",
            "short",
            Query(f"sum by (market) ({metric('stream_connections', _MARKET)})", "{{market}}"),
            width=6,
        ),
        stacked(
            "Connects",
            "Opened, by reason, and refused, by status; 0: no reply came. At most 20 a minute.",
            "short",
            Query(grown("stream_connects_total", "market, reason", _MARKET), "{{market}} {{reason}}"),
            Query(grown("stream_refusals_total", "market, status", _MARKET), "{{market}} refused {{status}}"),
            width=6,
        ),
        stacked(
            "Connections lost",
            "Closed or broken by the other side; replaced or no longer needed by mdcache.",
            "short",
            Query(grown("stream_ends_total", "market, end", _MARKET), "{{market}} {{end}}"),
            width=6,
        ),
        stacked(
            "Topics subscribed to again",
            "They had been silent for 30 s or more; a quiet symbol's are, too.",
            "short",
            Query(grown("stream_resubscribed_total", "market", _MARKET), "{{market}}"),
            width=6,
        ),
        stacked(
            "Derivations",
            "Attempts to derive an open candle from a shorter series, by what came of them. Mismatch: Binance's own "
            "row differed, and is served.",
            "ops",
            Query(rate("derived_total", "result"), "{{result}}"),
            width=24,
            height=6,
        ),
    ),
)
LISTENERS = Section(
    "Listeners",
    (
        stacked(
            "Clients that listen",
            "Over WebSockets, and to events.",
            "short",
            Query(f"sum by (market, kind) ({metric('listeners', _MARKET)})", "{{market}} {{kind}}"),
            Query(f"sum({metric('listeners_max')})", "most that may", bound=True),
        ),
        stacked(
            "Sent a second",
            "Frames over WebSockets, and events, each counted for each listener.",
            "ops",
            Query(rate("relayed_frames_total", "market", _MARKET), "{{market}} frames"),
            Query(rate("events_sent_total", "market, event", _MARKET), "{{market}} {{event}}"),
        ),
        lines(
            "Listened to",
            "Topics have one subscription each, series are looked at once, however many listen.",
            "short",
            Query(f"sum by (market) ({metric('listened_topics', _MARKET)})", "{{market}} topics"),
            Query(f"sum by (market) ({metric('listened_series', _MARKET)})", "{{market}} series"),
        ),
        stacked(
            "Frames left out, and mended",
            "Conflated: a newer one said all, for a slow listener. Repeated: sent before. Mended: a lost final frame.",
            "short",
            Query(grown("dropped_frames_total", "market, reason", _MARKET), "{{market}} {{reason}}"),
            Query(grown("mended_frames_total", "market", _MARKET), "{{market}} mended"),
            width=12,
        ),
        stacked(
            "Listeners closed",
            "lost: frames are missing or do not come. slow: 1 MiB waited. failed: a fault of ours. full: too many "
            "topics of a market. unavailable: no frames now. messages, topics: too many for a connection. protocol, "
            "no_pong, unread: it was broken, no ping answered, or nothing taken. Refused: no_room, origin, account, "
            "limited.",
            "short",
            Query(grown("listener_closes_total", "market, reason", _MARKET), "{{market}} {{reason}}"),
            width=12,
        ),
    ),
)
TROUBLE = Section(
    "What was wrong with the data",
    (
        stacked(
            "Retries",
            "Reads that were tried again; incomplete: a server of Binance lags.",
            "short",
            Query(
                grown("retries_total", "market, reason", _MARKET) + " > 0", "{{market}} {{reason}}", Fault.SERVER_ERROR
            ),
            width=6,
        ),
        stacked(
            "Rejected bodies",
            "Status 200, and not what was asked for: never stored.",
            "short",
            Query(
                grown("rejected_bodies_total", "market, reason", _MARKET) + " > 0",
                "{{market}} {{reason}}",
                Fault.BROKEN_BODY,
            ),
            width=6,
        ),
        stacked(
            "Odd bodies",
            "Taken, with more columns than are known.",
            "short",
            Query(grown("odd_bodies_total", "market", _MARKET), "{{market}}", Fault.MORE_COLUMNS),
            width=6,
        ),
        stacked(
            "Revisions",
            "Closed candles that Binance changed after they were shown, and what audits found.",
            "short",
            Query(grown("revisions_total", "market", _MARKET), "{{market}}", Fault.REVISION),
            Query(grown("audit_rows_total", "", _MARKET, 'verdict!="same"'), "audits"),
            width=6,
        ),
        lines(
            "Holes",
            "Buckets without a row between rows: halts and outages of the exchange.",
            "short",
            Query(f"sum by (market) ({metric('holes', _MARKET)})", "{{market}}"),
            width=8,
        ),
        stacked(
            "Rows of dump files",
            "What was read from Binance stands where they differ.",
            "short",
            Query(grown("dump_rows_total", "market, verdict", _MARKET), "{{market}} {{verdict}}"),
            width=8,
        ),
        stacked(
            "Failures",
            "Things that failed behind an answer; the log says more.",
            "short",
            Query(grown("failures_total", "what"), "{{what}}"),
            width=8,
        ),
    ),
)
STORES = Section(
    "Stores",
    (
        number(
            "Works",
            "0: the daemon does without it.",
            "short",
            Query(f"min by (tier) ({metric('tier_up')})", "{{tier}}"),
            width=4,
            steps=(Step(None, "red"), Step(1, "green")),
        ),
        lines(
            "Time of an operation, p99",
            "Waiting for the store's thread included.",
            "s",
            Query(quantile(0.99, "tier_seconds", "tier, op"), "{{tier}} {{op}}"),
            width=7,
        ),
        stacked(
            "Operations a second", "", "ops", Query(rate("tier_seconds_count", "tier, op"), "{{tier}} {{op}}"), width=7
        ),
        lines(
            "Errors",
            "What a store could not do, or found broken.",
            "short",
            Query(grown("tier_errors_total", "tier"), "{{tier}}"),
            width=6,
        ),
    ),
)
MEMORY = Section(
    "Memory and process",
    (
        lines(
            "Bytes held",
            "Held: candles and ready answers. Resident: the whole process.",
            "bytes",
            Query(f"sum({metric('rows_bytes')})", "held"),
            Query(f"sum({metric('memory_max_bytes')})", "most that may be held", bound=True),
            Query(f"sum(process_resident_memory_bytes{_CHOSEN})", "resident"),
        ),
        lines("Series", "", "short", Query(f"sum({metric('series')})", "series"), width=4),
        lines("Rows", "", "short", Query(f"sum({metric('rows')})", "rows"), width=4),
        lines("Given up", "Entries that memory gave up.", "short", Query(grown("evictions_total"), "entries"), width=4),
        lines(
            "CPU",
            "Cores; one daemon uses one and a little.",
            "short",
            Query(f"sum(rate(process_cpu_seconds_total{_CHOSEN}{RATE}))", "cores"),
            width=4,
        ),
        lines(
            "Open files",
            "Of those the process may have.",
            "percentunit",
            Query(f"max(process_open_fds{_CHOSEN} / process_max_fds{_CHOSEN})", "open"),
            width=6,
        ),
        number(
            "Up since",
            "Ages of the process and of its settings. Refused: how many could not read them again.",
            "s",
            Query(f"time() - min(process_start_time_seconds{_CHOSEN})", "process"),
            Query(f"time() - min({metric('settings_loaded_timestamp_seconds')})", "settings"),
            Query(f"sum({metric('settings_refused')})", "refused"),
            width=6,
        ),
        number("Version", "", "short", Query(f"count by (version) ({metric('build_info')})", "{{version}}"), width=12),
    ),
)
CLOCKS = Section(
    "Clocks",
    (
        lines(
            "Offset",
            "Binance's time less this machine's, by market.",
            "s",
            Query(f"max by (market) ({metric('clock_offset_seconds', _MARKET)})", "{{market}}"),
            least=None,
        ),
        lines(
            "Error",
            "How wrong that may be: half the trip.",
            "s",
            Query(f"max by (market) ({metric('clock_error_seconds', _MARKET)})", "{{market}}"),
        ),
        stacked(
            "Doubts",
            "Replies whose date was off; nothing settles until the clock is measured again.",
            "short",
            Query(grown("clock_doubts_total", "market", _MARKET), "{{market}}", Fault.WRONG_DATE),
        ),
    ),
)

BOARD = Board(
    "mdcache-depth",
    "mdcache / in depth",
    "By market, endpoint and lane; streams, listeners, stores, retries, revisions, holes, memory and clocks.",
    (
        JOB,
        INSTANCE,
        Variable("market", "market", f"mdcache_revisions_total{_CHOSEN}"),
        Variable("endpoint", "endpoint", f"mdcache_requests_total{_CHOSEN}"),
        Variable("lane", "lane", f"mdcache_upstream_requests_by_reason_total{_CHOSEN}"),
    ),
    CLOSURES,
    (CLIENTS, CALLS, STREAMS, LISTENERS, TROUBLE, STORES, MEMORY, CLOCKS),
)
