"""`mdcache dumps --plan`: what dump files a warm-up would fetch, and how large they are."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mdcache.cli.console import add_row, fail, new_table, stdout
from mdcache.cli.warm import DUMP_URL, absolute, parse_series
from mdcache.errors import MdcacheError
from mdcache.exchange.markets import Market

if TYPE_CHECKING:
    from mdcache.dumps.sizes import SeriesSizes

_MB = 1_000_000


def dumps(
    *,
    market: Annotated[Market, typer.Option(help="Market of the symbols.")],
    symbols: Annotated[str, typer.Option(help="Symbols, separated by commas.")],
    intervals: Annotated[str, typer.Option(help="Intervals, separated by commas.")],
    since: Annotated[str, typer.Option(help="First open time: a date, a time (UTC) or milliseconds.")],
    until: Annotated[str | None, typer.Option(help="Last open time; default: now.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the plan; `mdcache warm` carries it out.")] = False,
    from_dumps: Annotated[str, typer.Option(metavar="DIR-or-URL", help="Where the files are.")] = DUMP_URL,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Show which of Binance's dump files a warm-up would fetch, and how large they are. Fetches none of them."""
    from mdcache.dumps.files import is_symbol
    from mdcache.exchange.intervals import INTERVALS

    if not plan:
        raise typer.BadParameter("say --plan; `mdcache warm --from-dumps` fetches the files")
    names, lengths, since_ms, until_ms = parse_series(symbols, intervals, since, until)
    if not all(map(is_symbol, names)) or not {*lengths} <= {*INTERVALS}:
        raise typer.BadParameter("symbols such as BTCUSDT, intervals such as 1m, 1h, 1M")
    series = [(name, length) for name in names for length in lengths]
    try:
        found = asyncio.run(_measure_all(absolute(from_dumps), market, series, since_ms, until_ms))
    except (MdcacheError, OSError) as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=2))
        return
    table = new_table("symbol", "interval", ">files", ">missing", ">rows at most", ">MB")
    for each in found:
        row = (f"{each.files:,}", f"{each.missing:,}", f"{each.rows:,}", f"{each.nbytes / _MB:,.1f}")
        add_row(table, each.symbol, each.interval, *row)
    stdout().print(table)
    files, nbytes = sum(each.files for each in found), sum(each.nbytes for each in found)
    typer.echo(f"{files:,} files, {nbytes / _MB:,.1f} MB; those of which every row is known already are not fetched")


async def _measure_all(
    where: str, market: Market, series: list[tuple[str, str]], since_ms: int, until_ms: int | None
) -> list["SeriesSizes"]:
    from mdcache.clock import SystemClock
    from mdcache.dumps.sizes import measure
    from mdcache.dumps.sources import open_source

    clock, errors = SystemClock(), Console(stderr=True)
    now_ms = clock.wall_ms()
    span = (since_ms, now_ms if until_ms is None else until_ms)
    source = open_source(where, clock)
    try:
        with errors.status("") as status:
            asked = 0

            def on_file() -> None:
                nonlocal asked
                asked += 1
                status.update(f"{asked:,} files")

            return [await measure(source, market, each, span, now_ms, on_file) for each in series]
    finally:
        await source.aclose()
