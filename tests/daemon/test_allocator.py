"""What is freed goes back to the system, in a process of its own."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

SCRIPT = """
import ctypes, sys, threading
from mdcache.daemon.allocator import give_memory_back, share_one_heap

if not hasattr(ctypes.CDLL(None), "mallopt"):
    sys.exit("no glibc")
share_one_heap()


def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def fill(held):
    held += [bytes([n % 256]) * 60_000 if n % 2 else bytearray(1_000) for n in range(2_000)]

before, held = resident(), []
threads = [threading.Thread(target=fill, args=(held,)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
full = resident() - before
held[:] = [each for each in held if len(each) == 1_000]  # what lives on lies between what does not
left = resident() - before
give_memory_back()
print(full // 1_000_000, left // 1_000_000, (resident() - before) // 1_000_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own options")
def test_what_is_freed_between_what_is_held_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    if "no glibc" in done.stderr:
        pytest.skip("another C library")
    full, before, after = map(int, done.stdout.split())
    assert full >= 200
    assert before >= 100, "the system's allocator gives it back by itself: this module is not needed any more"
    assert after <= 30
