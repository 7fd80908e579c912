"""How many examples hypothesis draws, and how many seeds a test has: a few in every run, many in the longer ones."""

import os

import pytest
from hypothesis import settings


def examples(few: int, many: int = 2_000) -> settings:
    """Return the settings of a test that draws `few` examples, or `many` in the long profile."""
    return settings(max_examples=many if os.environ.get("HYPOTHESIS_PROFILE") == "long" else few, deadline=None)


def exhaustive(*cases: object) -> list[pytest.ParameterSet]:
    """Return cases of a parameter that run with `--exhaustive` only."""
    return [pytest.param(case, marks=pytest.mark.exhaustive) for case in cases]
