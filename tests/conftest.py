"""Nothing of the machine's own environment reaches a test, and hypothesis has a profile for each job.

The default one draws the same examples each time: what a run says depends on the tree alone. The long one draws anew.
"""

import asyncio
import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

from tests.support.virtual_time import VirtualLoop

for _name in list(os.environ):
    if _name.upper().startswith("MDCACHE_") or _name.upper().endswith("_PROXY"):
        del os.environ[_name]

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="mdcache-tests-")  # daemons that tests start keep nothing
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

_slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
_every = settings(deadline=None, suppress_health_check=_slow, print_blob=True)
settings.register_profile("default", parent=_every, derandomize=True)
settings.register_profile("long", parent=_every, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests marked `virtual` in virtual time, all others on a real loop."""
    if item.get_closest_marker("virtual"):
        return {"virtual": VirtualLoop}
    return {"real": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def _untraced(request: pytest.FixtureRequest) -> Iterator[None]:
    tracing = Coverage.current() if request.node.get_closest_marker("untraced") else None
    if tracing is not None:
        tracing.stop()
    yield
    if tracing is not None:
        tracing.start()
