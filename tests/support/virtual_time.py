"""A loop whose time jumps: when nothing is left to do now, the next timer's moment is now.

Tests marked `virtual` run on it (`tests/conftest.py`); `run` is for the examples of hypothesis, a loop each.

`asyncio.sleep`, `call_later`, `asyncio.timeout` and everything built on them run in that time, so an hour of
polling takes as long as its computations. Real I/O must not be used in it.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from functools import wraps
from typing import Any, TypeVar

_T = TypeVar("_T")
_to_close: list[Callable[[], Awaitable[None]]] = []

EPOCH_MS = 1_793_795_371_858  # 2026-11-04T12:29:31.858Z: a Wednesday, mid-minute


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for `timeout`, moves the loop's time forward by it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout == 0:  # there is work to do: what other threads want is seen as soon as there is none
            return []
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:  # no timer and nothing ready: only another thread could wake us
            return super().select(1.0)
        self.seconds += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time; `time()` starts at 1,000 s."""

    def __init__(self) -> None:
        self._jump = _JumpingSelector()
        super().__init__(self._jump)

    def time(self) -> float:
        return 1_000.0 + self._jump.seconds

    def run_in_executor(self, executor: Executor | None, func: Callable[..., _T], *args: Any) -> asyncio.Future[_T]:  # type: ignore[override] # narrower
        """Run what is meant for a thread of the loop's own at once: time would jump on while it works."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        done: asyncio.Future[_T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - as an executor does
            done.set_exception(error)
        return done


class VirtualClock:
    """`mdcache.clock.Clock` on a `VirtualLoop`; its wall may be stepped, which `now()` never notices."""

    def __init__(self, wall_ms: int = EPOCH_MS) -> None:
        self._loop = asyncio.get_running_loop()
        if not isinstance(self._loop, VirtualLoop):
            raise TypeError("no virtual time on this loop: mark the test `virtual`")
        self._origin = self._loop.time()
        self._start_ms = wall_ms
        self.step_ms = 0

    def now(self) -> float:
        return self._loop.time()

    def wall_ms(self) -> int:
        return self.true_ms() + self.step_ms

    def true_ms(self) -> int:
        """The world's own time, which the exchange lives by."""
        return self._start_ms + int((self._loop.time() - self._origin) * 1000 + 1e-6)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


def close_at_end(close: Callable[[], Awaitable[None]]) -> None:
    """Call `close` when the test ends that runs now, the last one first."""
    _to_close.append(close)


def closing(test: Callable[..., Coroutine[Any, Any, _T]]) -> Callable[..., Coroutine[Any, Any, _T]]:
    """Return `test`, followed by all that it left to `close_at_end`."""

    @wraps(test)
    async def closed(*args: Any, **kwargs: Any) -> _T:
        try:
            return await test(*args, **kwargs)
        finally:
            while _to_close:
                await _to_close.pop()()

    return closed


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run `main` in a fresh world's time, close what it opened, and close its loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(closing(lambda: main)())
