"""Compile the examples in Go and Rust, run them before a simulated exchange, and compare what they print with it.

    python -m tests.clients.examples

The compilers, and the sources of Rust's libraries, are packages of Debian, installed here if they are missing.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import httpx

from tests.support.processes import daemon, sim

ROOT = Path(__file__).parents[2]
EXAMPLES, HOME = ROOT / "examples", ROOT / ".clients" / "examples"
CRATES = Path("/usr/share/cargo/registry")  # where Debian has them
COMPILERS = {"go": "golang-go", "cargo": "cargo"}
LIBRARIES = ["librust-reqwest-dev", "librust-serde-derive-dev"]
SYMBOLS, RUN_S, LEAST = ("BTCUSDT", "ETHUSDT"), 15.0, 8


def install() -> None:
    """Install what is missing."""
    packages = [package for program, package in COMPILERS.items() if shutil.which(program) is None]
    packages += [] if list(CRATES.glob("reqwest-*")) else LIBRARIES
    if packages and os.geteuid() == 0:
        print(f"installing {', '.join(packages)} …", flush=True)
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)


def compile_go() -> Path:
    """Return the program."""
    made = HOME / "go" / "candles"
    env = os.environ | {"GOCACHE": str(HOME / "go" / "cache"), "GOPROXY": "off"}
    subprocess.run(["go", "vet", "main.go"], cwd=EXAMPLES / "go", env=env, check=True)
    subprocess.run(["go", "build", "-o", str(made), "main.go"], cwd=EXAMPLES / "go", env=env, check=True)
    return made


def compile_rust() -> Path:
    """Return the program."""
    folder = HOME / "rust"
    shutil.copytree(EXAMPLES / "rust", folder, dirs_exist_ok=True)  # what cargo writes stays out of the tree
    source = ["source.crates-io.replace-with='debian'", f"source.debian.directory='{CRATES}'"]
    command = ["cargo", "build", "--quiet", "--offline", *(word for each in source for word in ("--config", each))]
    subprocess.run(command, cwd=folder, env=os.environ | {"RUSTFLAGS": "-D warnings"}, check=True)
    return folder / "target" / "debug" / "candles"


def problems(program: Path, url: str) -> list[str]:
    """Run a program for a while, and return what is wrong with what it printed."""
    env = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    with subprocess.Popen(
        [str(program), url, ",".join(SYMBOLS), "1s"], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            printed, _ = process.communicate(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            printed, _ = process.communicate()
    found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for line in printed.splitlines():
        symbol, _, open_ms, close = line.split()
        found[symbol].append((int(open_ms), close))
    wrong = []
    for symbol in SYMBOLS:
        rows = found[symbol]
        if len(rows) < LEAST:
            wrong.append(f"{symbol}: {len(rows)} candles in {RUN_S:g} s")
            continue
        query = f"market=spot&symbols={symbol}&intervals=1s&start={rows[0][0]}&end={rows[-1][0]}"
        reply = httpx.get(f"{url}/v1/candles?{query}", trust_env=False).raise_for_status()
        if rows != [(row[0], row[4]) for row in reply.json()["series"][0]["rows"]]:
            wrong.append(f"{symbol}: not each candle once, as the daemon has it: {rows}")
    return wrong


def main() -> int:
    """Run all; return 1 if anything is wrong."""
    HOME.mkdir(parents=True, exist_ok=True)
    install()
    failed = False
    with sim() as exchange, daemon(exchange) as (url, _):
        for compiled in (compile_go, compile_rust):
            wrong = problems(compiled(), url)
            print(f"{compiled.__name__.removeprefix('compile_')}: {'; '.join(wrong) or 'as it should be'}", flush=True)
            failed |= bool(wrong)
    return failed


if __name__ == "__main__":
    sys.exit(main())
