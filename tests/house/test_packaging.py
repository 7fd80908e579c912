"""What is installed is what is written down: one version, locked dependencies, a whole package."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import mdcache

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ["requirements-build.lock", "requirements.lock", "requirements-dev.lock"]
ENDS = ["-py3-none-any.whl", ".tar.gz"]
PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    return dict(PINNED.findall((ROOT / name).read_text()))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^a-zA-Z0-9-]", requirement)[0] for requirement in requirements}


def test_the_version_is_static_and_one() -> None:
    assert PROJECT["project"]["version"] == mdcache.__version__
    assert "dynamic" not in PROJECT["project"]


def test_the_changelog_has_notes_for_the_version_and_the_charts_and_images_name_it() -> None:
    releases = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == mdcache.__version__
    chart = (ROOT / "deploy" / "helm" / "mdcache" / "Chart.yaml").read_text()
    assert f'appVersion: "{mdcache.__version__}"' in chart
    images = re.findall(r"image: mdcache:(\S+)", (ROOT / "deploy" / "compose.yaml").read_text())
    assert set(images) == {mdcache.__version__}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    entries = re.split(r"\n(?=[a-z])", text.strip())
    assert len(entries) == len(PINNED.findall(text)) > 0
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]
    assert "://" not in text
    assert "#" not in text, "no header: it would name the machine that wrote it"


def test_the_locks_hold_what_the_project_asks_for() -> None:
    runtime, everything = locked("requirements.lock"), locked("requirements-dev.lock")
    assert names(PROJECT["project"]["dependencies"]) <= runtime.keys()
    assert names(PROJECT["dependency-groups"]["dev"]) <= everything.keys()
    for extra in PROJECT["project"]["optional-dependencies"].values():
        assert names(extra) <= everything.keys() - runtime.keys()
    assert runtime.items() <= everything.items()


def test_the_build_backend_is_locked_so_that_an_editable_install_needs_no_network() -> None:
    assert names(PROJECT["build-system"]["requires"]) <= locked("requirements-dev.lock").keys()


def build(tree: Path, folder: Path, *kinds: str, **environment: str) -> list[Path]:
    targets = [option for kind in kinds for option in ("-t", kind)]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", *targets, "-d", str(folder)],
        cwd=tree,
        check=True,
        capture_output=True,
        timeout=60,
        env=os.environ | environment,
    )
    return sorted(each for each in folder.iterdir() if each.suffix in {".whl", ".gz"})


@pytest.mark.processes
@pytest.mark.exhaustive
def test_equal_trees_build_equal_packages(tmp_path: Path) -> None:
    """Whenever and wherever they are built: files have other times and rights, and the machine another time zone."""
    names = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore")
    built: list[list[tuple[str, bytes]]] = []
    for zone, mode, written_s in (("UTC", 0o644, 1_700_000_000), ("Asia/Tokyo", 0o600, 1_790_000_000)):
        tree, folder = tmp_path / f"{mode:o}" / "tree", tmp_path / f"{mode:o}" / "dist"
        tree.mkdir(parents=True)
        for name in names:
            shutil.copy(ROOT / name, tree)
        shutil.copytree(ROOT / "mdcache", tree / "mdcache", ignore=shutil.ignore_patterns("__pycache__"))
        for path in tree.rglob("*"):
            if path.is_file():
                path.chmod(mode)
                os.utime(path, (written_s, written_s))
        files = build(tree, folder, "wheel", "sdist", TZ=zone, SOURCE_DATE_EPOCH="1700000000")
        built.append([(each.name, each.read_bytes()) for each in files])
    assert [name for name, _ in built[0]] == [f"mdcache-{mdcache.__version__}{end}" for end in ENDS]
    assert built[0] == built[1]


@pytest.mark.processes
def test_a_tree_without_git_builds_a_whole_package(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "mdcache", tree / "mdcache", ignore=shutil.ignore_patterns("__pycache__"))
    (wheel,) = build(tree, tmp_path, "wheel")
    with zipfile.ZipFile(wheel) as built:
        packed = {name for name in built.namelist() if name.startswith("mdcache/")}
        (entry_points,) = (name for name in built.namelist() if name.endswith("entry_points.txt"))
        assert b"mdcache = mdcache.cli.app:main" in built.read(entry_points)
    written = {str(path.relative_to(tree)) for path in (tree / "mdcache").rglob("*") if path.is_file()}
    assert packed == written
    assert "mdcache/py.typed" in packed


def test_slow_jobs_that_make_test_names_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (last_line,) = re.findall(r"slow jobs, not run here: (.*)\"", makefile)
    for target in re.findall(r"make ([a-z-]+)", last_line):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.processes
def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=10)
    assert "make test" in script.read_text()
