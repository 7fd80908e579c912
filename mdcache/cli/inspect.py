"""`mdcache inspect` on a terminal, and for machines."""

from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdcache.stores.disk.inspection import FileInspection


def _totals(found: FileInspection) -> dict[str, int]:
    names = ("blocks", "rows", "nbytes", "holes", "voids", "failed")
    return {name: sum(getattr(each, name) for each in found.series) for name in names}


def as_plain(found: FileInspection) -> dict[str, object]:
    """What was found, and its sums, as plain values."""
    return asdict(found) | {"path": str(found.path), "totals": {"series": len(found.series)} | _totals(found)}


def print_inspection(found: FileInspection, console: Console) -> None:
    """A table of the series, with their sums, and what is wrong with them."""
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
