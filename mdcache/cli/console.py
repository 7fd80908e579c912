"""Shared by the commands: load the settings or exit with 2, and print tables and errors."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdcache.settings import HIDDEN, PREFIX, Problem, Settings, SettingsError, load

_PIPE_COLUMNS = 200  # if stdout is not a terminal: a pipe has no width


def stdout() -> Console:
    """Return a console on stdout."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS)


def new_table(*headings: str) -> Table:
    """Return a table without lines; columns whose heading starts with `>` are right-aligned."""
    made = Table(box=None, pad_edge=False)
    for heading in headings:
        right = heading.startswith(">")
        made.add_column(heading.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return made


def add_row(to: Table, *cells: str | Text) -> None:
    """Add a row of cells without interpreting markup."""
    to.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def fail(message: object, code: int = 1) -> NoReturn:
    """End the command with one line on stderr."""
    typer.echo(f"mdcache: {message}", err=True)
    raise typer.Exit(code)


def load_or_exit(
    *, as_json: bool = False, env_file: Path = Path(".env"), options: Mapping[str, object | None] | None = None
) -> Settings:
    """Return the settings, or exit with code 2 and every problem on stderr (and, as JSON, on stdout).

    Args:
        as_json: whether problems are printed as JSON, too.
        env_file: the file that is read in place of `.env`.
        options: settings given on the command line, which win over the environment; `None`: not given.
    """
    given = {f"{PREFIX}{name}": str(value) for name, value in (options or {}).items() if value is not None}
    try:
        settings = load({**os.environ, **given}, env_file)
        _check_redis_url(settings)
        return settings
    except SettingsError as error:
        if as_json:
            typer.echo(json.dumps({"problems": [problem.as_dict() for problem in error.problems]}, indent=2))
        for problem in error.problems:
            typer.echo(f"mdcache: {problem}", err=True)
        raise typer.Exit(2) from None


def _check_redis_url(settings: Settings) -> None:
    """Parse the URL as the Redis store does; `settings` checks only its form."""
    if settings.redis_url is None:
        return
    from mdcache.stores.redis.url import parse_url

    try:
        parse_url(settings.redis_url.get_secret_value())
    except ValueError as error:
        raise SettingsError([Problem("MDCACHE_REDIS_URL", HIDDEN, "environment or .env", str(error))]) from None


def printable(text: object) -> str:
    """Return `text` without control characters."""
    return "".join(letter if letter.isprintable() else "�" for letter in str(text))
