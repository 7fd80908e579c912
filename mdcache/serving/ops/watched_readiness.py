"""Readiness as `/readyz` states it, and whether a balancer listens to it (docs/design.md#clean-ends)."""

from collections.abc import Callable

from mdcache.clock import Clock
from mdcache.serving.ports import Readiness

_WATCHED_S = 30.0  # balancers ask each second, Kubernetes by default each ten
_STOPPING = Readiness(reasons=("mdcache is shutting down",))


class WatchedReadiness:
    """Whether the daemon is ready: as `source` says, until it stops."""

    def __init__(self, source: Callable[[], Readiness], clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._asked_s: float | None = None
        self._stopping = False

    def __call__(self) -> Readiness:
        """Return whether it is ready."""
        return _STOPPING if self._stopping else self._source()

    def ask(self) -> Readiness:
        """Return the same to a balancer, and remember that there is one."""
        self._asked_s = self._clock.now()
        return self()

    def stop(self) -> bool:
        """Be ready no more; return whether a balancer will notice."""
        self._stopping = True
        return self._asked_s is not None and self._clock.now() - self._asked_s < _WATCHED_S
