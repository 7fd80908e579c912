"""How many examples hypothesis draws: a few in every run, many in `make test-long`."""

import os

from hypothesis import settings


def examples(few: int, many: int = 2_000) -> settings:
    """Return the settings of a test that draws `few` examples, or `many` in the long profile."""
    return settings(max_examples=many if os.environ.get("HYPOTHESIS_PROFILE") == "long" else few, deadline=None)
