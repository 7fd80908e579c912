"""docs/configuration.md says what the settings class and the plan say."""

from collections import Counter
from pathlib import Path

from mdcache.settings import Settings
from tests.house import configuration

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_that_of_the_code() -> None:
    made = "write it anew: python -m tests.house.configuration > docs/configuration.md"
    assert PAGE.read_text() == configuration.text(), made


def test_every_setting_stands_in_one_group() -> None:
    named = Counter(name for group in configuration.GROUPS for name in group.names)
    assert named == Counter(list(Settings.model_fields))
