"""`mdcache warm`: read spans of series before a client asks for them."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mdcache.cli.console import fail, load_or_exit
from mdcache.errors import MdcacheError
from mdcache.exchange.markets import Market

if TYPE_CHECKING:
    from mdcache.cache.warmup import WarmupProgress

DUMP_URL = "https://data.binance.vision"
_MAX_MS = 253_402_300_799_999  # 9999-12-31


def warm(
    *,
    market: Annotated[Market, typer.Option(help="Market of the symbols.")],
    symbols: Annotated[str, typer.Option(help="Symbols, separated by commas.")],
    intervals: Annotated[str, typer.Option(help="Intervals, separated by commas.")],
    since: Annotated[str, typer.Option(help="First open time: a date, a time (UTC) or milliseconds.")],
    until: Annotated[str | None, typer.Option(help="Last open time; default: now.")] = None,
    from_dumps: Annotated[
        str | None,
        typer.Option(metavar="DIR-or-URL", help="Take them from Binance's dump files, such as " + DUMP_URL + "."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Read whole spans of candles before a client asks for them. Other reads go first; known candles cost nothing."""
    settings = load_or_exit(as_json=as_json)
    from mdcache.cache.job import JobState
    from mdcache.cache.warmup import WarmupRequest
    from mdcache.cli.warm_job import run_warm_job

    asked = parse_series(symbols, intervals, since, until)
    request = WarmupRequest(market, *asked, dumps=None if from_dumps is None else absolute(from_dumps))
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
    if last[-1].state is not JobState.DONE or last[-1].errors:
        raise typer.Exit(1)


def parse_series(
    symbols: str, intervals: str, since: str, until: str | None
) -> tuple[tuple[str, ...], tuple[str, ...], int, int | None]:
    """Return what the options name: symbols, intervals, and the first and last open time in milliseconds."""
    since_ms, until_ms = _parse_time(since), None if until is None else _parse_time(until)
    names, lengths = tuple(name.upper() for name in _split(symbols)), _split(intervals)
    if max(since_ms, until_ms or 0) > _MAX_MS:
        raise typer.BadParameter("times until the year 9999, in milliseconds if they are numbers")
    if not names or not lengths or (until_ms is not None and until_ms < since_ms):
        raise typer.BadParameter("at least one symbol and one interval, and an end that is not before the start")
    return names, lengths, since_ms, until_ms


def absolute(dumps: str) -> str:
    """Return where dump files are as the daemon needs it, whose working directory may be another one."""
    return dumps if urlsplit(dumps).scheme in {"http", "https"} else str(Path(dumps).expanduser().absolute())


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
        text = f"{found.series_done}/{found.series_total} series, {_in_words(found)}"
        text += f", {found.rows / found.seconds:,.0f} rows/s" if found.seconds else ""
        text += f"; waiting: {found.detail}" if found.detail else ""
        bar.update(task, completed=found.pages, total=(found.pages + found.pages_left) or 1, description=text)

    return show


def _print_outcome(last: "list[WarmupProgress]", *, as_json: bool) -> None:
    for found in last:
        if as_json:
            typer.echo(json.dumps(asdict(found), indent=2))
            return
        typer.echo(
            f"{found.state}: {found.series_done} of {found.series_total} series, {_in_words(found)},"
            f" {found.seconds:.1f} s" + (f"; {found.detail}" if found.detail else "")
        )
        for why in dict.fromkeys(found.unusable.values()):
            names = [name for name, each in found.unusable.items() if each == why]
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            typer.echo(f"mdcache: {names[0]}{more}: {why}", err=True)
        for series, message in found.errors.items():
            typer.echo(f"mdcache: {series}: {message}", err=True)


def _in_words(found: "WarmupProgress") -> str:
    text = f"{found.rows:,} rows, weight {found.weight:,}"
    for count, what in ((found.known, "known"), (found.differing, "differing"), (found.left, "left to be read")):
        text += f", {count:,} {what}" if count else ""
    return text
