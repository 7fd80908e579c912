"""The command line: reads options, hands over, and says what went wrong on stderr, without a traceback.

Only this module uses typer and rich. What a command does lives elsewhere and is imported when it runs.
Exit codes: 0 done; 1 it failed while running; 2 wrong settings or options; 130 ended by Ctrl-C.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from mdcache import __version__
from mdcache.errors import MdcacheError
from mdcache.exchange.markets import Market
from mdcache.settings import HIDDEN, Problem, Settings, SettingsError, effective, load

if TYPE_CHECKING:
    from mdcache.cache.ttls import Line
    from mdcache.cache.warming import Progress
    from mdcache.stores.survey import Survey

app = typer.Typer(
    name="mdcache",
    help="A gateway between a trading stack and Binance's public market data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables, and so secrets
)
_WIDE = 200  # columns where stdout is no terminal: a pipe has no width to wrap at


def main() -> None:
    """What the `mdcache` script and `python -m mdcache` run."""
    try:
        app()
    except (MdcacheError, OSError) as error:
        typer.echo(f"mdcache: {error}", err=True)
        raise SystemExit(1) from None


def _version(asked: bool) -> None:  # noqa: FBT001 - typer's callback
    if asked:
        version()
        raise typer.Exit


@app.callback()
def _options(
    *,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def _load_or_exit(*, as_json: bool = False) -> Settings:
    try:
        settings = load()
        _check_redis(settings)
        return settings
    except SettingsError as error:
        _refuse(error, as_json=as_json)


def _check_redis(settings: Settings) -> None:
    """What the URL's own form can't say: who takes it apart says what is wrong with it."""
    if settings.redis_url is None:
        return
    from mdcache.stores.redis.address import parse

    try:
        parse(settings.redis_url.get_secret_value())
    except ValueError as error:
        raise SettingsError([Problem("MDCACHE_REDIS_URL", HIDDEN, "environment or .env", str(error))]) from None


def _refuse(error: SettingsError, *, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"problems": [problem.as_dict() for problem in error.problems]}, indent=2))
    for problem in error.problems:
        typer.echo(f"mdcache: {problem}", err=True)
    raise typer.Exit(2)


@app.command()
def serve() -> None:
    """Serve; every setting comes from MDCACHE_* variables or .env (`mdcache check` lists them)."""
    settings = _load_or_exit()
    from mdcache.daemon import run

    run(settings)


def _snapshots(settings: Settings) -> "list[tuple[Line, str]]":
    """What is no candle: each path's weight, and how long its answers live, from the cheapest to the dearest."""
    from mdcache.cache.ttls import Ttls, table

    lines = table(Ttls(settings.snapshot_ttl_s, settings.snapshot_ttls), settings.weight_share)
    return [(line, " to ".join(dict.fromkeys(f"{ttl:g}" for ttl in (line.least_s, line.most_s)))) for line in lines]


@app.command()
def check(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False) -> None:
    """Print the effective settings, secrets hidden; or everything that is wrong with them."""
    settings = _load_or_exit(as_json=as_json)
    rows = effective(settings)
    if as_json:
        listed = {
            "settings": [row._asdict() for row in rows],
            "ignored": settings.ignored,
            "snapshots": [
                {"path": line.endpoint.path, "market": line.endpoint.market, "weight": line.weight, "ttl_s": ttls}
                for line, ttls in _snapshots(settings)
            ],
        }
        typer.echo(json.dumps(listed, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from", "note"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        cells = (row.name, row.value, "default" if row.default else "set", row.note)
        table.add_row(*(Text(cell) for cell in cells))
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    console.print(table)
    ages = Table(box=None, pad_edge=False)
    for heading in ("snapshot", "market", "weight", "TTL in seconds"):
        ages.add_column(heading, overflow="fold")
    for line, ttls in _snapshots(settings):
        cells = (line.endpoint.path, line.endpoint.market.value, line.weight, ttls)
        ages.add_row(*(Text(cell) for cell in cells))
    console.print()
    console.print(ages)
    if settings.ignored:
        console.print(Text(f"ignored, Kubernetes service links: {', '.join(settings.ignored)}"))


@app.command()
def inspect(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Decode every block and check its rows.")] = False,
) -> None:
    """Show what rests in MDCACHE_STATE_DIR, beside a running daemon too; 1 if checksums fail."""
    settings = _load_or_exit(as_json=as_json)
    from mdcache.stores.survey import NoSurvey, survey

    errors = Console(stderr=True)
    try:
        with Bar(console=errors, transient=True, disable=not verify or not errors.is_terminal) as bar:
            task = bar.add_task("checking")
            found = survey(
                settings.state_dir,
                verify=verify,
                watch=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except NoSurvey as error:
        typer.echo(f"mdcache: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(_plain_survey(found), indent=2))
    else:
        _show_survey(found)
    raise typer.Exit(1 if found.failed else 0)


def _sums(found: "Survey") -> dict[str, int]:
    names = ("blocks", "rows", "nbytes", "holes", "voids", "failed")
    return {name: sum(getattr(each, name) for each in found.series) for name in names}


def _plain_survey(found: "Survey") -> dict[str, object]:
    return asdict(found) | {"path": str(found.path), "totals": {"series": len(found.series)} | _sums(found)}


def _show_survey(found: "Survey") -> None:
    table = Table(box=None, pad_edge=False, show_footer=True)
    sums = _sums(found)
    table.add_column("series", f"{len(found.series):,}", overflow="fold")
    table.add_column("upstream", overflow="fold")
    for heading, name in (("rows", "rows"), ("bytes", "nbytes"), ("holes", "holes"), ("voids", "voids")):
        table.add_column(heading, f"{sums[name]:,}", justify="right")
    table.add_column("failed", f"{sums['failed']:,}", justify="right")
    for each in found.series:
        extra = (f"{each.zone_minutes:+d}min" if each.zone_minutes else "", "us" if each.micros else "")
        name = "/".join(filter(None, (each.market, each.kind, each.subject, each.contract_type, each.interval, *extra)))
        numbers = (each.rows, each.nbytes, each.holes, each.voids, each.failed)
        table.add_row(Text(name), Text(each.origin), *(f"{number:,}" for number in numbers))
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    console.print(table)
    checked = "every block was decoded and checked" if found.verified else "rows unchecked; --verify checks them"
    console.print(Text(f"{found.path}: {found.file_bytes:,} bytes, log {found.log_bytes:,}; {checked}"))
    for each in found.series:
        for fault in each.faults:
            console.print(Text(f"failed: {each.market}/{each.kind}/{each.subject}/{each.interval}: {fault}"))


def _moment(text: str) -> int:
    """A date or a time (UTC where it names no zone), or milliseconds, as milliseconds since the epoch."""
    if text.isdecimal():
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: a date such as 2024-01-01, a time, or milliseconds") from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


@app.command()
def warm(
    *,
    market: Annotated[Market, typer.Option(help="Where the symbols are traded.")],
    symbols: Annotated[str, typer.Option(help="Symbols, with commas between them.")],
    intervals: Annotated[str, typer.Option(help="Intervals, with commas between them.")],
    since: Annotated[str, typer.Option(help="First open time: a date, a time (UTC) or milliseconds.")],
    until: Annotated[str | None, typer.Option(help="Last open time; now where it is not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Read whole spans of series before anybody asks, in the low lane; what is known costs nothing."""
    settings = _load_or_exit(as_json=as_json)
    from mdcache.cache.warming import Order, State
    from mdcache.warmup import warm as run_warm

    since_ms, until_ms = _moment(since), None if until is None else _moment(until)
    order = Order(market, tuple(name.upper() for name in _listed(symbols)), _listed(intervals), since_ms, until_ms)
    if not order.symbols or not order.intervals or (until_ms is not None and until_ms < since_ms):
        raise typer.BadParameter("at least one symbol and one interval, and an end that is not before the start")
    last: list[Progress] = []
    errors = Console(stderr=True)
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    try:
        with Bar(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
            asyncio.run(run_warm(settings, order, _shown_in(bar, last)))
    except KeyboardInterrupt:
        _tell_warm(last, as_json=as_json)
        typer.echo("mdcache: cancelled; asked again it goes on where it stopped", err=True)
        raise typer.Exit(130) from None
    except (MdcacheError, OSError) as error:
        typer.echo(f"mdcache: {error}", err=True)
        raise typer.Exit(1) from None
    _tell_warm(last, as_json=as_json)
    if last[-1].state is not State.DONE or last[-1].errors:
        raise typer.Exit(1)


def _shown_in(bar: Bar, last: "list[Progress]") -> "Callable[[Progress], None]":
    """Shows each progress in the bar; the newest is `last`'s only one."""
    task = bar.add_task("")

    def show(found: "Progress") -> None:
        last[:] = [found]
        said = f"{found.series_done}/{found.series_total} series, {found.rows:,} rows, weight {found.weight:,}"
        said += f"; waiting: {found.detail}" if found.detail else ""
        bar.update(task, completed=found.pages, total=(found.pages + found.pages_left) or 1, description=said)

    return show


def _tell_warm(last: "list[Progress]", *, as_json: bool) -> None:
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


@app.command()
def sim(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8701,
    seed: Annotated[int, typer.Option(help="Seed of everything that is random.")] = 1,
    rows: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of recorded rows to play.")
    ] = None,
) -> None:
    """Run a Binance that lives on this machine, with real limits and bans."""
    from mdcache.sim.config import SimConfig
    from mdcache.sim.server import serve as serve_sim

    serve_sim(SimConfig(seed=seed, rows_dir=rows), host, port)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"mdcache {__version__}")
