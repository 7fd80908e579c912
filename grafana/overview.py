"""The board to look at first: what Binance costs, whether it may be asked, how old and how quick answers are."""

from collections.abc import Sequence

from grafana.model import Board, Fault, Kind, Panel, Query, Section, State, Step
from grafana.shared import CLOSURES, DAEMON, INSTANCE, JOB, lines, metric, number, quantile, rate, stacked
from mdcache.results import FAILED, HITS, MARKED, MEANINGS, NOT_COUNTED, Result

_PER_MINUTE = "60 * "
_SAME = "on (job, instance, family)"
_REDIS = metric("tier_up", 'tier="redis"')


def _state(name: str) -> str:
    return metric("gate_state", f'state="{name}"')


def _part(results: Sequence[Result]) -> str:
    """The part of all questions with one of these results, as `mdcache/results.py` defines it."""
    questions = rate("requests_total", "", _one_of("!~", NOT_COUNTED))
    return f"{rate('requests_total', '', _one_of('=~', results))} / {questions}"


def _one_of(matches: str, results: Sequence[Result]) -> str:
    return f'result{matches}"{"|".join(results)}"'


_GATE = f"max by (family) ({_state('ramp')} + {_SAME} 2 * {_state('probing')} + {_SAME} 3 * {_state('closed')})"


def _together(how: str, name: str, *one: str) -> str:
    """Of replicas: daemons with a Redis spend one share together."""
    return f"{how} by (job, family) ({metric(name, *one)} and on (job, instance) {_REDIS})"


def _alone(name: str, *one: str) -> str:
    """Of each daemon without a Redis: it has a share of its own."""
    return f"({metric(name, *one)} unless on (job, instance) {_REDIS})"


def _allowed(one: str) -> str:
    return f"sum({_alone('upstream_weight_allowed', one)} or {_together('max', 'upstream_weight_allowed', one)})"


def _share_spent() -> str:
    used, allowed = "upstream_weight_used", "upstream_weight_allowed"
    alone = f"{_alone(used)} / {metric(allowed)}"
    together = f"{_together('sum', used)} / {_together('max', allowed)}"
    return f"max by (family) (max_over_time(({alone} or {together})[2m:15s]))"


def _weight(family: str) -> Panel:
    one = f'family="{family}"'
    return lines(
        f"Weight, {family}",
        "Weight of this UTC minute, which begins anew with each. The address's may be more than ours: others spend "
        "behind it. mdcache stays below what is allowed, and sends nothing that takes the address past 90 %.",
        "short",
        Query(f"sum({metric('upstream_weight_used', one)})", "used by mdcache"),
        Query(f"max({metric('upstream_weight_address', one)})", "used by the address"),
        Query(_allowed(one), "allowed to mdcache", bound=True),
        Query(f"max({metric('upstream_weight_limit', one)})", "limit of the address", bound=True),
        width=12,
    )


NOW = Section(
    "Now",
    (
        number(
            "Daemons up",
            "How many answer Prometheus.",
            "short",
            Query(f"sum(up{{{DAEMON}}})", "up"),
            width=3,
            height=4,
            steps=(Step(None, "red"), Step(1, "green")),
        ),
        number(
            "Share spent",
            "The most of its weight that mdcache spent within the last two minutes, of what it is allowed.",
            "percentunit",
            Query(_share_spent(), "{{family}}"),
            width=6,
            height=4,
            steps=(Step(None, "green"), Step(0.8, "orange"), Step(0.95, "red")),
        ),
        number(
            "Hit ratio",
            "Of all requests but the refused ones, those that cost no read of their own: hit and collapsed.",
            "percentunit",
            Query(_part(HITS), "hits"),
            width=4,
            height=4,
        ),
        number(
            "Age of tails, p99",
            "How old the open candle is in the answers that show one.",
            "s",
            Query(quantile(0.99, "tail_age_seconds"), "p99"),
            width=4,
            height=4,
            steps=(Step(None, "green"), Step(5, "orange"), Step(30, "red")),
        ),
        number(
            "Latency, p99",
            "Of all answers, those that wait for Binance among them.",
            "s",
            Query(quantile(0.99, "request_seconds"), "p99"),
            width=4,
            height=4,
        ),
        number(
            "Alerts",
            "Alerts of mdcache that fire; the runbook has a section for each.",
            "short",
            Query(
                'count by (alertname) (ALERTS{alertname=~"Mdcache.+",alertstate="firing"})', "{{alertname}}", Fault.BAN
            ),
            width=3,
            height=4,
            steps=(Step(None, "green"), Step(1, "red")),
        ),
    ),
)
GATES = Section(
    "May Binance be asked?",
    (
        Panel(
            "Gates",
            "Closed: Binance is not asked. Probing: one read is out. Ramp: a few at a time. Open: all.",
            "short",
            (Query(_GATE, "{{family}}"),),
            Kind.STATES,
            width=12,
            height=5,
            states=(
                State(0, "open", "green"),
                State(1, "ramp", "blue"),
                State(2, "probing", "yellow"),
                State(3, "closed", "red"),
            ),
        ),
        lines(
            "Reopens in",
            "Time until a closed gate may be probed.",
            "s",
            Query(f"max by (family) ({metric('gate_reopens_seconds')})", "{{family}}"),
            width=6,
            height=5,
        ),
        lines(
            "Shut because of",
            "Why a family is not asked; nothing while all gates are open.",
            "short",
            Query(f"max by (family, reason) ({metric('gate_reason')} == 1)", "{{family}}: {{reason}}", Fault.BAN),
            width=6,
            height=5,
        ),
    ),
)
COST = Section(
    "What Binance costs",
    (
        _weight("spot"),
        _weight("futures"),
        stacked(
            "Calls a minute, by reason",
            "missing_rows: not known before. refresh: the open candle was older than its TTL. close: a candle closed. "
            "recheck_empty: whether an empty range still is. snapshot, full_list: no candles. symbols, clock: the "
            "daemon's own.",
            "short",
            Query(_PER_MINUTE + rate("upstream_requests_by_reason_total", "reason"), "{{reason}}"),
            width=6,
        ),
        stacked(
            "Weight a minute, by reason",
            "What those calls cost.",
            "short",
            Query(_PER_MINUTE + rate("upstream_weight_by_reason_total", "reason"), "{{reason}}"),
            width=6,
        ),
        stacked(
            "Calls a minute, by status",
            "0: no reply came.",
            "short",
            Query(_PER_MINUTE + rate("upstream_requests_total", "status") + " > 0", "{{status}}"),
            width=6,
        ),
        stacked(
            "Tails by what feeds them",
            "Of the series that are asked for. A stream costs no weight; rest: read by the TTL; derived: from the rows "
            "of a shorter series.",
            "short",
            Query(f"sum by (source) ({metric('tails')})", "{{source}}"),
            width=6,
        ),
    ),
)
ANSWERS = Section(
    "What clients get",
    (
        stacked(
            "Answers a second, by result",
            "; ".join(f"{result}: {meaning}" for result, meaning in MEANINGS.items()) + ".",
            "reqps",
            Query(rate("requests_total", "result"), "{{result}}"),
        ),
        lines(
            "Hit ratio, marked and failed answers",
            "Shares of all requests but the refused ones. Marked (stale): past their TTL, because Binance can't be "
            "asked. Failed (error): 502 or 503.",
            "percentunit",
            Query(_part(HITS), "hits"),
            Query(_part(MARKED), "marked", Fault.BAN),
            Query(_part(FAILED), "failed", Fault.BAN),
            most=1,
        ),
        lines(
            "Age of tails",
            "How old the open candle is in the answers that show one.",
            "s",
            Query(quantile(0.5, "tail_age_seconds", "market"), "{{market}} p50"),
            Query(quantile(0.99, "tail_age_seconds", "market"), "{{market}} p99"),
        ),
        lines(
            "Latency of hits",
            "Inside the daemon.",
            "s",
            Query(quantile(0.5, "request_seconds", "", 'result="hit"'), "p50"),
            Query(quantile(0.99, "request_seconds", "", 'result="hit"'), "p99"),
            width=12,
        ),
        lines(
            "Latency of what waits for Binance",
            "Inside the daemon: queue, Binance, checks and all.",
            "s",
            Query(quantile(0.5, "request_seconds", "", 'result=~"miss|partial|collapsed"'), "p50"),
            Query(quantile(0.99, "request_seconds", "", 'result=~"miss|partial|collapsed"'), "p99"),
            width=12,
        ),
    ),
)

BOARD = Board(
    "mdcache-overview",
    "mdcache / overview",
    "What is fetched, why, what it costs, how near the limit is, and how old the answers are.",
    (JOB, INSTANCE),
    CLOSURES,
    (NOW, GATES, COST, ANSWERS),
)
