"""How many examples hypothesis draws, and how many seeds a test has: a few in every run, many in the longer ones."""

from collections.abc import Iterable

import pytest
from hypothesis import settings


def examples(few: int, many: int = 2_000) -> settings:
    """Return the settings of a test that draws `few` examples; `many` in the long profile, a quarter in the quick."""
    by_profile = {"long": many, "quick": -(-few // 4)}
    return settings(max_examples=by_profile.get(settings.get_current_profile_name(), few))


def exhaustive(*cases: object) -> list[pytest.ParameterSet]:
    """Return cases (a tuple: of several parameters) that run with `--exhaustive` only."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.exhaustive) for case in cases
    ]


def long(*cases: object) -> list[pytest.ParameterSet]:
    """Return cases (a tuple: of several parameters) that run in the long tests only."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long) for case in cases]


def thinned(cases: Iterable[object], every: int, exhaustive_every: int = 1) -> list[object]:
    """Return all cases: each `every`th runs always, each `exhaustive_every`th with `--exhaustive`, others if long."""

    def marked(n: int, case: object) -> object:
        if n % every == 0:
            return case
        (param,) = exhaustive(case) if n % exhaustive_every == 0 else long(case)
        return param

    return [marked(n, case) for n, case in enumerate(cases)]


def seeds(few: int, many: int) -> list[pytest.ParameterSet]:
    """Return `many` seeds: the first runs always, the first `few` with `--exhaustive`, the others in the long tests."""
    further = [pytest.mark.exhaustive] * (few - 1) + [pytest.mark.long] * (many - few)
    return [pytest.param(0), *(pytest.param(seed, marks=mark) for seed, mark in enumerate(further, 1))]
