"""`mdcache warm`: read spans of series before a client asks for them."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mdcache.cli.console import fail, load_or_exit
from mdcache.errors import MdcacheError
from mdcache.exchange.markets import Market

if TYPE_CHECKING:
    from mdcache.cache.warmup import WarmupProgress


def warm(
    *,
    market: Annotated[Market, typer.Option(help="Market of the symbols.")],
    symbols: Annotated[str, typer.Option(help="Symbols, separated by commas.")],
    intervals: Annotated[str, typer.Option(help="Intervals, separated by commas.")],
    since: Annotated[str, typer.Option(help="First open time: a date, a time (UTC) or milliseconds.")],
    until: Annotated[str | None, typer.Option(help="Last open time; default: now.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Read whole spans of candles before a client asks for them. Other reads go first; known candles cost nothing."""
    settings = load_or_exit(as_json=as_json)
    from mdcache.cache.warmup import WarmupRequest, WarmupState
    from mdcache.cli.warm_job import run_warm_job

    since_ms, until_ms = _parse_time(since), None if until is None else _parse_time(until)
    names = tuple(name.upper() for name in _split(symbols))
    request = WarmupRequest(market, names, _split(intervals), since_ms, until_ms)
    if not request.symbols or not request.intervals or (until_ms is not None and until_ms < since_ms):
        raise typer.BadParameter("at least one symbol and one interval, and an end that is not before the start")
    last: list[WarmupProgress] = []
    try:
        with _progress_bar(Console(stderr=True)) as bar:
            asyncio.run(run_warm_job(settings, request, _show_in(bar, last)))
    except KeyboardInterrupt:
        _print_outcome(last, as_json=as_json)
        fail("cancelled; if run again, it continues where it stopped", 130)
    except (MdcacheError, OSError) as error:
        fail(error)
    _print_outcome(last, as_json=as_json)
    if last[-1].state is not WarmupState.DONE or last[-1].errors:
        raise typer.Exit(1)


def _parse_time(text: str) -> int:
    """Return milliseconds since the epoch of a date, a time (UTC unless it names a zone), or milliseconds."""
    if text.isdecimal():
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: a date such as 2024-01-01, a time, or milliseconds") from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def _split(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


def _progress_bar(console: Console) -> Progress:
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show_in(bar: Progress, last: "list[WarmupProgress]") -> "Callable[[WarmupProgress], None]":
    """Return a callback that shows progress in the bar, and keeps the newest as the only item of `last`."""
    task = bar.add_task("")

    def show(found: "WarmupProgress") -> None:
        last[:] = [found]
        text = f"{found.series_done}/{found.series_total} series, {found.rows:,} rows, weight {found.weight:,}"
        text += f"; waiting: {found.detail}" if found.detail else ""
        bar.update(task, completed=found.pages, total=(found.pages + found.pages_left) or 1, description=text)

    return show


def _print_outcome(last: "list[WarmupProgress]", *, as_json: bool) -> None:
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
