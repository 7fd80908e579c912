"""`mdcache audit`: have the running daemon read a sample of what it keeps again, and compare."""

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from mdcache.cli.console import fail, load_or_exit
from mdcache.errors import MdcacheError
from mdcache.exchange.markets import Market

if TYPE_CHECKING:
    from mdcache.cache.audit import AuditProgress
    from mdcache.settings import Settings

_PATH = "/v1/admin/audit"
_POLL_S = 0.25  # how often the progress is checked
_SHOWN = 10  # differences


def audit(
    *,
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many settled rows to read again.")] = 5_000,
    market: Annotated[Market | None, typer.Option(help="Only of this market.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only of this symbol or pair.")] = None,
    interval: Annotated[str | None, typer.Option(help="Only of this interval.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Read settled rows again, chosen at random, compare them with what is kept, and mend what differs.

    The running daemon does it, after all other reads. Exits with 1 if a row differs, or too few could be read.
    """
    settings = load_or_exit(as_json=as_json)
    from mdcache.cache.job import JobState
    from mdcache.cli.daemon_client import DaemonNotRunning

    order = {"rows": rows, "market": market, "symbol": symbol, "interval": interval}
    body = json.dumps({name: value for name, value in order.items() if value is not None})
    try:
        found = asyncio.run(_run(settings, body))
    except KeyboardInterrupt:
        fail("cancelled", 130)
    except (MdcacheError, DaemonNotRunning) as error:
        fail(error)
    _print(found, as_json=as_json)
    if found.state is not JobState.DONE or found.errors or found.differing:
        raise typer.Exit(1)


async def _run(settings: "Settings", body: str) -> "AuditProgress":
    """Have the daemon run a job; return its end. If cancelled, it cancels the job."""
    from mdcache.cache.audit import AuditProgress
    from mdcache.cache.job import UNFINISHED_STATES
    from mdcache.cli.daemon_client import DaemonNotRunning, job_request
    from mdcache.clock import SystemClock

    clock, console = SystemClock(), Console(stderr=True)
    ask = partial(job_request, settings, path=_PATH, kind=AuditProgress)
    found = await asyncio.to_thread(ask, "POST", body=body)
    columns = (BarColumn(), TextColumn("{task.description}"))
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("")
            while found.state in UNFINISHED_STATES:
                text = f"{found.rows:,} rows, weight {found.weight:,}, {found.differing:,} differences"
                text += f"; waiting: {found.detail}" if found.detail else ""
                bar.update(task, completed=found.rows, total=found.rows_asked, description=text)
                await clock.sleep(_POLL_S)
                found = await asyncio.to_thread(ask, "GET")
    except asyncio.CancelledError:
        with suppress(MdcacheError, DaemonNotRunning):
            ask("DELETE")
        raise
    return found


def _print(found: "AuditProgress", *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    counts = ", ".join(f"{count:,} {verdict}" for verdict, count in found.verdicts.items() if count)
    typer.echo(
        f"{found.state}: {found.rows:,} rows read again" + (f" ({counts})" if counts else "")
        + f", weight {found.weight:,}, {found.seconds:.1f} s" + (f"; {found.detail}" if found.detail else "")
    )  # fmt: skip
    for one in found.differences[:_SHOWN]:
        typer.echo(f"{one.series} {one.open_time_ms}: {one.verdict}")
        typer.echo(f"  was {one.was or 'nothing'}")
        typer.echo(f"  now {one.now or 'nothing'}")
    if len(found.differences) > _SHOWN:
        typer.echo(f"… and more: --json shows {len(found.differences)}")
    for series, message in found.errors.items():
        typer.echo(f"mdcache: {series}: {message}", err=True)
