"""Who ran in a folder before: told only by who has the folder, and only what is a name."""

from pathlib import Path

import pytest

from mdcache.stores.disk.state_dir import StateDir, open_state_dir
from mdcache.stores.redis.replica_names import FILE, Names

NAMES = [f"{n:016x}" for n in range(20)]


def test_each_hears_of_the_last_eight_before_it(tmp_path: Path) -> None:
    folder, heard = open_state_dir(tmp_path), []
    for name in NAMES:
        names = Names(folder, name)
        heard.append(names.before)
        names.sign()
        names.sign()
    assert heard[0] == ()
    assert heard[3] == tuple(NAMES[:3])
    assert heard[-1] == tuple(NAMES[11:19])


def test_one_that_met_nobody_is_not_told_of(tmp_path: Path) -> None:
    folder = open_state_dir(tmp_path)
    Names(folder, NAMES[0]).sign()
    assert Names(folder, NAMES[1]).before == (NAMES[0],)
    assert Names(folder, NAMES[2]).before == (NAMES[0],)


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"../..\n" + NAMES[0].encode() + b"\n", b""])
def test_rubbish_is_no_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert set(Names(open_state_dir(tmp_path), NAMES[1]).before) <= {NAMES[0]}


def test_without_a_folder_that_is_ours_nobody_is_gone(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(NAMES[0])
    for folder in (None, StateDir(tmp_path, trouble="no locks here")):
        names = Names(folder, NAMES[1])
        names.sign()
        assert names.before == ()
    assert (tmp_path / FILE).read_text() == NAMES[0]
