import re
from pathlib import Path

from mdcache.settings import Settings, load

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def test_it_names_every_setting_and_no_other() -> None:
    names = re.findall(r"^#MDCACHE_(\w+)=", EXAMPLE.read_text(), re.MULTILINE)
    assert names == [name.upper() for name in Settings.model_fields]


def test_copied_unchanged_it_sets_nothing_so_that_a_later_default_counts() -> None:
    assert [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")] == []


def test_what_it_shows_is_the_default(tmp_path: Path) -> None:
    environ = {"HOME": "/home/someone"}
    everything = tmp_path / ".env"
    everything.write_text(re.sub("^#(?=MDCACHE_)", "", EXAMPLE.read_text(), flags=re.MULTILINE))
    assert dict(load(environ, everything)) == dict(load(environ, None))
