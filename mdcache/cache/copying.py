"""Copying: what a read of a whole answer asks of the other replicas, and the replica that has none."""

from typing import Protocol

from mdcache.cache.leases import Leasable
from mdcache.upstream.copies import Copy


class Copied(Leasable, Protocol):
    """A read, as the replicas see it.

    `held_ms`: as-of of what is here, -1 for nothing; `life_s`: how long a copy is of use.
    """

    held_ms: int
    life_s: float

    @property
    def name(self) -> str:
        """What it reads, the same on every replica."""
        ...

    async def adopt(self, copy: Copy) -> None:
        """Take in what another replica read; raises `BrokenBody` if it is not what this one reads."""
        ...


class Copying(Protocol):
    """The other replicas."""

    async def spares(self, read: Copied) -> bool:
        """Have `read` adopt what they know, and wait where another reads; whether nothing is left to read."""
        ...

    async def look(self, read: Copied) -> bool:
        """Have `read` adopt what they know, to answer without reading; whether that was news."""
        ...

    def landed(self, read: Copied, brought: Copy | None, error: BaseException | None) -> None:
        """The read ended: tell the others, behind the answer."""
        ...

    async def purge(self) -> None:
        """Forget all copies."""
        ...

    async def aclose(self) -> None:
        """Tell what is not told yet."""
        ...


class Single:
    """There are no other replicas."""

    async def spares(self, read: Copied) -> bool:  # noqa: ARG002 - the port's form
        """Nobody else knows."""
        return False

    async def look(self, read: Copied) -> bool:  # noqa: ARG002
        """Nobody knows."""
        return False

    def landed(self, read: Copied, brought: Copy | None, error: BaseException | None) -> None:
        """Nobody waits."""

    async def purge(self) -> None:
        """Nobody else has anything."""

    async def aclose(self) -> None:
        """Nothing to tell."""
