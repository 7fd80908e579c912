"""An environment for each package under one folder, made anew when its pins change.

Python: a virtual environment named after the package. Node: one folder for all packages. Which index or registry
is used is the machine's own business: nothing here names one.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.clients.catalogue import Client

HERE = Path(__file__).parent
PINS = HERE / "requirements"
INSTALL_DEADLINE_S = 900.0


class LeftOut(Exception):
    """The client can't be had on this machine; the message says why."""


def install(client: Client, home: Path) -> list[str]:
    """The command that runs the client's script, once its package is installed. Raises LeftOut."""
    if client.kind == "node":
        return [_node(home / "node"), str(home / "node" / client.script)]
    return [str(_python(client.package, home / client.package)), str(HERE / "scripts" / client.script)]


def version(client: Client, home: Path) -> str:
    """Return the installed version, from the package's metadata."""
    if client.kind == "node":
        manifest = home / "node" / "node_modules" / client.package / "package.json"
        return str(json.loads(manifest.read_text())["version"])
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    command = [str(home / client.package / "bin" / "python"), "-c", code, client.package]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _python(package: str, folder: Path) -> Path:
    pins = PINS / f"{package}.txt"
    if not _made(folder, pins):
        print(f"installing {package} …", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        _run([*pip, "-r", str(pins)])
        _stamp(folder, pins)
    return folder / "bin" / "python"


def _node(folder: Path) -> str:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise LeftOut("this machine has no node with npm")
    pins = PINS / "package.json"
    if not _made(folder, pins):
        print("installing the packages for node …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(pins, folder)
        quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel", "error"]
        _run([npm, "install", *quiet], folder)
        _stamp(folder, pins)
    for script in (HERE / "scripts").glob("*.mjs"):
        shutil.copy(script, folder)  # so that `import` finds the packages
    return node


def _run(command: list[str], folder: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise LeftOut(f"installing took longer than {INSTALL_DEADLINE_S:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower() and "log of this run" not in line]
        raise LeftOut(" / ".join(lines[-2:])[-300:] or f"exit code {done.returncode}: {done.stderr[-300:]}")


def _made(folder: Path, pins: Path) -> bool:
    stamp = folder / ".pins"
    return stamp.is_file() and stamp.read_text() == _digest(pins)


def _stamp(folder: Path, pins: Path) -> None:
    (folder / ".pins").write_text(_digest(pins))


def _digest(pins: Path) -> str:
    return hashlib.sha256(pins.read_bytes()).hexdigest()
