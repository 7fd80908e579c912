"""`mdcache warm` on a terminal: its bar, and where the job ended."""

import json
from collections.abc import Callable
from dataclasses import asdict

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from mdcache.cache.warmup import WarmupProgress


def progress_bar(console: Console) -> Bar:
    """The bar, to be entered; nothing where `console` is no terminal."""
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    return Bar(*columns, console=console, transient=True, disable=not console.is_terminal)


def show_in(bar: Bar, last: list[WarmupProgress]) -> Callable[[WarmupProgress], None]:
    """Shows each progress in the bar; the newest is `last`'s only one."""
    task = bar.add_task("")

    def show(found: WarmupProgress) -> None:
        last[:] = [found]
        said = f"{found.series_done}/{found.series_total} series, {found.rows:,} rows, weight {found.weight:,}"
        said += f"; waiting: {found.detail}" if found.detail else ""
        bar.update(task, completed=found.pages, total=(found.pages + found.pages_left) or 1, description=said)

    return show


def print_outcome(last: list[WarmupProgress], *, as_json: bool) -> None:
    """Say where the job ended."""
    for found in last:
        if as_json:
            typer.echo(json.dumps(asdict(found), indent=2))
            return
        typer.echo(
            f"{found.state}: {found.series_done} of {found.series_total} series, {found.rows:,} rows,"
            f" weight {found.weight:,}, {found.seconds:.1f} s" + (f"; {found.detail}" if found.detail else "")
        )
        for series, message in found.errors.items():
            typer.echo(f"mdcache: {series}: {message}", err=True)
