"""Nothing of the machine's own environment reaches a test, and hypothesis has a profile for each job."""

import atexit
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings

for _name in list(os.environ):
    if _name.upper().startswith("MDCACHE_") or _name.upper().endswith("_PROXY"):
        del os.environ[_name]

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="mdcache-tests-")  # daemons that tests start keep nothing
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

_slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("default", deadline=None, suppress_health_check=_slow, print_blob=True)
settings.register_profile("long", parent=settings.get_profile("default"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
