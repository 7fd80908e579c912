"""Files that are made from code are as `make generate` writes them."""

from collections import Counter
from pathlib import Path

import pytest

from mdcache.settings import Settings
from tools import configuration
from tools.generate import FILES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", FILES)
def test_it_is_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == FILES[name](), "write it anew: make generate"


def test_every_setting_stands_in_one_group() -> None:
    named = Counter(name for group in configuration.GROUPS for name in group.names)
    assert named == Counter(list(Settings.model_fields))
