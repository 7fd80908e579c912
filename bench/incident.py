"""The incident's figures: 20 symbols x 6 timeframes x 3 consumers, 500 candles every 5 s, with and without streams.

    python -m bench.incident [--seconds 120] [--share 0.5] [--symbols 20] [--closes 3]

Directly, then through mdcache with streams, with neither streams nor derivation, and with each of them alone: one after
the other, with an exchange and a daemon of their own, which know nothing at first. Then what a close looks like
(`bench/closes.py`), unless `--closes 0`. Ages are of the rows themselves (`bench/row_ages.py`). `mdcache replay` plays
the same, and draws it.
"""

import argparse
import sys

from bench.closes import report_closes
from bench.figures import spread
from bench.row_ages import RowAges
from mdcache.clock import SystemClock
from mdcache.replay.consumers import INTERVALS, ConsumerAnswer, Consumers, ConsumerTally, ReplayLoad
from mdcache.replay.notes import most_weight
from mdcache.replay.run import ReplayPlan, SideSetup, play_sides
from mdcache.replay.sides import SideResult

__all__ = ["INTERVALS", "SYMBOLS", "ConsumerTally", "crowd"]

SYMBOLS = ReplayLoad().symbols
DIRECT, STREAMS = "direct", "streams"
SETUPS = (
    SideSetup(DIRECT, daemon=False),
    SideSetup(STREAMS, streams=True),
    SideSetup("streams, no derivation", streams=True, settings={"derive": "false"}),
    SideSetup("derivation only"),
    SideSetup("neither", settings={"derive": "false"}),
)


async def crowd(url: str, symbols: list[str], seconds: float) -> ConsumerTally:
    """All consumers against one address, from now on."""
    clock = SystemClock()
    return await Consumers(url, symbols, ReplayLoad(seconds=seconds), clock).run(clock.now())


class FirstRound:
    """How long the answers to the first question of each consumer for each series took."""

    def __init__(self, load: ReplayLoad) -> None:
        self._left = load.questions // load.rounds
        self.took_ms: list[float] = []

    def take(self, answer: ConsumerAnswer) -> None:
        if self._left:
            self._left -= 1
            self.took_ms.append(answer.answered_ms - answer.asked_ms)


def play(plan: ReplayPlan, setup: SideSetup) -> SideResult:
    """Play one side, and print its figures."""
    ages, first = RowAges(), FirstRound(plan.load)

    def on_answer(answer: ConsumerAnswer) -> None:
        ages.take(answer)
        first.take(answer)

    (side,) = play_sides(plan, [setup], lambda *_: None, on_answer)
    warm = "unknown" if side.warm_weight is None else f"{side.warm_weight:,}"
    print(f"{side.name}")
    print(
        f"  weight       first minute {side.cold_weight:,} ({side.other_weights[0]} for clock and list of symbols), "
        f"a later one at most {warm}; {side.calls:,} calls"
    )
    print(
        f"  answers      {side.asked:,} asked, {side.failed:,} failed, {side.marked:,} marked; {side.refused:,} calls "
        f"refused, {side.bans} bans; questions up to {side.late_s:.2f} s late"
    )
    print(f"  first round  {spread(first.took_ms, 'ms')}")
    print(f"  row ages     {ages.report()}", flush=True)
    return side


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=ReplayLoad().seconds)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--symbols", type=int, default=SYMBOLS)
    parser.add_argument("--closes", type=int, default=3)
    options = parser.parse_args()
    plan = ReplayPlan(ReplayLoad(options.seconds, options.symbols), share=options.share)
    sides = [play(plan, setup) for setup in SETUPS]
    if options.closes:
        report_closes(options.closes)
    held = not any(side.failed or side.refused or side.bans for side in sides if side.name != DIRECT)
    fed = next(side for side in sides if side.name == STREAMS)
    cold, warm = most_weight(plan.load)
    return 0 if held and fed.cold_weight <= cold and (fed.warm_weight or 0) <= warm else 1


if __name__ == "__main__":
    sys.exit(main())
