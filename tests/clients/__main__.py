"""Install the clients, run each several times, compare, print two tables; exit 1 if anything differs."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from tests.clients import compare, streaming, upstream
from tests.clients.catalogue import CLIENTS, RANGES, STREAM_CLIENTS, Client, StreamClient
from tests.clients.environments import LeftOut, install, version
from tests.clients.outcome import Outcome
from tests.clients.streaming import ScriptFailed, StreamResult
from tests.support.processes import daemon, sim

HOME = Path(__file__).parents[2] / ".clients"
SCRIPT_DEADLINE_S = 240.0

# Lists of symbols outlast the job, tails do not outlast a script: so the second time shows what is never read again.
LISTINGS_TTL_S, TAIL_TTL_S = "3600", "0.2"


@dataclass(slots=True)
class Result(Outcome):
    """What a client asked, and what reached the exchange: the first time, and again."""

    called: dict[str, int] = field(default_factory=dict)
    answers: int = 0
    first: dict[str, int] = field(default_factory=dict)
    second: dict[str, int] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help="clients whose names contain this (default: all)")
    parser.add_argument("--home", type=Path, default=HOME, help="folder of the environments (default: .clients)")
    parser.add_argument("--direct", action="store_true", help="only run against the simulated exchange")
    asked = parser.parse_args()
    home = asked.home.resolve()
    both = [*CLIENTS, *STREAM_CLIENTS]
    chosen = [one for one in both if not asked.names or any(name in one.name for name in asked.names)]
    if not chosen:
        parser.error(f"no such client; there are: {', '.join(one.name for one in both)}")
    home.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    streams: list[StreamResult] = []
    for client in chosen:
        print(f"{client.name} …", flush=True)
        if isinstance(client, StreamClient):
            streams.append(streamed := StreamResult(client.name))
            compare_runs = partial(
                streaming.run_streams, result=streamed, longer_s=client.longer_s, direct_only=asked.direct
            )
            _try(client, streamed, home, compare_runs)
        else:
            results.append(result := Result(client.name))
            _try(client, result, home, partial(_compare, result=result, direct_only=asked.direct))
    _show(results)
    _show_streams(streams)
    both_results: list[Result | StreamResult] = [*results, *streams]
    (home / "results.json").write_text(json.dumps([asdict(one) for one in both_results], indent=1) + "\n")
    ran = [one.good for one in both_results if one.left_out is None]
    return 0 if ran and all(ran) else 1


def _try(client: Client, outcome: Outcome, home: Path, compare_runs: Callable[[list[str]], None]) -> None:
    """Install a client and have its runs compared, and say what became of it."""
    try:
        command = install(client, home)
        outcome.version = version(client, home)
    except LeftOut as reason:
        outcome.left_out = str(reason)
        return
    try:
        compare_runs(command)
    except ScriptFailed as failure:
        outcome.problems.append(str(failure))
    for line in outcome.problems:
        print(f"  {line}", flush=True)


def _compare(command: list[str], result: Result, *, direct_only: bool) -> None:
    """Three runs: without the daemon, through it, and through it again."""
    with sim() as exchange:
        direct = _run(command, exchange)
        result.called = upstream.paths(upstream.log(exchange))
    result.answers = sum(len(section) for section in direct.values())
    result.problems = compare.unanswered(direct)
    if direct_only:
        return
    with (
        tempfile.TemporaryDirectory() as state,
        sim() as exchange,
        daemon(exchange, exchange_info_ttl_s=LISTINGS_TTL_S, open_candle_ttl_s=TAIL_TTL_S, state_dir=state) as (url, _),
    ):
        first = _run(command, url)
        once = upstream.log(exchange)
        second = _run(command, url)
        again = upstream.log(exchange)[len(once) :]
    result.first, result.second = upstream.sorts(once), upstream.sorts(again)
    result.problems += compare.problems(direct, first, "first time")
    result.problems += compare.problems(direct, second, "second time")
    result.problems += [f"second time: read again: {read}" for read in upstream.read_again(again)]


def _run(command: list[str], base: str) -> compare.Document:
    """The script's document: the last line it prints."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().endswith("_PROXY") and not name.startswith(("MDCACHE_", "PYTHON"))
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [*command, base, json.dumps(RANGES)],
                env=clean | {"NO_PROXY": "*", "TZ": "UTC"},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=SCRIPT_DEADLINE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ScriptFailed(f"no document after {SCRIPT_DEADLINE_S:.0f} s from {base}") from None
    try:
        document: compare.Document = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise ScriptFailed(f"exit code {done.returncode}, no document: {done.stderr[-2000:]}") from None
    return document


def _show(results: list[Result]) -> None:
    """The table, in Markdown, and below it what is not in it."""
    if not results:
        return
    print("\n| client | version | called | answers | upstream, first time | second time | |")
    print("|---|---|---|---|---|---|---|")
    for one in results:
        verdict = "left out" if one.left_out else "equal" if one.good else "differs"
        cells = (one.client, one.version, _calls(one.called), one.answers, _sum(one.first), _sum(one.second), verdict)
        print("| " + " | ".join(str(cell) for cell in cells) + " |")
    left_out = [one for one in results if one.left_out]
    print(f"\n{len(results) - len(left_out)} of {len(results)} clients ran.")
    for one in left_out:
        print(f"Left out: {one.client}: {one.left_out}")


def _show_streams(results: list[StreamResult]) -> None:
    if not results:
        return
    print("\n| stream client | version | topics | frames, both runs | topics upstream | |")
    print("|---|---|---|---|---|---|")
    for one in results:
        verdict = "left out" if one.left_out else "equal" if one.good else "differs"
        cells = (one.client, one.version, one.topics, one.frames, one.upstream, verdict)
        print("| " + " | ".join(str(cell) for cell in cells) + " |")
    for one in results:
        if one.left_out:
            print(f"Left out: {one.client}: {one.left_out}")


def _calls(called: dict[str, int]) -> str:
    """`/api/v3` klines 4, time 1; `/fapi/v1` …"""
    found: dict[str, list[str]] = {}
    for path, count in called.items():
        _, market, version, rest = path.split("/", 3)
        found.setdefault(f"`/{market}/{version}`", []).append(f"{rest} {count}")
    return "; ".join(f"{base} {', '.join(tails)}" for base, tails in found.items())


def _sum(reads: dict[str, int]) -> str:
    parts = ", ".join(f"{sort} {count}" for sort, count in reads.items())
    return f"{sum(reads.values())}" + (f" ({parts})" if parts else "")


if __name__ == "__main__":
    sys.exit(main())
