"""`mdcache replay`: run the incident without mdcache and with it, by REST only and with streams, and compare."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mdcache.cli.console import fail, stdout

if TYPE_CHECKING:
    from mdcache.replay.run import OnProgress, ReplayPlan, ReplayResult
    from mdcache.replay.sides import SideResult

_PROCESSORS = 4  # that three simulated exchanges, two daemons and all consumers need at once


def replay(
    *,
    seconds: Annotated[
        float, typer.Option(min=1.0, help="Seconds that the run takes; Binance's limit is per minute.")
    ] = 120.0,
    symbols: Annotated[int, typer.Option(min=1, help="Number of symbols; each is asked for in six intervals.")] = 20,
    consumers: Annotated[int, typer.Option(min=1, help="Programs, each asking for all of it every 5 s.")] = 3,
    limit: Annotated[int, typer.Option(min=1, help="The exchange's weight limit per minute.")] = 6000,
    share: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of it that mdcache may use.")] = 0.5,
    picture: Annotated[Path, typer.Option(help="Draw NAME.svg and NAME.png.", metavar="NAME")] = Path("replay"),
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Draw nothing; needs no matplotlib.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Show two minutes of polling against a simulated Binance, with and without mdcache.

    Several programs ask for the candles of many symbols every 5 seconds: directly, through mdcache without streams, and
    through mdcache with streams; one after the other, where there are fewer than four processors. Exits with 1 if a
    question failed behind mdcache, or the exchange answered mdcache with 403, 418 or 429.
    """
    from mdcache.replay.consumers import ReplayLoad
    from mdcache.replay.notes import notes
    from mdcache.replay.run import ReplayPlan, play

    draw = None if no_picture else _picture_drawer()
    plan = ReplayPlan(
        ReplayLoad(seconds, symbols, consumers), limit, share, in_turn=(os.cpu_count() or 1) < _PROCESSORS
    )
    with progress_bars(plan, Console(stderr=True)) as on_progress:
        found = play(plan, on_progress)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"notes": notes(found)}, indent=2))
    else:
        stdout().print(results(found), Text(summary(found)), *map(Text, notes(found)), sep="\n")
    if draw is not None:
        for path in draw(found, picture):
            typer.echo(f"mdcache: wrote {path}", err=True)
    raise typer.Exit(0 if found.passed else 1)


def _picture_drawer() -> "Callable[[ReplayResult, Path], tuple[Path, Path]]":
    try:
        from mdcache.replay.picture import draw
    except ModuleNotFoundError:
        fail("the picture needs matplotlib: pip install 'mdcache[replay]', or --no-picture", 2)
    return draw


@contextmanager
def progress_bars(plan: "ReplayPlan", console: Console) -> "Iterator[OnProgress]":
    """Show a progress bar for each side; nothing if `console` is not a terminal."""
    columns = (
        TextColumn("{task.fields[side]:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    total = plan.load.questions
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        sides = ("direct", "rest_only", "mdcache")
        tasks = {side: shown.add_task("starting", total=total, side=side) for side in sides}

        def watch(side: str, ended: int, failed: int) -> None:
            shown.update(tasks[side], completed=ended, description=f"{failed:,} failed" if failed else "")

        yield watch


def results(replay: "ReplayResult") -> Table:
    """Return a table of all sides next to each other."""
    made = Table(title="The incident, on this machine", title_justify="left", box=None, pad_edge=False)
    made.add_column("")
    for name in ("without mdcache", "mdcache, REST only", "mdcache, streams"):
        made.add_column(name, justify="right")
    for name, *cells in _rows(replay):
        made.add_row(name, *cells)
    return made


def _rows(replay: "ReplayResult") -> Iterator[tuple[str, ...]]:
    sides = (replay.direct, replay.rest_only, replay.mdcache)

    def row(name: str, *cells: str) -> tuple[str, ...]:
        return (name, *cells)

    yield row("questions asked", *(f"{side.asked:,}" for side in sides))
    yield row("failed", *(f"{side.failed:,}" for side in sides))
    yield row("weight in the first minute", *(f"{side.cold_weight:,}" for side in sides))
    yield row("  for the clock and the list of symbols", *(f"{side.other_weights[0]:,}" for side in sides))
    yield row("weight in a later minute, at most", *map(_warm, sides))
    yield row("  of", *(f"{replay.plan.limit:,}" for _ in sides))
    yield row("calls to the exchange", *(f"{side.calls:,}" for side in sides))
    yield row("  answered with 403, 418 or 429", *(f"{side.refused:,}" for side in sides))
    yield row("bans", *map(_bans, sides))
    yield row("worst age of candles held", *(f"{side.worst_age_s:.1f} s" for side in sides))
    yield row("  answers marked as past their TTL", *(f"{side.marked:,}" for side in sides))
    yield row("slowest answer in a hundred", *(f"{side.p99_ms:,.0f} ms" for side in sides))


def _bans(side: "SideResult") -> str:
    return "0" if side.banned_at_s is None else f"{side.bans}, after {side.banned_at_s:.0f} s"


def _warm(side: "SideResult") -> str:
    return "" if side.warm_weight is None else f"{side.warm_weight:,}"


def summary(replay: "ReplayResult") -> str:
    """Return the result in a sentence."""
    return (
        f"As calls, these questions weigh {replay.uncached_weight:,} a minute. With mdcache and streams they cost "
        f"{_costs(replay.mdcache)}; with REST only {_costs(replay.rest_only)}. "
        f"It may use {replay.plan.share:.0%} of the limit."
    )


def _costs(side: "SideResult") -> str:
    later = "" if side.warm_weight is None else f" and at most {side.warm_weight:,} in a later one"
    return f"{side.cold_weight:,} in the first minute{later}"
