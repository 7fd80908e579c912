"""Shared by the stores of rows and of bodies: run scripts, work in a thread, renew and end leases."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from mdcache.leases import ERROR_SHARED_S, LEASE_S, Lease, SharedStoreDown
from mdcache.store_events import StoreOp
from mdcache.stores.redis.channel import Channel
from mdcache.stores.redis.client import RedisClient, RedisDown
from mdcache.stores.redis.scripts import Script, load

Arguments = list[bytes | str | int]
_T = TypeVar("_T")


class Calls:
    """Calls through `client`; CPU-bound work is done in `thread`."""

    def __init__(self, client: RedisClient, channel: Channel, thread: Executor) -> None:
        self._client = client
        self._channel = channel
        self._thread = thread
        self._renew, self._release = load("renew"), load("release")

    async def run(self, op: StoreOp, script: Script, keys: list[str], args: Arguments) -> Any:  # noqa: ANN401 - as Lua
        """Run a script and return its result; raise `SharedStoreDown` if Redis can't be asked."""
        try:
            return await self._client.call(op, lambda client: script.run(client, keys, args))
        except RedisDown as error:
            raise SharedStoreDown(str(error)) from error

    async def in_thread(self, work: Callable[..., _T], *args: object) -> _T:
        """Run `work` in the thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    async def renew(self, key: str, lease: Lease) -> bool:
        """Extend the lease by `LEASE_S`; return whether it was still ours."""
        return bool(await self.run(StoreOp.RENEW, self._renew, [key], [lease_value(lease), milliseconds(LEASE_S)]))

    async def release(self, key: str, waiting_key: str, lease: Lease, error: str, message: bytes) -> None:
        """End the lease at once; publish `message` to waiting replicas, and keep an `error` for them for a second."""
        args: Arguments = [lease_value(lease), error, milliseconds(ERROR_SHARED_S), self._channel.name, message]
        await self.run(StoreOp.RELEASE, self._release, [key, waiting_key], args)

    def end(self) -> None:
        """End the thread. The client is closed by its owner."""
        self._thread.shutdown(wait=False)


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, as Redis expects them."""
    return round(seconds * 1000)


def lease_value(lease: Lease | None) -> str:
    """Return a lease as the scripts write it; empty if there is none."""
    return f"{lease.rank} {lease.holder}" if lease is not None else ""
