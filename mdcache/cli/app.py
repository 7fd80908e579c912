"""The `mdcache` command and its subcommands.

Exit codes: 0 done; 1 failed while running; 2 wrong settings or options; 130 ended by Ctrl-C. `status` has its own.
Errors are one line each on stderr, never a traceback. Only this package uses typer and rich.
"""

from typing import Annotated

import typer

from mdcache import __version__
from mdcache.cli.audit import audit
from mdcache.cli.check import check
from mdcache.cli.demo import demo
from mdcache.cli.dumps import dumps
from mdcache.cli.inspect import inspect
from mdcache.cli.replay import replay
from mdcache.cli.serve import serve
from mdcache.cli.sim import sim
from mdcache.cli.status import status
from mdcache.cli.verify import verify
from mdcache.cli.warm import warm
from mdcache.errors import MdcacheError

app = typer.Typer(
    name="mdcache",
    help="A caching daemon in front of Binance's public REST API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables, which may be secrets
)


def main() -> None:
    """Run the `mdcache` script and `python -m mdcache`."""
    try:
        app()
    except (MdcacheError, OSError) as error:
        typer.echo(f"mdcache: {error}", err=True)
        raise SystemExit(1) from None


def version() -> None:
    """Print the version."""
    typer.echo(f"mdcache {__version__}")


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


for _command in (serve, demo, check, verify, inspect, warm, dumps, audit, sim, status, replay, version):
    app.command()(_command)
