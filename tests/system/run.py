"""Play histories by their seeds; a failed one is shrunk: steps are left out as long as it still fails."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.virtual_time import run
from tests.system.history import History
from tests.system.steps import Plan, plan

LENGTH = 40


@dataclass(frozen=True)
class Failure:
    """A history that fails. `steps`: their numbers."""

    seed: int
    length: int
    steps: tuple[int, ...]
    error: str

    def command(self) -> str:
        """Return the command that plays it again."""
        steps = f" --steps {','.join(map(str, self.steps))}" if len(self.steps) < self.length else ""
        return f"python -m tests.system --seed {self.seed} --length {self.length}{steps}"


def play(drawn: Plan, steps: tuple[int, ...]) -> tuple[int, str]:
    """Return the number of questions that were asked, and what was wrong, if anything."""
    asked = 0

    async def main() -> None:
        nonlocal asked
        with tempfile.TemporaryDirectory(prefix="mdcache-system-") as folder:
            history = History(drawn, Path(folder))
            try:
                await history.run([drawn.steps[n] for n in steps])
            finally:
                asked = history.questions

    try:
        run(main())
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
        return asked, f"{type(error).__name__}: {error}"
    return asked, ""


def play_seed(seed: int, length: int = LENGTH, steps: tuple[int, ...] | None = None) -> tuple[int, Failure | None]:
    """Play one history, or some of its steps."""
    drawn = plan(seed, length)
    chosen = tuple(range(length)) if steps is None else steps
    asked, error = play(drawn, chosen)
    return asked, Failure(seed, length, chosen, error) if error else None


def shrink(failure: Failure, most_runs: int = 150) -> Failure:
    """Leave out as many steps as possible, half of them at once, then a quarter, and so on to single ones."""
    drawn = plan(failure.seed, failure.length)
    size = len(failure.steps) // 2
    while size:
        start = 0
        while start < len(failure.steps) and most_runs:
            fewer = failure.steps[:start] + failure.steps[start + size :]
            most_runs -= 1
            _, error = play(drawn, fewer)
            if error:
                failure = Failure(failure.seed, failure.length, fewer, error)
            else:
                start += size
        size //= 2
    return failure
