"""Processes inside one event loop: the tasks of one end with it, and none is started for it afterwards."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from typing import Any, ParamSpec, TypeVar

_T = TypeVar("_T")
_P = ParamSpec("_P")
_of_task: contextvars.ContextVar["Life | None"] = contextvars.ContextVar("life", default=None)


class Life:
    """One process, from its start to its end. `ended`: nothing of it reaches anybody any more."""

    def __init__(self) -> None:
        self.ended = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self._context = contextvars.copy_context()
        self._context.run(_of_task.set, self)

    def run(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call something of the process: tasks that it starts belong to it."""
        return self._context.copy().run(call, *args, **kwargs)

    def bound(self, call: Callable[_P, _T]) -> Callable[_P, _T]:
        """Return what calls something of the process."""

        def called(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            return self.run(call, *args, **kwargs)

        return called

    def task(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Start a task of the process."""
        return asyncio.get_running_loop().create_task(work, context=self._context.copy())

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Take a new task for one of the process; after its end there are no new ones."""
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        if self.ended:
            task.cancel()

    async def end(self) -> None:
        """End the process at once, wherever its tasks are."""
        self.ended = True
        while self.tasks:
            for task in self.tasks:
                task.cancel()
            await asyncio.sleep(0)


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _T] | Generator[Any, None, _T], **options: Any
) -> asyncio.Task[_T]:
    context: contextvars.Context | None = options.get("context")
    life = _of_task.get() if context is None else context.get(_of_task)
    task: asyncio.Task[_T] = asyncio.Task(work, loop=loop, **options)
    if life is not None:
        life.adopt(task)
    return task


def tell_processes_apart() -> None:
    """Have each task of the running loop belong to the process that starts it."""
    asyncio.get_running_loop().set_task_factory(_make_task)
