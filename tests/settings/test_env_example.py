import re
from pathlib import Path

from mdcache.settings import Settings, load

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def test_it_names_every_setting_and_no_other() -> None:
    names = re.findall(r"^MDCACHE_(\w+)=", EXAMPLE.read_text(), re.MULTILINE)
    assert names == [name.upper() for name in Settings.model_fields]


def test_copied_unchanged_it_changes_nothing() -> None:
    environ = {"HOME": "/home/someone"}
    assert dict(load(environ, EXAMPLE)) == dict(load(environ, None))
