"""`mdcache check`: print the settings in effect, or what a set of series would cost."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.text import Text

from mdcache.cli.console import add_row, load_or_exit, new_table, stdout
from mdcache.cli.profile_text import profile_line, profile_notes
from mdcache.exchange.markets import Market
from mdcache.settings import Settings, effective

if TYPE_CHECKING:
    from mdcache.capacity import PlanTerms
    from mdcache.serving.ops.status import ProfileStatus


def check(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
    plan: Annotated[str | None, typer.Option(help="Compute what 20x6 or 20x1m,5m (symbols x intervals) costs.")] = None,
    market: Annotated[Market, typer.Option(help="For --plan: the market of the symbols.")] = Market.SPOT,
    consumers: Annotated[int, typer.Option(min=0, help="For --plan: programs that poll; 0: somebody always asks.")] = 0,
    every: Annotated[float, typer.Option(min=0.1, help="For --plan: seconds from one poll to the next.")] = 5.0,
    limit: Annotated[int, typer.Option("--rows", help="For --plan: rows per request.")] = 500,
) -> None:
    """Print the settings in effect and what is taken from the exchange profile, or everything that is wrong with them.

    With --plan: print what a set of series costs in weight. Exits with 1 if mdcache may not spend so much.
    """
    settings = load_or_exit(as_json=as_json)
    if plan is not None:
        _check_plan(settings, plan, market, (consumers, every, limit), as_json=as_json)
    if as_json:
        _print_json(settings)
    else:
        _print_tables(settings)


def _print_json(settings: Settings) -> None:
    profile = _profile(settings)
    listed = {
        "settings": [row._asdict() for row in effective(settings)],
        "ignored": settings.ignored,
        "snapshots": [
            {"path": path, "market": market, "weight": weight, "ttl_s": ttls}
            for path, market, weight, ttls in _snapshot_ttls(settings)
        ],
        "profile": None if profile is None else asdict(profile),
    }
    typer.echo(json.dumps(listed, indent=2))


def _print_tables(settings: Settings) -> None:
    console = stdout()
    values = new_table("setting", "value", "from", "note")
    for row in effective(settings):
        add_row(values, row.name, row.value, "default" if row.default else "set", row.note)
    console.print(values)
    ttls = new_table("snapshot", "market", "weight", "TTL in seconds")
    for cells in _snapshot_ttls(settings):
        add_row(ttls, *cells)
    console.print()
    console.print(ttls)
    console.print()
    profile = _profile(settings)
    if profile is None:
        console.print(
            Text(f"no exchange profile in {settings.state_dir}: all is as assumed (mdcache verify measures it)")
        )
    else:
        console.print(profile_line(profile))
        if profile.notes or profile.refused:
            console.print(profile_notes(profile))
    if settings.ignored:
        console.print(Text(f"ignored, Kubernetes service links: {', '.join(settings.ignored)}"))


def _profile(settings: Settings) -> "ProfileStatus | None":
    """Return what a daemon with these settings would take from the exchange profile, if there is one."""
    from mdcache.daemon.taken_profile import load_profile

    return load_profile(settings, settings.state_dir).status()


def _snapshot_ttls(settings: Settings) -> list[tuple[str, str, str, str]]:
    """Return path, market, weight and TTL (or range of TTLs) of every snapshot, the cheapest first."""
    from mdcache.cache.ttls import SnapshotTtls, ttl_table

    lines = ttl_table(SnapshotTtls(settings.snapshot_ttl_s, settings.snapshot_ttls), settings.weight_share)
    return [
        (
            line.endpoint.path,
            line.endpoint.market.value,
            line.weight,
            " to ".join(dict.fromkeys(f"{ttl:g}" for ttl in (line.min_s, line.max_s))),
        )
        for line in lines
    ]


def plan_terms(settings: Settings, market: Market) -> "PlanTerms":
    """Return what these settings mean for a plan of series of a market."""
    from mdcache.cache.exchange_info import KNOWN_NAMES_S
    from mdcache.capacity import PlanTerms
    from mdcache.exchange.intervals import INTERVALS

    return PlanTerms(
        {name: settings.candle_ttl_s(name) for name in INTERVALS},
        settings.weight_share,
        max(settings.exchange_info_ttl_s, settings.invalid_symbol_ttl_s, KNOWN_NAMES_S),
        streams=market.value in settings.stream_urls(),
        stream_idle_s=settings.stream_idle_s,
        derive=settings.derive,
    )


def _check_plan(
    settings: Settings, text: str, market: Market, polling: tuple[int, float, int], *, as_json: bool
) -> NoReturn:
    from mdcache import capacity

    terms = plan_terms(settings, market)
    consumers, every_s, rows = polling
    try:
        demand = capacity.demand(text, market, consumers=consumers, every_s=every_s, rows=rows)
        plan = capacity.plan(demand, terms)
    except capacity.InvalidPlan as error:
        raise typer.BadParameter(str(error), param_hint="--plan") from None
    if as_json:
        derived = {name: getattr(plan, name) for name in ("weight", "fits_without_streams", "redis_bytes")}
        typer.echo(json.dumps(asdict(plan) | derived, indent=2))
    else:
        typer.echo("\n".join(capacity.describe(plan)))
    raise typer.Exit(0 if plan.fits else 1)
