"""`mdcache sim`: run a simulated Binance."""

from pathlib import Path
from typing import Annotated

import typer


def sim(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free port.")] = 8701,
    seed: Annotated[int, typer.Option(help="Seed of the candles: the same seed gives the same candles.")] = 1,
    rows: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of recorded candles to serve."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Spot's weight limit per minute; a low one leads to bans sooner.")
    ] = 6000,
    profile: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Behave as this exchange profile says, where it differs."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Certificate and key in one PEM file: serve https and wss."),
    ] = None,
) -> None:
    """Run a simulated Binance on this machine, with the real limits and bans; it needs no network."""
    from mdcache.sim.config import SimConfig
    from mdcache.sim.played_facts import PlayedFacts, load_facts
    from mdcache.sim.server import serve as serve_sim

    try:
        facts = PlayedFacts({}) if profile is None else load_facts(profile)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--profile") from None

    def tell(url: str) -> None:
        played = f"seed {seed}" if rows is None else f"rows of {rows}"
        typer.echo(f"mdcache sim: {url} is a simulated Binance ({played}, spot limit {limit:,} a minute)", err=True)
        typer.echo(f"  control API: {url}/_sim/", err=True)
        streams = url.replace("http", "ws", 1)
        upstreams = " ".join(f"MDCACHE_{market}_URL={url}" for market in ("SPOT", "USDM", "COINM"))
        upstreams += f" MDCACHE_SPOT_WS_URL={streams}"
        upstreams += "".join(f" MDCACHE_{market}_WS_URL={streams}/{market.lower()}" for market in ("USDM", "COINM"))
        typer.echo(f"  with mdcache in front of it: {upstreams} MDCACHE_EGRESS=sim mdcache serve", err=True)

    serve_sim(SimConfig(seed=seed, rows_dir=rows, spot_limit=limit, facts=facts), host, port, tell, certificate)
