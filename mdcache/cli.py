"""The command line: reads options, hands over, and says what went wrong on stderr, without a traceback.

Only this module uses typer and rich. What a command does lives elsewhere and is imported when it runs.
Exit codes: 0 done; 1 it failed while running; 2 wrong settings or options; 130 ended by Ctrl-C.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from mdcache import __version__
from mdcache.errors import MdcacheError
from mdcache.settings import Settings, SettingsError, effective, load

if TYPE_CHECKING:
    from mdcache.cache.ttls import Line
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
        return load()
    except SettingsError as error:
        _refuse(error, as_json=as_json)


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
