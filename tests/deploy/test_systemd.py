"""The unit: how exposed systemd itself thinks it is, and that it reads without complaint."""

import re
from pathlib import Path

import pytest

from mdcache.settings import Settings, load
from tests.deploy.conftest import DEPLOY, ROOT, call
from tests.support.programs import find

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

UNIT = DEPLOY / "systemd" / "mdcache.service"
MOST_EXPOSED = 15  # tenths; systemd calls everything under 2.0 "OK"


def test_systemd_finds_little_exposed() -> None:
    program = find("systemd-analyze")
    done = call(program, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", UNIT)
    assert done.returncode == 0, done.stdout
    assert re.search(r"Overall exposure level for mdcache.service: \d\.\d OK", done.stdout)


def test_systemd_reads_the_unit_without_complaint(tmp_path: Path) -> None:
    program = find("systemd-analyze")
    unit = tmp_path / "mdcache.service"
    unit.write_text(UNIT.read_text().replace("/opt/mdcache/bin/mdcache serve", "/bin/true"))  # it must be there
    done = call(program, "verify", "--man=no", unit)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "mdcache" in line]) == (0, [])


def test_with_the_example_for_settings_it_keeps_its_state_where_it_may_write() -> None:
    (home,) = re.findall(r"^Environment=XDG_STATE_HOME=(.*)$", UNIT.read_text(), re.MULTILINE)
    (folder,) = re.findall(r"^StateDirectory=(.*)$", UNIT.read_text(), re.MULTILINE)
    state = home.replace("%S", "/var/lib")  # systemd.unit(5): %S of a system service
    assert load({"XDG_STATE_HOME": state, "HOME": "/"}, ROOT / ".env.example").state_dir == Path(state) / folder


def test_memory_holds_what_is_cached_and_what_that_takes_besides() -> None:
    (most,) = re.findall(r"^MemoryMax=(\d+)M$", UNIT.read_text(), re.MULTILINE)
    assert int(most) >= 1.5 * Settings.model_fields["memory_max_mb"].default + 256


def test_wrong_settings_are_no_reason_to_start_again() -> None:
    assert "RestartPreventExitStatus=2" in UNIT.read_text()


def test_the_boot_id_is_read_from_proc() -> None:
    """`clock.boot_id` reads /proc/sys, which ProcSubset=pid would hide."""
    assert not re.search(r"^ProcSubset=", UNIT.read_text(), re.MULTILINE)
