"""Prometheus metrics: a sink of events and the recorder of requests.

Gauges are read when they are scraped. The registry is injected.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family

from mdcache.clock import Clock
from mdcache.daemon_events import ClientRefused, SettingsRefused, SettingsReloaded
from mdcache.events import (
    BackgroundTaskFailed,
    BodyRejected,
    ClockMeasured,
    ClockSuspect,
    DerivationAttempted,
    DumpRowsJudged,
    Event,
    GateChanged,
    MemoryEvicted,
    OddBody,
    QueueWaited,
    RequestCollapsed,
    Retried,
    RowRevised,
    RowsAudited,
    RowsRead,
    UpstreamCalled,
)
from mdcache.results import RecentAnswers, Result
from mdcache.store_events import TierFailed, TierUsed
from mdcache.stream_events import StreamConnected, StreamEnded, StreamRefused, StreamsSilent
from mdcache.telemetry import catalogue, labels
from mdcache.telemetry.catalogue import PREFIX, Metric
from mdcache.telemetry.counters import OTHER, Cell, CellCounts, ClosedSet, RequestCell
from mdcache.telemetry.gauges import FamilyState, GaugeSources
from mdcache.telemetry.recent_requests import Buckets, RecentRequests

# from the microseconds of a hit to the seconds of a client that waited until its deadline
REQUEST_BOUNDS = (
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
UPSTREAM_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
WAIT_BOUNDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
TIER_BOUNDS = (0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
AGE_BOUNDS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0)
_HIT: str = Result.HIT.value
_COLLECTED = (  # counted by plain integers, and read when scraped
    catalogue.REQUESTS,
    catalogue.STREAM_FRAMES,
    catalogue.RELAYED_FRAMES,
    catalogue.DROPPED_FRAMES,
    catalogue.MENDED_FRAMES,
    catalogue.LISTENER_CLOSES,
    catalogue.EVENTS_SENT,
)
_SHUT_STATES = ("closed", "probing")
# These start at 0: Prometheus sees no increase in a counter that appears with 1.
_FROM_ZERO: tuple[tuple[Metric, *tuple[Sequence[str], ...]], ...] = (
    (catalogue.GATE_CLOSURES, labels.FAMILIES, labels.GATE_REASONS),
    (catalogue.REJECTED, labels.MARKETS, labels.BODY_REASONS),
    (catalogue.RETRIES, labels.MARKETS, labels.RETRY_REASONS),
    (catalogue.ODD_BODIES, labels.MARKETS),
    (catalogue.COLLAPSED, labels.MARKETS),
    (catalogue.REVISIONS, labels.MARKETS),
    (catalogue.AUDIT_ROWS, labels.MARKETS, labels.AUDIT_VERDICTS),
    (catalogue.DUMP_ROWS, labels.MARKETS, labels.DUMP_VERDICTS),
    (catalogue.DERIVED, labels.DERIVATION_RESULTS),
    (catalogue.CLOCK_DOUBTS, labels.MARKETS),
    (catalogue.STREAM_CONNECTS, labels.MARKETS, labels.CONNECT_REASONS),
    (catalogue.STREAM_REFUSALS, labels.MARKETS, labels.STATUSES),
    (catalogue.STREAM_ENDS, labels.MARKETS, labels.STREAM_ENDS),
    (catalogue.STREAM_RESUBSCRIBED, labels.MARKETS),
    (catalogue.FAILURES, labels.FAILURES),
)


def new_registry() -> CollectorRegistry:
    """Return a new registry with this process's memory, CPU time and open files (if the system provides them)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


class Metrics:
    """All metrics of the daemon: a sink for `Events`, and the recorder of serving.

    `clients`: the configured names; requests of any other client count as `other`.
    """

    def __init__(
        self, registry: CollectorRegistry, version: str, clients: Iterable[str], gauges: GaugeSources, clock: Clock
    ) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # untyped there
        self._registry = registry
        self._gauges = gauges
        self._clock = clock
        self._recent = RecentRequests(
            self.results, self._seconds_by_result, REQUEST_BOUNDS, self._ages_by_market, AGE_BOUNDS
        )
        self._requests: dict[tuple[str, str, str, str], RequestCell] = {}
        self._request_seconds: dict[tuple[str, str], Cell] = {}
        self._tail_ages: dict[tuple[str], Cell] = {}
        self._counters = {
            metric: Counter(PREFIX + metric.name, metric.help, metric.labels, registry=registry)
            for metric in catalogue.ALL
            if metric.kind == "counter" and metric not in _COLLECTED
        }
        for metric, *sets in _FROM_ZERO:
            for values in product(*sets):
                self._counters[metric].labels(*values)
        self.set_clients(clients)
        for tier in gauges.tiers():
            self._counters[catalogue.TIER_ERRORS].labels(tier)
        self._upstream_seconds, self._queue_waits, self._tier_seconds = (
            Histogram(PREFIX + metric.name, metric.help, metric.labels, buckets=bounds, registry=registry)
            for metric, bounds in (
                (catalogue.UPSTREAM_SECONDS, UPSTREAM_BOUNDS),
                (catalogue.QUEUE_WAIT, WAIT_BOUNDS),
                (catalogue.TIER_SECONDS, TIER_BOUNDS),
            )
        )
        self._clock_offset, self._clock_error, build_info, self._settings_loaded, self._settings_refused = (
            Gauge(PREFIX + metric.name, metric.help, metric.labels, registry=registry)
            for metric in (
                *(catalogue.CLOCK_OFFSET, catalogue.CLOCK_ERROR, catalogue.BUILD_INFO),
                *(catalogue.SETTINGS_LOADED, catalogue.SETTINGS_REFUSED),
            )
        )
        build_info.labels(version).set(1)
        self._note_settings()
        self._called_endpoints: set[tuple[str, str]] = set()
        self._handlers = self._handlers_by_event()
        registry.register(self)

    def set_clients(self, clients: Iterable[str]) -> None:
        """Tell these clients apart from now on."""
        clients = [*clients]
        self._client = ClosedSet(clients)
        for client in (*clients, OTHER):
            self._counters[catalogue.CLIENTS_REFUSED].labels(client)

    def record(self, market: str, endpoint: str, result: str, client: str, began_s: float, age_s: float | None) -> None:
        """Count a request that arrived at `began_s` and is answered now; `age_s` is that of the tail it showed."""
        self._record(self._cell(market, endpoint, result, client), began_s, age_s)

    def hit_counts(self, market: str, endpoint: str, client: str) -> CellCounts:
        """Return what counts the hits of a market, an endpoint and a client, at less cost than `record`."""
        return CellCounts(self._cell(market, endpoint, _HIT, client), self._record)

    def results(self) -> dict[str, int]:
        """Return the number of requests so far, by result."""
        self._fold_hits()
        found: dict[str, int] = dict.fromkeys(labels.RESULTS, 0)
        for (_, _, result, _), requests in self._requests.items():
            found[result] = found.get(result, 0) + requests.count
        return found

    def minute(self) -> dict[str, int]:
        """Return the number of requests in the last sixty seconds, by result."""
        return self._recent.minute(self._clock.now())

    def recent(self) -> RecentAnswers:
        """Return the last minutes' requests."""
        return self._recent.recent(self._clock.now())

    def __call__(self, event: Event) -> None:
        """Count `event`; those without a handler are for the log."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return the page for a scraper with this `Accept` header, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> list[Family]:
        """Return nothing; otherwise a registry would scrape this to learn the names."""
        return []

    def collect(self) -> Iterator[Family]:
        """Yield the counters of requests, and the gauges."""
        self._fold_hits()
        yield _counter(catalogue.REQUESTS, {values: cell.count for values, cell in self._requests.items()})
        yield _histogram(catalogue.REQUEST_SECONDS, self._request_seconds)
        yield _histogram(catalogue.TAIL_AGE, self._tail_ages)
        yield from self._collect_families()
        yield from self._collect_streams()
        yield from self._collect_listeners()
        yield _gauge(catalogue.TAILS, _by_market(self._gauges.tails()))
        yield _gauge(catalogue.HOLES, {(labels.market(m),): n for m, n in self._gauges.holes().items()})
        for metric, read in (
            (catalogue.FLIGHTS, self._gauges.flights),
            (catalogue.SERIES, self._gauges.series),
            (catalogue.ROWS, self._gauges.rows),
            (catalogue.ROWS_BYTES, self._gauges.rows_bytes),
            (catalogue.MEMORY_MAX, self._gauges.memory_max_bytes),
            (catalogue.LISTENERS_MAX, self._gauges.listeners_max),
        ):
            yield _gauge(metric, {(): read()})
        yield _gauge(
            catalogue.TIER_UP, {(labels.tier(tier),): int(works) for tier, works in self._gauges.tiers().items()}
        )

    # ------------------------------------------------------------------------------------ parts

    def _record(self, cell: RequestCell, began_s: float, age_s: float | None) -> None:
        now_s = self._clock.now()
        if now_s >= self._recent.next_s:
            self._recent.begin(now_s)
        cell.count += 1
        cell.seconds.observe(now_s - began_s)
        if age_s is not None:
            cell.ages.observe(age_s)

    def _cell(self, market: str, endpoint: str, result: str, client: str) -> RequestCell:
        """Return the cell of these labels, with `other` for values outside the closed sets."""
        known = self._requests.get((market, endpoint, result, client or OTHER))
        if known is not None:
            return known
        market, endpoint = labels.market(market), labels.endpoint(endpoint)
        result, client = labels.result(result), self._client(client)
        key = (market, endpoint, result, client)
        if key not in self._requests:
            seconds = self._request_seconds.setdefault((endpoint, result), Cell(REQUEST_BOUNDS))
            self._requests[key] = RequestCell(seconds, self._tail_ages.setdefault((market,), Cell(AGE_BOUNDS)))
        return self._requests[key]

    def _seconds_by_result(self) -> dict[str, Buckets]:
        self._fold_hits()
        found: dict[str, list[list[int]]] = {}
        for (_, result), cell in self._request_seconds.items():
            found.setdefault(result, []).append(cell.counts)
        return {result: tuple(map(sum, zip(*counts, strict=True))) for result, counts in found.items()}

    def _ages_by_market(self) -> dict[str, Buckets]:
        self._fold_hits()
        return {market: tuple(cell.counts) for (market,), cell in self._tail_ages.items()}

    def _fold_hits(self) -> None:
        for cell in self._requests.values():
            cell.fold_hits()

    def _note_settings(self) -> None:
        self._settings_loaded.set(self._clock.wall_ms() / 1000)
        self._settings_refused.set(0)

    def _add(self, metric: Metric, *values: str, count: int = 1) -> None:
        self._counters[metric].labels(*values).inc(count)

    def _handlers_by_event(self) -> dict[type, Callable[..., None]]:
        # mypy can't express "the handler of a type takes that type": the test sends one of each
        return {
            UpstreamCalled: self._upstream,
            RowsRead: lambda e: self._add(catalogue.UPSTREAM_ROWS, labels.market(e.market), count=e.rows),
            GateChanged: self._gate,
            Retried: lambda e: self._add(catalogue.RETRIES, labels.market(e.market), labels.retry_reason(e.reason)),
            BodyRejected: lambda e: self._add(
                catalogue.REJECTED, labels.market(e.market), labels.body_reason(e.reason)
            ),
            OddBody: lambda e: self._add(catalogue.ODD_BODIES, labels.market(e.market)),
            RowRevised: lambda e: self._add(catalogue.REVISIONS, labels.market(e.market)),
            RowsAudited: lambda e: self._add(
                catalogue.AUDIT_ROWS, labels.market(e.market), labels.audit_verdict(e.verdict), count=e.rows
            ),
            DumpRowsJudged: lambda e: self._add(
                catalogue.DUMP_ROWS, labels.market(e.market), labels.dump_verdict(e.verdict), count=e.rows
            ),
            DerivationAttempted: lambda e: self._add(catalogue.DERIVED, labels.derivation_result(e.result)),
            RequestCollapsed: lambda e: self._add(catalogue.COLLAPSED, labels.market(e.market)),
            QueueWaited: lambda e: self._queue_waits.labels(labels.lane(e.lane)).observe(e.seconds),
            MemoryEvicted: lambda e: self._counters[catalogue.EVICTIONS].inc(e.count),
            ClockMeasured: self._measured,
            ClockSuspect: lambda e: self._add(catalogue.CLOCK_DOUBTS, labels.market(e.market)),
            TierUsed: lambda e: self._tier_seconds.labels(labels.tier(e.tier), labels.op(e.op)).observe(e.seconds),
            TierFailed: lambda e: self._add(catalogue.TIER_ERRORS, labels.tier(e.tier)),
            StreamConnected: lambda e: self._add(
                catalogue.STREAM_CONNECTS, labels.market(e.market), labels.connect_reason(e.reason)
            ),
            StreamRefused: lambda e: self._add(
                catalogue.STREAM_REFUSALS, labels.market(e.market), labels.status(str(e.status))
            ),
            StreamEnded: lambda e: self._add(catalogue.STREAM_ENDS, labels.market(e.market), labels.stream_end(e.end)),
            StreamsSilent: lambda e: self._add(catalogue.STREAM_RESUBSCRIBED, labels.market(e.market), count=e.topics),
            ClientRefused: lambda e: self._add(catalogue.CLIENTS_REFUSED, self._client(e.client)),
            SettingsReloaded: lambda _: self._note_settings(),
            SettingsRefused: lambda _: self._settings_refused.set(1),
            BackgroundTaskFailed: lambda e: self._add(catalogue.FAILURES, labels.failure(e.task)),
        }

    def _upstream(self, event: UpstreamCalled) -> None:
        market, endpoint = labels.market(event.market), labels.endpoint(event.endpoint)
        if (market, endpoint) not in self._called_endpoints:
            self._called_endpoints.add((market, endpoint))
            for status in labels.STATUSES:
                self._counters[catalogue.UPSTREAM_REQUESTS].labels(market, endpoint, status)
        self._add(catalogue.UPSTREAM_REQUESTS, market, endpoint, labels.status(str(event.status)))
        self._add(catalogue.UPSTREAM_WEIGHT, market, count=event.weight)
        purpose = market, labels.reason(event.reason), labels.lane(event.lane)
        self._add(catalogue.REQUESTS_BY_REASON, *purpose)
        self._add(catalogue.WEIGHT_BY_REASON, *purpose, count=event.weight)
        self._upstream_seconds.labels(market).observe(event.seconds)

    def _measured(self, event: ClockMeasured) -> None:
        market = labels.market(event.market)
        self._clock_offset.labels(market).set(event.offset_ms / 1000)
        self._clock_error.labels(market).set(event.error_ms / 1000)

    def _gate(self, event: GateChanged) -> None:
        family = labels.family(event.family)
        if event.state == "closed" and not event.extended:
            self._add(catalogue.GATE_CLOSURES, family, labels.gate_reason(event.reason))

    def _collect_streams(self) -> Iterator[Family]:
        markets = list(self._gauges.streams())
        yield _gauge(catalogue.STREAM_CONNECTIONS, {(state.market,): state.connections for state in markets})
        yield _gauge(catalogue.STREAM_TOPICS, _by_market({state.market: state.topics for state in markets}))
        yield _gauge(catalogue.STREAM_DEAD_TOPICS, {(state.market,): state.dead for state in markets})
        yield _counter(catalogue.STREAM_FRAMES, _by_market({state.market: state.frames for state in markets}))

    def _collect_listeners(self) -> Iterator[Family]:
        markets = list(self._gauges.listeners())
        yield _gauge(catalogue.LISTENERS, _by_market({state.market: state.listeners for state in markets}))
        yield _gauge(catalogue.LISTENED_TOPICS, {(state.market,): state.topics for state in markets})
        yield _gauge(catalogue.LISTENED_SERIES, {(state.market,): state.series for state in markets})
        yield _counter(catalogue.RELAYED_FRAMES, {(state.market,): state.frames for state in markets})
        yield _counter(catalogue.DROPPED_FRAMES, _by_market({state.market: state.dropped for state in markets}))
        yield _counter(catalogue.MENDED_FRAMES, {(state.market,): state.mended for state in markets})
        yield _counter(catalogue.LISTENER_CLOSES, _by_market({state.market: state.closed for state in markets}))
        yield _counter(catalogue.EVENTS_SENT, _by_market({state.market: state.events for state in markets}))

    def _collect_families(self) -> Iterator[Family]:
        families = list(self._gauges.families())
        yield _gauge(catalogue.WEIGHT_USED, {(state.family,): state.used for state in families})
        yield _gauge(catalogue.WEIGHT_ADDRESS, {(state.family,): state.address for state in families})
        yield _gauge(catalogue.WEIGHT_LIMIT, {(state.family,): state.limit for state in families})
        yield _gauge(catalogue.WEIGHT_ALLOWED, {(state.family,): state.allowed for state in families})
        yield _gauge(catalogue.GATE_REOPENS, {(state.family,): state.reopens_in_s for state in families})
        states: dict[tuple[str, ...], float] = {}
        states |= {(f.family, name): int(f.gate_state == name) for f in families for name in labels.GATE_STATES}
        yield _gauge(catalogue.GATE_STATE, states)
        reasons: dict[tuple[str, ...], float] = {}
        reasons |= {(f.family, why): int(_shut_reason(f) == why) for f in families for why in labels.GATE_REASONS}
        yield _gauge(catalogue.GATE_REASON, reasons)


def _by_market(counts: Mapping[str, Mapping[str, int]]) -> dict[tuple[str, ...], float]:
    return {(labels.market(market), name): n for market, found in counts.items() for name, n in found.items()}


def _shut_reason(family: FamilyState) -> str:
    """Return why the family is not asked now; empty if it is."""
    return family.gate_reason if family.gate_state in _SHUT_STATES else ""


def _counter(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Family:
    family = CounterMetricFamily(PREFIX + metric.name, metric.help, labels=metric.labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _gauge(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Family:
    family = GaugeMetricFamily(PREFIX + metric.name, metric.help, labels=metric.labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _histogram(metric: Metric, cells: "Mapping[tuple[str, str], Cell] | Mapping[tuple[str], Cell]") -> Family:
    family = HistogramMetricFamily(PREFIX + metric.name, metric.help, labels=metric.labels)
    for values, cell in cells.items():
        family.add_metric(values, cell.cumulative(), cell.total)
    return family
