"""A replica's id: kept in the state directory, once the other replicas know it."""

from pathlib import Path

import pytest

from mdcache.stores.disk.state_dir import StateDir, open_state_dir
from mdcache.stores.redis.replica_id import FILE, ReplicaId

IDS = [f"{n:016x}" for n in range(4)]


def test_it_stays_once_the_others_know_it(tmp_path: Path) -> None:
    folder = open_state_dir(tmp_path)
    assert (ReplicaId(folder, lambda: IDS[0]).own, ReplicaId(folder, lambda: IDS[1]).returning) == (IDS[0], False)
    known = ReplicaId(folder, lambda: IDS[2])
    known.keep()
    known.keep()
    again = ReplicaId(folder, lambda: IDS[3])
    assert (again.own, again.returning) == (IDS[2], True)


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"../..\n" + IDS[0].encode() + b"\n", b""])
def test_rubbish_is_no_id(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    folder = open_state_dir(tmp_path)
    replica = ReplicaId(folder, lambda: IDS[1])
    assert (replica.own, replica.returning) == (IDS[1], False)
    replica.keep()
    assert ReplicaId(folder, lambda: IDS[2]).own == IDS[1]


def test_the_names_of_an_older_form_go(tmp_path: Path) -> None:
    (tmp_path / "replicas").write_text(IDS[0])
    replica = ReplicaId(open_state_dir(tmp_path), lambda: IDS[1])
    assert not replica.returning
    replica.keep()
    assert not (tmp_path / "replicas").exists()


def test_without_a_folder_that_is_ours_it_is_new_each_time(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(IDS[0])
    for folder in (None, StateDir(tmp_path, trouble="no locks here")):
        replica = ReplicaId(folder, lambda: IDS[1])
        replica.keep()
        assert (replica.own, replica.returning) == (IDS[1], False)
    assert (tmp_path / FILE).read_text() == IDS[0]


def test_one_whose_folder_is_a_copy_takes_another_and_keeps_that(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(IDS[0])
    folder = open_state_dir(tmp_path)
    replica = ReplicaId(folder, lambda: IDS[1])
    replica.renew()
    assert replica.own == IDS[1]
    replica.keep()
    assert ReplicaId(folder, lambda: IDS[2]).own == IDS[1]
