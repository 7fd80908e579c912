"""`mdcache inspect`: show what is stored in a state directory."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from mdcache.cli.console import fail, load_or_exit, stdout

if TYPE_CHECKING:
    from mdcache.stores.disk.inspection import FileInspection


def inspect(
    folder: Annotated[
        Path | None,
        typer.Argument(help="The state folder to inspect."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read and check every row; takes longer.")] = False,
) -> None:
    """Show which candles are stored on disk. Changes nothing, and may run beside a daemon.

    Looks in FOLDER, or in MDCACHE_STATE_DIR if that is set, or else in the folders of the running daemon, of this
    platform and of `make run SIM=1`. Exits with 1 if something stored is damaged.
    """
    settings = load_or_exit(as_json=as_json)
    from mdcache.cli.state_folders import candidates
    from mdcache.stores.disk.inspection import ROW_FILE_NAME, InspectionFailed, inspect_rows

    places = candidates(settings, folder)
    filled = [place for place in places if (place / ROW_FILE_NAME).exists()]
    if not filled:
        fail(f"nothing is stored in {', nor in '.join(map(str, places))}")
    for other in filled[1:]:
        typer.echo(
            f"mdcache: another state folder has candles, too: mdcache inspect {shlex.quote(str(other))}", err=True
        )

    errors = Console(stderr=True)
    try:
        with Progress(console=errors, transient=True, disable=not verify or not errors.is_terminal) as bar:
            task = bar.add_task("checking")
            found = inspect_rows(
                filled[0],
                verify=verify,
                on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except InspectionFailed as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps(_as_plain(found), indent=2))
    else:
        _print(found, stdout())
    raise typer.Exit(1 if found.failed else 0)


def _totals(found: "FileInspection") -> dict[str, int]:
    names = ("blocks", "rows", "nbytes", "holes", "voids", "failed")
    return {name: sum(getattr(each, name) for each in found.series) for name in names}


def _as_plain(found: "FileInspection") -> dict[str, object]:
    return asdict(found) | {"path": str(found.path), "totals": {"series": len(found.series)} | _totals(found)}


def _print(found: "FileInspection", console: Console) -> None:
    table = Table(box=None, pad_edge=False, show_footer=True)
    sums = _totals(found)
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
    console.print(table)
    checked = "every block was decoded and checked" if found.verified else "rows unchecked; --verify checks them"
    console.print(Text(f"{found.path}: {found.file_bytes:,} bytes, log {found.log_bytes:,}; {checked}"))
    for each in found.series:
        for fault in each.faults:
            console.print(Text(f"failed: {each.market}/{each.kind}/{each.subject}/{each.interval}: {fault}"))
