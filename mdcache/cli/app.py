"""The command line: reads options, hands over, and says what went wrong on stderr, without a traceback.

Only this module and `terminal` use typer and rich. What a command does lives elsewhere and is imported when it runs.
Exit codes: 0 done; 1 it failed while running; 2 wrong settings or options; 130 ended by Ctrl-C; those
of `status` stand there.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from mdcache import __version__
from mdcache.errors import MdcacheError
from mdcache.exchange.markets import Market
from mdcache.settings import HIDDEN, Problem, Settings, SettingsError, effective, load

if TYPE_CHECKING:
    from mdcache.cache.ttls import EndpointTtls
    from mdcache.cache.warmup import WarmupProgress
    from mdcache.replay.run import ReplayResult

app = typer.Typer(
    name="mdcache",
    help="A gateway between a trading stack and Binance's public market data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables, and so secrets
)
_PIPE_COLUMNS = 200  # columns where stdout is no terminal: a pipe has no width to wrap at


def _stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS)


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
        _exit_with_problems(error, as_json=as_json)


def _check_redis(settings: Settings) -> None:
    """What the URL's own form can't say: who takes it apart says what is wrong with it."""
    if settings.redis_url is None:
        return
    from mdcache.stores.redis.url import parse_url

    try:
        parse_url(settings.redis_url.get_secret_value())
    except ValueError as error:
        raise SettingsError([Problem("MDCACHE_REDIS_URL", HIDDEN, "environment or .env", str(error))]) from None


def _exit_with_problems(error: SettingsError, *, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"problems": [problem.as_dict() for problem in error.problems]}, indent=2))
    for problem in error.problems:
        typer.echo(f"mdcache: {problem}", err=True)
    raise typer.Exit(2)


@app.command()
def serve() -> None:
    """Serve; every setting comes from MDCACHE_* variables or .env (`mdcache check` lists them)."""
    settings = _load_or_exit()
    from mdcache.daemon.lifecycle import run

    run(settings)


def _snapshot_ttls(settings: Settings) -> "list[tuple[EndpointTtls, str]]":
    """What is no candle: each path's weight, and how long its answers live, from the cheapest to the dearest."""
    from mdcache.cache.ttls import SnapshotTtls, ttl_table

    lines = ttl_table(SnapshotTtls(settings.snapshot_ttl_s, settings.snapshot_ttls), settings.weight_share)
    return [(line, " to ".join(dict.fromkeys(f"{ttl:g}" for ttl in (line.min_s, line.max_s)))) for line in lines]


@app.command()
def check(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
    plan: Annotated[str | None, typer.Option(help="What 20x6 or 20x1m,5m (symbols x intervals) would cost.")] = None,
    market: Annotated[Market, typer.Option(help="For --plan: where they are traded.")] = Market.SPOT,
    consumers: Annotated[int, typer.Option(min=0, help="For --plan: programs that ask; 0: all the time.")] = 0,
    every: Annotated[float, typer.Option(min=0.1, help="For --plan: seconds between one's rounds.")] = 5.0,
    limit: Annotated[int, typer.Option("--rows", help="For --plan: rows of each question.")] = 500,
) -> None:
    """Print the effective settings, secrets hidden; or everything that is wrong with them; or a plan, 1 if too dear."""
    settings = _load_or_exit(as_json=as_json)
    if plan is not None:
        _check_plan(settings, plan, market, (consumers, every, limit), as_json=as_json)
    rows = effective(settings)
    if as_json:
        listed = {
            "settings": [row._asdict() for row in rows],
            "ignored": settings.ignored,
            "snapshots": [
                {"path": line.endpoint.path, "market": line.endpoint.market, "weight": line.weight, "ttl_s": ttls}
                for line, ttls in _snapshot_ttls(settings)
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
    console = _stdout()
    console.print(table)
    ages = Table(box=None, pad_edge=False)
    for heading in ("snapshot", "market", "weight", "TTL in seconds"):
        ages.add_column(heading, overflow="fold")
    for line, ttls in _snapshot_ttls(settings):
        cells = (line.endpoint.path, line.endpoint.market.value, line.weight, ttls)
        ages.add_row(*(Text(cell) for cell in cells))
    console.print()
    console.print(ages)
    if settings.ignored:
        console.print(Text(f"ignored, Kubernetes service links: {', '.join(settings.ignored)}"))


def _check_plan(
    settings: Settings, text: str, market: Market, asked: tuple[int, float, int], *, as_json: bool
) -> NoReturn:
    from mdcache import capacity
    from mdcache.exchange.intervals import INTERVALS

    terms = capacity.PlanTerms(
        {name: settings.candle_ttl_s(name) for name in INTERVALS},
        settings.weight_share,
        max(settings.exchange_info_ttl_s, settings.invalid_symbol_ttl_s),
    )
    consumers, every_s, rows = asked
    try:
        found = capacity.plan(
            capacity.demand(text, market, consumers=consumers, every_s=every_s, rows=rows),
            terms,
        )
    except capacity.InvalidPlan as error:
        raise typer.BadParameter(str(error), param_hint="--plan") from None
    told = (
        json.dumps(asdict(found) | {"weight": found.weight, "redis_bytes": found.redis_bytes}, indent=2)
        if as_json
        else "\n".join(capacity.describe(found))
    )
    typer.echo(told)
    raise typer.Exit(0 if found.fits else 1)


@app.command()
def inspect(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Decode every block and check its rows.")] = False,
) -> None:
    """Show what rests in MDCACHE_STATE_DIR, beside a running daemon too; 1 if checksums fail."""
    settings = _load_or_exit(as_json=as_json)
    from mdcache.cli.inspect import as_plain, print_inspection
    from mdcache.stores.disk.inspection import InspectionFailed, inspect_rows

    errors = Console(stderr=True)
    try:
        with Bar(console=errors, transient=True, disable=not verify or not errors.is_terminal) as bar:
            task = bar.add_task("checking")
            found = inspect_rows(
                settings.state_dir,
                verify=verify,
                on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except InspectionFailed as error:
        typer.echo(f"mdcache: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(as_plain(found), indent=2))
    else:
        print_inspection(found, _stdout())
    raise typer.Exit(1 if found.failed else 0)


def _parse_time(text: str) -> int:
    """A date or a time (UTC where it names no zone), or milliseconds, as milliseconds since the epoch."""
    if text.isdecimal():
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: a date such as 2024-01-01, a time, or milliseconds") from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def _split(text: str) -> tuple[str, ...]:
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
    from mdcache.cache.warmup import WarmupRequest, WarmupState
    from mdcache.cli.warm import print_outcome, progress_bar, show_in
    from mdcache.cli.warm_job import run_warm_job as run_warm

    since_ms, until_ms = _parse_time(since), None if until is None else _parse_time(until)
    order = WarmupRequest(
        market, tuple(name.upper() for name in _split(symbols)), _split(intervals), since_ms, until_ms
    )
    if not order.symbols or not order.intervals or (until_ms is not None and until_ms < since_ms):
        raise typer.BadParameter("at least one symbol and one interval, and an end that is not before the start")
    last: list[WarmupProgress] = []
    errors = Console(stderr=True)
    try:
        with progress_bar(errors) as bar:
            asyncio.run(run_warm(settings, order, show_in(bar, last)))
    except KeyboardInterrupt:
        print_outcome(last, as_json=as_json)
        typer.echo("mdcache: cancelled; asked again it goes on where it stopped", err=True)
        raise typer.Exit(130) from None
    except (MdcacheError, OSError) as error:
        typer.echo(f"mdcache: {error}", err=True)
        raise typer.Exit(1) from None
    print_outcome(last, as_json=as_json)
    if last[-1].state is not WarmupState.DONE or last[-1].errors:
        raise typer.Exit(1)


@app.command()
def sim(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8701,
    seed: Annotated[int, typer.Option(help="Seed of everything that is random.")] = 1,
    rows: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of recorded rows to play.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Spot's weight limit a minute.")] = 6000,
) -> None:
    """Run a Binance that lives on this machine, with real limits and bans."""
    from mdcache.sim.config import SimConfig
    from mdcache.sim.server import serve as serve_sim

    serve_sim(SimConfig(seed=seed, rows_dir=rows, spot_limit=limit), host, port)


@app.command()
def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the daemon told, for machines.")] = False,
    series: Annotated[bool, typer.Option("--series", help="List every series, too.")] = False,
    live: Annotated[bool, typer.Option("--watch", help="Show it anew, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of --watch.")] = 2.0,
) -> None:
    """Show how the daemon at HOST:PORT is; 0 ready, 1 degraded, 3 not ready, 4 nobody answers."""
    settings = _load_or_exit(as_json=as_json)
    from mdcache.cli.daemon_client import DaemonNotRunning, address
    from mdcache.cli.status import Health, decode_status, fetch_status, render, watch_status
    from mdcache.clock import SystemClock

    if live:
        with suppress(KeyboardInterrupt):
            asyncio.run(watch_status(settings, _stdout(), SystemClock(), every))
        raise typer.Exit(130)
    try:
        content = fetch_status(settings, series=series)
        found = decode_status(content)
    except (MdcacheError, DaemonNotRunning) as error:
        typer.echo(f"mdcache: {error}", err=True)
        raise typer.Exit(Health.UNREACHABLE) from None
    if as_json:
        typer.echo(json.dumps(json.loads(content), indent=2))
    else:
        _stdout().print(render(found, address(settings)))
    raise typer.Exit(found.health)


@app.command()
def replay(
    *,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long it lasts; limits count whole minutes.")] = 60.0,
    symbols: Annotated[int, typer.Option(min=1, help="Symbols, each in six intervals.")] = 20,
    consumers: Annotated[int, typer.Option(min=1, help="Consumers that ask for all of them every 5 s.")] = 3,
    limit: Annotated[int, typer.Option(min=1, help="The exchange's weight limit a minute.")] = 6000,
    share: Annotated[float, typer.Option(min=0.01, max=1.0, help="Part of it that mdcache may use.")] = 0.8,
    picture: Annotated[Path, typer.Option(help="Where to draw it: PICTURE.svg and PICTURE.png.")] = Path("replay"),
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Draw none.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Play the incident against a simulated exchange, without and with mdcache; 1 if mdcache was refused anything."""
    from mdcache.cli.replay import progress_bars, summary, table
    from mdcache.replay.consumers import ReplayLoad
    from mdcache.replay.run import ReplayPlan, play

    draw = None if no_picture else _picture_drawer()
    plan = ReplayPlan(ReplayLoad(seconds, symbols, consumers), limit, share)
    with progress_bars(plan, Console(stderr=True)) as watch:
        found = play(plan, watch)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        _stdout().print(table(found), Text(summary(found)), sep="\n")
    if draw is not None:
        for path in draw(found, picture):
            typer.echo(f"mdcache: wrote {path}", err=True)
    raise typer.Exit(0 if found.passed else 1)


def _picture_drawer() -> "Callable[[ReplayResult, Path], tuple[Path, Path]]":
    try:
        from mdcache.replay.picture import draw
    except ModuleNotFoundError:
        typer.echo("mdcache: the picture needs matplotlib: pip install 'mdcache[replay]', or --no-picture", err=True)
        raise typer.Exit(2) from None
    return draw


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"mdcache {__version__}")
