"""The long form of the system's model: `make system`, and one history played again.

python -m tests.system --questions 1000000
python -m tests.system --seed 17 --length 40 --steps 3,8,9
"""

import argparse
import sys
import time

from tests.system.run import LENGTH, play_seed, shrink


def main() -> int:
    """Return 1 if a history failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.system")
    parser.add_argument("--questions", type=int, default=20_000, help="play histories until so many were asked")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this history alone")
    parser.add_argument("--length", type=int, default=LENGTH, help="steps of each")
    parser.add_argument("--steps", help="only these steps, by their numbers")
    parser.add_argument("--failures", type=int, default=5, help="end after so many")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        steps = None if chosen.steps is None else tuple(map(int, filter(None, chosen.steps.split(","))))
        asked, failure = play_seed(chosen.seed, chosen.length, steps)
        print(f"seed {chosen.seed}: {asked} questions: {failure.error if failure else 'all is well'}")
        return int(failure is not None)
    asked, failures, seed, began_s = 0, 0, chosen.first, time.process_time()
    while asked < chosen.questions and failures < chosen.failures:
        more, failure = play_seed(seed, chosen.length)
        asked += more
        if failure is not None:
            failures += 1
            small = shrink(failure)
            print(f"seed {seed} fails: {small.error}\n  again: {small.command()}", flush=True)
        elif seed % 100 == 0:
            print(f"… seed {seed}, {asked} questions", flush=True)
        seed += 1
    spent_s = time.process_time() - began_s
    print(f"{asked} questions in {seed - chosen.first} histories, {spent_s:.0f} s of CPU: {failures} failed")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
