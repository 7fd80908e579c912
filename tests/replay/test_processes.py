"""The processes that `mdcache replay` starts end with it, however it ends."""

import subprocess
import sys

import httpx
import pytest

from tests.support.waiting import eventually

SCRIPT = """
import time
from mdcache.replay.processes import sim
with sim() as url:
    print(url, flush=True)
    time.sleep(600)
"""


@pytest.mark.processes
def test_they_end_if_the_process_that_started_them_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert answers(url)
        process.kill()
        eventually(lambda: not answers(url))


def answers(url: str) -> bool:
    try:
        httpx.get(f"{url}/_sim/", trust_env=False)
    except httpx.TransportError:
        return False
    return True
