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


class SettingsSource:
    """The environment, a file, and options of the command line, which win over both; `None`: not given."""

    def __init__(self, env_file: Path = Path(".env"), options: Mapping[str, object | None] | None = None) -> None:
        self._env_file = env_file
        self._given = {f"{PREFIX}{name}": str(value) for name, value in (options or {}).items() if value is not None}
        self._had_file = False

    def read(self) -> Settings:
        """Return the settings as they are now; raise `SettingsError`, also if a file that was there is gone."""
        if self._had_file and not self._env_file.is_file():
            right = "should be there, as it was before: without it, all would go back to defaults"
            raise SettingsError([Problem(str(self._env_file), "", "file of settings", right)])
        settings = load({**os.environ, **self._given}, self._env_file)
        _check_redis_url(settings)
        self._had_file = self._env_file.is_file()
        return settings


def load_or_exit(*, as_json: bool = False, source: SettingsSource | None = None) -> Settings:
    """Return the settings, or exit with code 2 and every problem on stderr (and, as JSON, on stdout).

    Args:
        as_json: whether problems are printed as JSON, too.
        source: where the settings are read from; by default the environment and `.env`.
    """
    try:
        return (source or SettingsSource()).read()
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
