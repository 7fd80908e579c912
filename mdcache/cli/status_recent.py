"""Render the last minutes for `mdcache status`: what is asked, how long answers took, who and what costs most."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from mdcache.cli.console import add_row, new_table, printable
from mdcache.results import RecentAnswers
from mdcache.serving.ops.activity import Spender
from mdcache.serving.ops.status import Upstreams

_MS = 1_000


def other_upstreams(upstreams: Upstreams) -> list[Text]:
    """Return a warning if what is shown is not Binance's data."""
    if not upstreams.not_binance:
        return []
    named = ", ".join(f"{market} from {upstreams.urls.get(market, '?')}" for market in upstreams.not_binance)
    return [Text(f"  NOT BINANCE: {printable(named)}", style="bold yellow")]


def times(answers: RecentAnswers) -> str:
    """Return how long the last minute's answers took, and how old the tails were that they showed; empty if none."""
    took = answers.seconds.get("all")
    if took is None:
        return ""
    said = f", half took {_at_most(took.p50)}, 99% {_at_most(took.p99)}"
    if ages := list(answers.tail_ages.values()):
        said += f", tails shown {_at_most(max(each.p99 for each in ages))} old"
    return said


def _at_most(seconds: float) -> str:
    return f"≤ {seconds * _MS:.3g} ms" if seconds < 1 else f"≤ {seconds:.3g} s"


def spenders(title: str, listed: Iterable[Spender]) -> Table:
    """Return those that cost most."""
    table = new_table(title, ">weight", ">reads", ">failed")
    for each in listed:
        add_row(table, printable(each.name), f"{each.weight:,}", f"{each.calls:,}", f"{each.failed:,}")
    return table
