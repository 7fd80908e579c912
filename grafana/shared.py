"""What both boards use: their variables, the selector of a chosen daemon, and words of PromQL."""

from grafana.model import Fault, Query, Variable

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


CLOSURES = Query(
    f"sum by (family, reason) (increase({metric('gate_closures_total')}{RATE})) > 0",
    "{{family}} closed: {{reason}}",
    Fault.BAN,
)
