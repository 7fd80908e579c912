"""Prometheus' own programs, from Debian's package."""

import subprocess
from functools import cache

from bench.processes import need

INSTALL_TIMEOUT_S = 400  # for a test that may be the first to need them


@cache
def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; installed where it is missing and may be, else this fails."""
    try:
        return need(name, "prometheus")
    except (SystemExit, subprocess.CalledProcessError) as error:
        raise AssertionError(f"the tests need Debian's package prometheus: {error}") from error


def promtool(*arguments: str, page: str = "") -> subprocess.CompletedProcess[str]:
    """What `promtool` says; `page` is its standard input."""
    return subprocess.run(
        [program("promtool"), *arguments], input=page, capture_output=True, text=True, check=False, timeout=60
    )
