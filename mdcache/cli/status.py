"""`mdcache status`: show the state of the daemon on this machine, once or live."""

import asyncio
import json
import re
from contextlib import suppress
from typing import Annotated

import typer

from mdcache.cli.console import fail, load_or_exit, stdout
from mdcache.errors import MdcacheError

_LIST_OF_NUMBERS = re.compile(r"\[\n[\s\d.,-]+\]")  # no text has such a line break in it: there it is escaped


def as_lines(answer: object) -> str:
    """Return indented JSON with each list of numbers on one line: the weight by second would be six hundred."""
    return _LIST_OF_NUMBERS.sub(lambda found: " ".join(found.group().split()), json.dumps(answer, indent=2))


def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the daemon's whole answer as JSON.")] = False,
    series: Annotated[bool, typer.Option("--series", help="Also list every series.")] = False,
    live: Annotated[bool, typer.Option("--watch", help="Show it live until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between refreshes of --watch.")] = 2.0,
) -> None:
    """Show the state of the daemon at MDCACHE_HOST:MDCACHE_PORT.

    Exits with 0 if it is ready, 1 if ready but degraded, 3 if not ready, 4 if no daemon answers.
    """
    settings = load_or_exit(as_json=as_json)
    from mdcache.cli.daemon_client import DaemonNotRunning, address
    from mdcache.cli.daemon_status import Health, decode_status, fetch_status
    from mdcache.cli.status_view import render, watch_status
    from mdcache.clock import SystemClock

    if live:
        with suppress(KeyboardInterrupt):
            asyncio.run(watch_status(settings, stdout(), SystemClock(), every))
        raise typer.Exit(130)
    try:
        content = fetch_status(settings, series=series)
        found = decode_status(content)
    except (MdcacheError, DaemonNotRunning) as error:
        fail(error, Health.UNREACHABLE)
    if as_json:
        typer.echo(as_lines(json.loads(content)))
    else:
        console = stdout()
        console.print(render(found, address(settings), console.width))
    raise typer.Exit(found.health)
