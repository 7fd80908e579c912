"""docs/metrics.md, made from the catalogue of metrics."""

from mdcache import results
from mdcache.cache.stream_status import FRAME_RESULTS, TOPIC_STATES
from mdcache.cache.tail_sources import TailSource
from mdcache.serving.listener_status import DROP_REASONS, END_REASONS
from mdcache.serving.listeners import ListenerKind
from mdcache.serving.native.series_events import EventName
from mdcache.telemetry import catalogue, labels, metrics

HEAD = """\
# Metrics

`GET /metrics`, in Prometheus' text format, or OpenMetrics where the scraper asks for it; no exemplars. Units are
base units. All label values come from closed sets (anything unexpected counts as `other`), and no label names a symbol
or an interval, so the number of series does not depend on what is asked for. Gauges are read at each scrape. Counters
that rules watch for a first event are exported as 0 from the start.

| Name | Type | Meaning |
|---|---|---|
"""
PROCESS = (
    ("process_resident_memory_bytes", "gauge"),
    ("process_virtual_memory_bytes", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_start_time_seconds", "gauge"),
    ("process_open_fds", "gauge"),
    ("process_max_fds", "gauge"),
)
VALUES = {
    "market": labels.MARKETS,
    "family": labels.FAMILIES,
    "endpoint": labels.ENDPOINTS,
    "result": labels.RESULTS,
    "verdict": labels.AUDIT_VERDICTS,
    "result of a derivation": labels.DERIVATION_RESULTS,
    "status": labels.STATUSES,
    "lane": labels.LANES,
    "state": labels.GATE_STATES,
    "tier": labels.TIERS,
    "op": labels.OPS,
    "what": labels.FAILURES,
    "result of a frame": FRAME_RESULTS,
    "state of a topic": TOPIC_STATES,
    "kind": tuple(ListenerKind),
    "reason of a dropped frame": DROP_REASONS,
    "reason of a close of a listener": END_REASONS,
    "event": tuple(EventName),
    "source": tuple(TailSource),
    "reason of a connect": labels.CONNECT_REASONS,
    "end": labels.STREAM_ENDS,
    "reason of a request": labels.REASONS,
    "reason of a gate": labels.GATE_REASONS,
    "reason of a rejected body": labels.BODY_REASONS,
    "reason of a retry, besides those of a rejected body": tuple(
        each for each in labels.RETRY_REASONS if each not in labels.BODY_REASONS
    ),
}
BOUNDS = {
    catalogue.REQUEST_SECONDS: metrics.REQUEST_BOUNDS,
    catalogue.UPSTREAM_SECONDS: metrics.UPSTREAM_BOUNDS,
    catalogue.QUEUE_WAIT: metrics.WAIT_BOUNDS,
    catalogue.TAIL_AGE: metrics.AGE_BOUNDS,
    catalogue.TIER_SECONDS: metrics.TIER_BOUNDS,
}
RESULTS = """
## Results

Each request of a client has one result.

| Result | Answered |
|---|---|
"""
RATIO = """
The **hit ratio** is the share of {hits} in all requests but {not_counted}: answers that cost no read of their own.
Beside it stand the **marked** share ({marked}) and the **failed** share ({failed}); the rest was read from Binance. The
status page, `/v1/status`, `mdcache status`, the log's summary and the dashboards use these words and no other
definition.
"""


def text() -> str:
    """Return the whole page."""
    lines = [HEAD]
    for metric in catalogue.ALL:
        inside = "{" + ",".join(metric.labels) + "}" if metric.labels else ""
        lines.append(f"| `{metric.full_name}{inside}` | {metric.kind} | {metric.help.removesuffix('.')} |\n")
    lines.append("\nAnd of the process itself, where the system provides it:\n\n| Name | Type |\n|---|---|\n")
    lines += [f"| `{name}` | {kind} |\n" for name, kind in PROCESS]
    lines.append("\n## Label values\n\n| Label | Values |\n|---|---|\n")
    lines += [f"| {label} | {', '.join(f'`{value}`' for value in values)} |\n" for label, values in VALUES.items()]
    lines.append("| client | the names of `CLIENTS` |\n")
    lines.append(RESULTS)
    lines += [f"| {result} | {meaning} |\n" for result, meaning in results.MEANINGS.items()]
    groups = {
        "hits": results.HITS,
        "marked": results.MARKED,
        "failed": results.FAILED,
        "not_counted": results.NOT_COUNTED,
    }
    lines.append(RATIO.format(**{name: " and ".join(f"`{each}`" for each in found) for name, found in groups.items()}))
    lines.append("\n## Buckets\n\nUpper ends, in seconds.\n\n| Histogram | Buckets |\n|---|---|\n")
    lines += [
        f"| `{metric.full_name}` | {', '.join(f'{b:g}' for b in bounds)} |\n" for metric, bounds in BOUNDS.items()
    ]
    return "".join(lines)
