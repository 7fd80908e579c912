"""Change the core in one place at a time, and see whether a test fails: `make mutants`.

    python -m tests.mutants [--sample 0.4] [--again] MODULE …

What each mutant came to is kept in `.run/mutants/results.jsonl`; the survivors, as differences, in
`.run/mutants/survivors.txt`. `--again` tries only the survivors that are kept there.
"""

import argparse
import difflib
import json
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from tests.mutants import session
from tests.mutants.session import SURVIVED, Mutant

HOME = Path(".run/mutants")
MUTMUT = Path(".mutants/bin/python")
UPSTREAM = (
    "gate",
    "gate_keeper",
    "backoff",
    "stated_wait",
    "budget",
    "budget_keeper",
    "shortage",
    "request_quota",
    "queue",
)
CORE = [f"mdcache/upstream/{each}.py" for each in UPSTREAM] + ["mdcache/candles", "mdcache/exchange"]
GOVERNING = ("gate*", "governe*", "governor", "budget*", "queue", "stated_wait", "reply_status")  # without replicas
TESTS = ["tests/exchange", "tests/candles"]
TESTS += [str(each) for name in GOVERNING for each in sorted(Path("tests/upstream").glob(f"test_{name}.py"))]
_LONGEST_TEST_S = 2.0  # longer ones are left out
_SEED = 21

Run = Callable[[Mutant, list[str], float], str]


class Survey:
    """Which tests call which function, and how long they take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.callers: dict[tuple[str, str], list[str]] = defaultdict(list)

    @classmethod
    def taken(cls, paths: set[str]) -> "Survey":
        """Run all tests once, unchanged; not again before a file changes."""
        kept, begun = HOME / "survey.jsonl", HOME / "survey.begun"

        def work() -> int:
            with begun.open("w") as file:

                def note(test: str, seconds: float, called: set[tuple[str, str]]) -> None:
                    file.write(json.dumps([test, seconds, sorted(called)]) + "\n")

                return session.run_pytest(TESTS, session.Surveying(paths, note))

        newest = max(each.stat().st_mtime for top in ("mdcache", "tests") for each in Path(top).rglob("*.py"))
        if not kept.exists() or kept.stat().st_mtime < newest:
            log = HOME / "survey.log"
            if session.in_child(work, 3_600, str(log)) != SURVIVED:
                print(f"tests fail without any mutant, and are left out: {log}", flush=True)
            begun.rename(kept)
        survey = cls()
        for test, seconds, called in map(json.loads, kept.read_text().splitlines()):
            if seconds <= _LONGEST_TEST_S:
                survey.seconds[test] = seconds
                for path, function in called:
                    survey.callers[path, function].append(test)
        if not survey.seconds:
            sys.exit(f"no test passed: {HOME / 'survey.log'}")
        return survey

    def calls(self, mutant: Mutant) -> bool:
        """Return whether a test calls the function; what runs at import only has to be imported as changed."""
        return mutant.in_function and bool(self.callers.get((mutant.path, mutant.function)))

    def tests(self, mutant: Mutant, seconds: float) -> list[str]:
        """Return the tests for a mutant: those named after its module first, and quick ones before slow ones."""
        found = []
        if mutant.in_function:
            found = self.callers[mutant.path, mutant.function]
        if not found:
            found = [test for (path, _), tests in self.callers.items() if path == mutant.path for test in tests]
        own = f"/test_{Path(mutant.path).stem}.py"
        ordered, total = [], 0.0
        for test in sorted(set(found), key=lambda test: (own not in test, self.seconds[test])):
            total += self.seconds[test] + 0.002
            if total > seconds:
                break
            ordered.append(test)
        return ordered


def main() -> None:
    """Try the mutants, and print the score of each module."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Change the core, and run its tests.")
    parser.add_argument("--sample", type=float, default=1.0, help="the part of the mutants that is tried")
    parser.add_argument("--outside", type=float, help="the same for mutants outside of functions, which take longer")
    parser.add_argument("--seconds", type=float, default=3.0, help="of processor time for the tests of one mutant")
    parser.add_argument("--again", action="store_true", help="try only those that survived before")
    parser.add_argument("modules", nargs="*", default=CORE, metavar="MODULE", help="files and folders; else the core")
    given = parser.parse_args()
    HOME.mkdir(parents=True, exist_ok=True)
    command = [str(MUTMUT), "-m", "tests.mutants.mutations", *files(given.modules)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    made = [Mutant(**each) for each in map(json.loads, done.stdout.splitlines())]
    results = Results(HOME / "results.jsonl")
    outside = given.sample if given.outside is None else given.outside
    parts = {True: given.sample, False: outside}
    chosen = [each for each in made if random.Random(f"{_SEED}{each.id}").random() < parts[each.in_function]]
    if given.again:
        chosen = [each for each in made if results.of.get(each.id) == SURVIVED]
    print(f"{len(chosen)} of {len(made)} mutants", flush=True)
    survey = Survey.taken(set(files([*CORE, *given.modules])))
    print(f"{len(survey.seconds)} tests, {sum(survey.seconds.values()):.0f} s", flush=True)

    def each(run: Run, mutants: list[Mutant]) -> None:
        for mutant in mutants:
            tests = survey.tests(mutant, given.seconds)
            cpu_s = sum(survey.seconds[test] for test in tests) + (2 if survey.calls(mutant) else 8)
            results.note(mutant, run(mutant, tests, cpu_s) if tests else SURVIVED)

    inner = [each for each in chosen if survey.calls(each)]
    outer = [each for each in chosen if not survey.calls(each)]
    each(session.run_imported, outer)  # before pytest imports anything here
    session.run_pytest(TESTS, session.Mutating(lambda run: each(run, inner)))
    report(made, results)


def files(modules: list[str]) -> list[str]:
    """Return the source files of modules and folders."""
    return sorted(
        {str(each) for name in modules for each in ([Path(name)] if name.endswith(".py") else Path(name).glob("*.py"))}
    )


class Results:
    """What the mutants came to, kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_text().splitlines() if file.exists() else []
        self.of: dict[str, str] = dict(json.loads(line) for line in lines)

    def note(self, mutant: Mutant, outcome: str) -> None:
        self.of[mutant.id] = outcome
        with self._file.open("a") as file:
            file.write(json.dumps([mutant.id, outcome]) + "\n")


def report(made: list[Mutant], results: Results) -> None:
    """Print the score of each module, and write the survivors."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant in made:
        counts[mutant.path][results.of.get(mutant.id, "not tried")] += 1
    for path, count in counts.items():
        tried = sum(count.values()) - count["not tried"]
        print(f"{path}: {tried - count[SURVIVED]} of {tried} killed, of {sum(count.values())}")
    tried = sum(sum(count.values()) - count["not tried"] for count in counts.values())
    left = [each for each in made if results.of.get(each.id) == SURVIVED]
    print(f"all: {tried - len(left)} of {tried} killed, of {len(made)}")
    (HOME / "survivors.txt").write_text("\n".join(map(difference, left)))


def difference(mutant: Mutant) -> str:
    """Return what a mutant changes, as a difference."""
    before, after = Path(mutant.path).read_text().splitlines(), mutant.source().splitlines()
    changed = list(difflib.unified_diff(before, after, lineterm="", n=0))[3:]
    return "\n".join([f"{mutant.id} {mutant.path}:{mutant.line} {mutant.function}", *changed, ""])


if __name__ == "__main__":
    main()
