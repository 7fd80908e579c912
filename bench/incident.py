"""The incident in short: 20 symbols x 6 timeframes x 3 consumers, 500 candles every 5 s, with and without mdcache.

    python -m bench.incident [--seconds 60] [--share 0.5]

Direct consumers spend weight 8,640 a minute of Binance's 6,000 and are banned; the table shows what came of it.
`mdcache replay` plays the same, and draws it.
"""

import argparse
import sys

from mdcache.clock import SystemClock
from mdcache.replay.consumers import INTERVALS, Consumers, ConsumerTally, ReplayLoad
from mdcache.replay.run import ReplayPlan, play

__all__ = ["INTERVALS", "SYMBOLS", "ConsumerTally", "crowd"]

SYMBOLS = ReplayLoad().symbols


async def crowd(url: str, symbols: list[str], seconds: float) -> ConsumerTally:
    """All consumers against one address, from now on."""
    clock = SystemClock()
    return await Consumers(url, symbols, ReplayLoad(seconds=seconds), clock).run(clock.now())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--share", type=float, default=0.5)
    options = parser.parse_args()
    found = play(
        ReplayPlan(ReplayLoad(seconds=options.seconds), share=options.share), lambda _side, _ended, _failed: None
    )
    minutes = options.seconds / 60
    print(f"{'':<9} {'questions':>9} {'failed':>7} {'weight/min':>10} {'calls':>6} {'refused':>8} {'bans':>5} "
          f"{'marked':>7} {'worst age':>9} {'p99 ms':>7}")  # fmt: skip
    for side in (found.direct, found.mdcache):
        print(
            f"{side.name:<9} {side.asked:>9} {side.failed:>7} {side.weight / minutes:>10.0f} {side.calls:>6} "
            f"{side.refused:>8} {side.bans:>5} {side.marked:>7} {side.worst_age_s:>7.1f} s {side.p99_ms:>7.1f}"
        )
    times = found.uncached_weight * minutes / found.mdcache.weight
    print(f"asked directly these questions weigh {found.uncached_weight} a minute: {times:.2f} times more")
    return 0 if found.passed else 1


if __name__ == "__main__":
    sys.exit(main())
