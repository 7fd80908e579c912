"""Compress blocks that were not used for ten minutes, to a quarter of their size, until they are used again.

Rule: docs/design.md#blocks.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from mdcache.background_work import cancel_all, supervise
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.block import BlockCodec
from mdcache.clock import Clock
from mdcache.events import BackgroundTask, Events

_IDLE_S = 600.0
_LOOK_EACH_S = 10.0
_GIVEN_BACK_BYTES = 8 << 20  # once so many were freed: a millisecond each time
_PAUSE_S = 0.02  # between blocks: even a thousand blocks that become idle at once use at most a tenth of one processor


class IdleBlocks:
    """Compresses idle blocks in the background.

    Args:
        registry: holds the blocks, and knows when they were last used.
        codec: compresses them.
        thread: does this, one block at a time.
        clock: measures the idle time.
        events: receives failures.
        give_memory_back: returns what compressing has freed to the system; called in `thread`.
    """

    def __init__(
        self,
        registry: SeriesRegistry,
        codec: BlockCodec,
        thread: Executor,
        clock: Clock,
        events: Events,
        give_memory_back: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._codec = codec
        self._thread = thread
        self._clock = clock
        self._events = events
        self._give_memory_back = give_memory_back
        self._freed = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to compress blocks that become idle."""
        self._task = supervise(BackgroundTask.IDLE_BLOCKS, self._run, self._clock, self._events)

    async def aclose(self) -> None:
        """Stop compressing."""
        await cancel_all(self._task)
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_LOOK_EACH_S)
            await self._compress_idle()

    async def _compress_idle(self) -> None:
        loop = asyncio.get_running_loop()
        while (found := self._registry.take_idle(self._clock.now() - _IDLE_S)) is not None:
            key, block = found
            payload = await loop.run_in_executor(self._thread, self._codec.encode, block)
            self._registry.compress(key, block, payload, self._codec)
            self._freed += block.nbytes - len(payload)
            if self._freed >= _GIVEN_BACK_BYTES:
                self._freed = 0
                await loop.run_in_executor(self._thread, self._give_memory_back)
            await self._clock.sleep(_PAUSE_S)
