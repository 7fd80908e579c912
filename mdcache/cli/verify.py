"""`mdcache verify`: measure on the exchange what the daemon takes for granted."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from mdcache.cli.console import add_row, fail, load_or_exit, new_table, printable, stdout
from mdcache.errors import MdcacheError
from mdcache.exchange.markets import Market

if TYPE_CHECKING:
    from mdcache.verify.findings import Finding
    from mdcache.verify.run import VerifyProgress, VerifyReport

_DIFFERS, _NOT_MEASURED = 1, 3  # exit codes: docs/cli.md
_STYLES = {"as assumed": "green", "not measured": "yellow", "differs": "bold red"}  # the last one is read first
_WHOLE_RUN_S = 125.0
_LONG = 20  # letters


def verify(
    *,
    market: Annotated[list[Market] | None, typer.Option(help="Only this market; may be repeated.")] = None,
    only: Annotated[
        str | None, typer.Option(help="Only facts with one of these texts in their names, separated by commas.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do not wait for two closes: done in half a minute.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Measure whether Binance behaves as assumed, in one to two minutes and under 200 weight; write what was seen.

    Exits with 1 if something differs or the profile can't be written, with 3 if nothing differs but something could not
    be measured.
    """
    settings = load_or_exit(as_json=as_json)
    from mdcache.cli.verify_job import run_verify
    from mdcache.verify.build import VerifyRequest
    from mdcache.verify.findings import FactVerdict
    from mdcache.verify.registry import chosen

    texts = tuple(filter(None, (part.strip() for part in (only or "").split(","))))
    request = VerifyRequest(tuple(market or Market), texts, quick)
    if not chosen(request.markets, request.only):
        raise typer.BadParameter("no fact has such a name: docs/verify.md lists them", param_hint="--only")
    if not as_json and not quick:
        typer.echo("mdcache: this takes one to two minutes, for it waits for two minutes to end", err=True)
    try:
        with _progress_bar(Console(stderr=True)) as bar:
            report, written = asyncio.run(run_verify(settings, request, _show_in(bar)))
    except KeyboardInterrupt:
        fail("cancelled; nothing was written", 130)
    except (MdcacheError, OSError) as error:
        fail(error)
    path = written if isinstance(written, Path) else None
    (_print_json if as_json else _print_table)(report, path)
    if isinstance(written, OSError):
        fail(f"the profile could not be written: {written}")
    if report.count(FactVerdict.DIFFERS):
        raise typer.Exit(_DIFFERS)
    if report.count(FactVerdict.NOT_MEASURED):
        raise typer.Exit(_NOT_MEASURED)


def _progress_bar(console: Console) -> Progress:
    columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show_in(bar: Progress) -> "Callable[[VerifyProgress], None]":
    task = bar.add_task("", total=_WHOLE_RUN_S)

    def show(found: "VerifyProgress") -> None:
        text = f"{found.done} of {found.total} assumptions, weight {found.weight}"
        bar.update(task, completed=found.seconds, total=found.seconds + found.seconds_left, description=text)

    return show


def _print_json(report: "VerifyReport", path: Path | None) -> None:
    listed = {
        "weight": report.weight,
        "seconds": round(report.seconds, 1),
        "profile": None if path is None else str(path),
        "stopped": {family.value: why for family, why in report.stopped.items()},
        "facts": [
            {
                "key": each.fact.key,
                "assumed": each.fact.assumed,
                "seen": each.value,
                "verdict": each.verdict.value,
                "reason": each.reason,
                "follows": each.follows,
            }
            for each in report.findings
        ],
    }
    typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))


def _print_table(report: "VerifyReport", path: Path | None) -> None:
    from mdcache.verify.findings import FactVerdict

    console = stdout()
    table = new_table("fact", "market", "assumed", "seen", "verdict", "what follows")
    for found, markets in _alike(report.findings):
        add_row(table, *_cells(found, markets))
    console.print(table)
    console.print()
    counts = ", ".join(f"{report.count(verdict)} {verdict.value}" for verdict in FactVerdict)
    typer.echo(f"{counts}; weight {report.weight}, {report.seconds:.0f} s")
    for family, why in report.stopped.items():
        typer.echo(f"mdcache: {family.value} was asked no more: {printable(why)}", err=True)
    if path is not None:
        typer.echo(f"profile: {path}")
    elif not report.measured:
        typer.echo("nothing was measured, so no profile was written")


def _alike(findings: "Sequence[Finding]") -> "list[tuple[Finding, str]]":
    """Return the findings with their markets, those that differ last; those that read the same are one."""
    found: dict[tuple[str, ...], tuple[Finding, list[str]]] = {}
    for each in sorted(findings, key=lambda one: list(_STYLES).index(one.verdict.value)):
        cells = (each.fact.name, *(str(cell) for cell in _cells(each, "")))
        found.setdefault(cells, (each, []))[1].append(each.fact.market.value)
    return [(each, ", ".join(markets)) for each, markets in found.values()]


def _cells(found: "Finding", markets: str) -> list[str | Text]:
    from mdcache.verify.findings import FactVerdict, printed

    assumed = printed(found.fact.assumed)
    seen = "" if found.value is None else printable(printed(found.value))
    if seen == assumed and len(seen) > _LONG:
        seen = "the same"
    verdict = Text(found.verdict.value, style=_STYLES[found.verdict.value])
    why = printable(found.reason) if found.verdict is FactVerdict.NOT_MEASURED else ""
    follows = found.follows if found.verdict is FactVerdict.DIFFERS else why
    return [found.fact.name, markets, assumed, seen, verdict, follows]
