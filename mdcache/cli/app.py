"""The `mdcache` command and its subcommands.

Exit codes: 0 done; 1 failed while running; 2 wrong settings or options; 130 ended by Ctrl-C. `status` has its own.
Errors are one line each on stderr, never a traceback. Only this package uses typer and rich.
"""

import signal
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated

import typer

from mdcache import __version__
from mdcache.errors import MdcacheError

# Each is a function in the module of its name.
COMMANDS = ("serve", "demo", "check", "verify", "inspect", "warm", "dumps", "audit", "sim", "status", "replay")


def main() -> None:
    """Run the `mdcache` script and `python -m mdcache`."""
    asked = [name for name in sys.argv[1:2] if name in COMMANDS]
    if asked == ["serve"]:  # an order to reload that comes before there is anything to reload must not end it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        application(asked or COMMANDS)()
    except (MdcacheError, OSError) as error:
        typer.echo(f"mdcache: {error}", err=True)
        raise SystemExit(1) from None


def application(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the command line with these commands; no other's module is imported, as that would double a start."""
    app = typer.Typer(
        name="mdcache",
        help="A caching daemon in front of Binance's public REST API.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # they print local variables, which may be secrets
    )
    app.callback()(_options)
    for name in names:
        app.command()(getattr(import_module(f"mdcache.cli.{name}"), name))
    app.command()(version)
    return app


def version() -> None:
    """Print the version."""
    typer.echo(f"mdcache {__version__}")


def _version(asked: bool) -> None:  # noqa: FBT001 - typer's callback
    if asked:
        version()
        raise typer.Exit


def _options(
    *,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass
