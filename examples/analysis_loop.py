"""Act once on each candle that closes, and never on data older than five seconds.

This is the loop of the AI service in the incident, which asked 120 questions every five seconds, gave the same signal
six times, and traded on data whose age it could not see.

    python examples/analysis_loop.py BTCUSDT,ETHUSDT 1m
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mdcache.client import Candle, Client, StaleData, Unavailable

Act = Callable[[Candle, Sequence[Candle]], None]


def follow(daemon: Client, symbols: Sequence[str], interval: str, memory: Path, act: Act) -> None:
    """Call `act` with each candle that closes, and the 200 before it. `memory`: where it goes on after a restart."""
    after = memory.read_text() if memory.exists() else None
    changes = daemon.changed("spot", symbols, [interval], after=after)
    for candle in changes:
        memory.write_text(changes.position)  # before it acts: at most once, also if it is killed
        try:
            rows = daemon.candles("spot", [candle.symbol], [interval], limit=201, closed=True, max_age_s=5).rows
        except (StaleData, Unavailable) as error:
            print(f"no signal for {candle.key}: {error}", file=sys.stderr)
            continue
        if rows[-1].key == candle.key:  # else it came late, and a newer one follows
            act(candle, rows)


def print_signal(candle: Candle, rows: Sequence[Candle]) -> None:
    """Analyse: here, compare with the mean."""
    mean = sum(float(row.close) for row in rows) / len(rows)
    print(*candle.key, "above" if float(candle.close) > mean else "below")


if __name__ == "__main__":
    with Client() as mdcache:
        follow(mdcache, sys.argv[1].split(","), sys.argv[2], Path("analysis.position"), print_signal)
