"""What both boards use: their variables, the selector of a chosen daemon, words of PromQL, and kinds of panels."""

from typing import TypedDict, Unpack

from grafana.model import Fault, Kind, Panel, Query, Step, Variable

DAEMON = 'job=~"$job",instance=~"$instance"'
RATE = "[$__rate_interval]"
JOB = Variable("job", "job", "mdcache_build_info")
INSTANCE = Variable("instance", "instance", 'mdcache_build_info{job=~"$job"}')


def metric(name: str, *more: str) -> str:
    """The series `mdcache_<name>` of the chosen daemons; `more` are further matchers."""
    return f"mdcache_{name}{{{','.join((DAEMON, *more))}}}"


def rate(name: str, by: str = "", *more: str) -> str:
    """How fast a count grows a second, summed over the daemons; `by` are the labels that stay."""
    return f"sum by ({by}) (rate({metric(name, *more)}{RATE}))"


def grown(name: str, by: str = "", *more: str) -> str:
    """By how much a count has grown, for what is rare."""
    return f"sum by ({by}) (increase({metric(name, *more)}{RATE}))"


def quantile(of: float, histogram: str, by: str = "", *more: str) -> str:
    """A quantile of a histogram; `by` are the labels that stay."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({of:g}, sum by ({labels}) (rate({metric(histogram + '_bucket', *more)}{RATE})))"


class Layout(TypedDict, total=False):
    """What most panels leave as `Panel` has it."""

    width: int
    height: int
    steps: tuple[Step, ...]
    least: float | None
    most: float | None


def lines(title: str, about: str, unit: str, *queries: Query, **layout: Unpack[Layout]) -> Panel:
    """A panel of lines."""
    return Panel(title, about, unit, queries, Kind.LINES, **layout)


def stacked(title: str, about: str, unit: str, *queries: Query, **layout: Unpack[Layout]) -> Panel:
    """A panel of areas, one on the other."""
    return Panel(title, about, unit, queries, Kind.STACKED, **layout)


def number(title: str, about: str, unit: str, *queries: Query, **layout: Unpack[Layout]) -> Panel:
    """A panel of numbers."""
    return Panel(title, about, unit, queries, Kind.NUMBER, **layout)


CLOSURES = Query(
    f"sum by (family, reason) (increase({metric('gate_closures_total')}{RATE})) > 0",
    "{{family}} closed: {{reason}}",
    Fault.BAN,
)
