"""Nothing of the machine's own environment reaches a test, and hypothesis has a profile for each job.

The default one draws the same examples each time: what a run says depends on the tree alone. The long one draws anew.
Without `--exhaustive`, a quarter of the default's is drawn.
"""

import asyncio
import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from inspect import iscoroutinefunction
from pathlib import Path

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

from tests.support.virtual_time import VirtualLoop, closing

for _name in list(os.environ):
    if _name.upper().startswith("MDCACHE_") or _name.upper().endswith("_PROXY"):
        del os.environ[_name]

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="mdcache-tests-")  # daemons that tests start keep nothing
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

_slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
_every = settings(deadline=None, suppress_health_check=_slow, print_blob=True)
settings.register_profile("default", parent=_every, derandomize=True)
settings.register_profile("quick", parent=_every, derandomize=True, max_examples=25)
settings.register_profile("long", parent=_every, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# Files that take longest: else one of them would run alone at the end.
_LONGEST = {("system", "test_histories.py"), ("replicas", "test_faults.py"), ("deploy", "test_listeners.py")}
gc.set_threshold(50_000, 20, 100)  # about as rarely as the daemon

_refused: list[str] = []  # the test that runs, unless it may start processes


def _audit(event: str, _arguments: tuple[object, ...]) -> None:
    if _refused and event in {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty"}:
        raise AssertionError(f"{_refused[0]} starts a process: mark it `processes`")


sys.addaudithook(_audit)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer models at their full size and tests with all their seeds; `make test` and `make test-long` ask for it."""
    parser.addoption("--exhaustive", action="store_true", help="models at their full size, and tests with all seeds")


# What measures this process, unless it is the first of those that all collect the same tests.
_measured_elsewhere = Coverage.current() if os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0" else None


def pytest_configure(config: pytest.Config) -> None:
    """Have hypothesis draw few examples in the inner loop; measure in one process alone what collecting runs."""
    if not config.getoption("exhaustive") and "HYPOTHESIS_PROFILE" not in os.environ:
        settings.load_profile("quick")
    if _measured_elsewhere:
        _measured_elsewhere.stop()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, where no test may start a process, the file of such tests that takes three seconds to collect."""
    slow = collection_path.name == "test_schemathesis.py"
    return True if slow and config.option.markexpr == "not processes" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked `long` unless `-m` speaks of them, and `exhaustive` ones without the option.

    In virtual time, close what a test opened when it ends.
    """
    names = [] if "long" in config.option.markexpr else ["long"]
    names += [] if config.getoption("exhaustive") else ["exhaustive"]
    left_out = {item for item in items if any(item.get_closest_marker(name) for name in names)}
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: item.path.parts[-2:] not in _LONGEST)
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("virtual") and iscoroutinefunction(item.obj):
            item.obj = closing(item.obj)


def pytest_collection_finish() -> None:
    """Let no garbage collection scan what was collected for the whole run: that took a seventh of the time."""
    gc.collect()
    gc.freeze()
    if _measured_elsewhere:
        _measured_elsewhere.start()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let only tests marked `processes` start any; measure nothing of those marked `untraced`, nor their processes.

    Nor of those marked `exhaustive`, which show more of what others show, and would take more than twice as long.
    """
    if item.get_closest_marker("processes") is None:
        _refused.append(item.nodeid)
    untraced = any(item.get_closest_marker(name) for name in ("untraced", "exhaustive"))
    tracing = Coverage.current() if untraced else None
    inherited = os.environ.pop("COVERAGE_PROCESS_CONFIG", None) if tracing else None
    if tracing:
        tracing.stop()
    try:
        return (yield)
    finally:
        _refused.clear()
        if tracing:
            tracing.start()
        if inherited is not None:
            os.environ["COVERAGE_PROCESS_CONFIG"] = inherited


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests marked `virtual` in virtual time, all others on a real loop."""
    if item.get_closest_marker("virtual"):
        return {"virtual": VirtualLoop}
    return {"real": asyncio.new_event_loop}
