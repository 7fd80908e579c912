"""`mdcache replay` on a terminal: its bars while it runs, its table at the end."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mdcache.replay.run import OnProgress, ReplayPlan, ReplayResult, SideResult


@contextmanager
def progress_bars(plan: ReplayPlan, console: Console) -> Iterator[OnProgress]:
    """A bar for each side, as wide as its questions are many; nothing where `console` is no terminal."""
    columns = (
        TextColumn("{task.fields[side]:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    total = plan.load.questions
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        tasks = {side: shown.add_task("starting", total=total, side=side) for side in ("direct", "mdcache")}

        def watch(side: str, ended: int, failed: int) -> None:
            shown.update(tasks[side], completed=ended, description=f"{failed:,} refused" if failed else "")

        yield watch


def table(replay: ReplayResult) -> Table:
    """Both sides, fact by fact."""
    made = Table(title="The incident, on this machine", title_justify="left", box=None, pad_edge=False)
    made.add_column("")
    made.add_column("without mdcache", justify="right")
    made.add_column("with mdcache", justify="right")
    for name, *cells in _rows(replay):
        made.add_row(name, *cells)
    return made


def _rows(replay: ReplayResult) -> Iterator[tuple[str, str, str]]:
    sides = (replay.direct, replay.mdcache)
    minutes = replay.plan.load.seconds / 60

    def row(name: str, *cells: str) -> tuple[str, str, str]:
        return (name, cells[0], cells[1])

    yield row("questions asked", *(f"{side.asked:,}" for side in sides))
    yield row("refused or failed", *(f"{side.failed:,}" for side in sides))
    yield row("weight a minute", *(f"{side.weight / minutes:,.0f}" for side in sides))
    yield row("  of", *(f"{replay.plan.limit:,}" for _ in sides))
    yield row("calls to the exchange", *(f"{side.calls:,}" for side in sides))
    yield row("  refused (403, 418, 429)", *(f"{side.refused:,}" for side in sides))
    yield row("bans", *map(_bans, sides))
    yield row("worst age of candles held", *(f"{side.worst_age_s:.1f} s" for side in sides))
    yield row("  answers marked as past their TTL", *(f"{side.marked:,}" for side in sides))
    yield row("slowest answer in a hundred", *(f"{side.p99_ms:,.0f} ms" for side in sides))


def _bans(side: SideResult) -> str:
    return "0" if side.banned_at_s is None else f"{side.bans}, after {side.banned_at_s:.0f} s"


def summary(replay: ReplayResult) -> str:
    """What it comes to, in a sentence."""
    minutes = replay.plan.load.seconds / 60
    times = replay.uncached_weight * minutes / max(1, replay.mdcache.weight)
    return (
        f"As calls, these questions weigh {replay.uncached_weight:,} a minute; with mdcache they cost "
        f"{times:.1f} times less (it may use {replay.plan.share:.0%} of the limit)."
    )
