"""`mdcache serve`: run the daemon."""

from pathlib import Path
from typing import Annotated

import typer

from mdcache.cli.console import SettingsSource, load_or_exit


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; overrides MDCACHE_HOST.")] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to listen on; overrides MDCACHE_PORT. 0: any free port."),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="File of settings to read in place of .env."),
    ] = None,
) -> None:
    """Run the daemon. Settings come from MDCACHE_* variables and .env; `mdcache check` lists them."""
    source = SettingsSource(env_file or Path(".env"), {"HOST": host, "PORT": port})
    settings = load_or_exit(source=source)
    from mdcache.daemon.lifecycle import run

    run(settings, source.read)
