"""Copying: what a read of a whole answer asks of the other replicas, and the replica that has none."""

from typing import Protocol

from mdcache.cache.replicas.leases import LeasableRead
from mdcache.upstream.replicas.shared_bodies import SharedBody


class BodyRead(LeasableRead, Protocol):
    """A read, as the replicas see it.

    `held_ms`: as-of of what is here, -1 for nothing; `life_s`: how long a copy is of use.
    """

    held_as_of_ms: int
    max_age_s: float

    @property
    def name(self) -> str:
        """What it reads, the same on every replica."""
        ...

    async def apply(self, copy: SharedBody) -> None:
        """Take in what another replica read; raises `InvalidBody` if it is not what this one reads."""
        ...


class BodySharing(Protocol):
    """The other replicas."""

    async def satisfied_by_peers(self, read: BodyRead) -> bool:
        """Have `read` adopt what they know, and wait where another reads; whether nothing is left to read."""
        ...

    async def pull(self, read: BodyRead) -> bool:
        """Have `read` adopt what they know, to answer without reading; whether that was news."""
        ...

    def finished(self, read: BodyRead, result: SharedBody | None, error: BaseException | None) -> None:
        """The read ended: tell the others, behind the answer."""
        ...

    async def purge(self) -> None:
        """Forget all copies."""
        ...

    async def aclose(self) -> None:
        """Tell what is not told yet."""
        ...


class NoBodySharing:
    """There are no other replicas."""

    async def satisfied_by_peers(self, read: BodyRead) -> bool:  # noqa: ARG002 - the port's form
        """Nobody else knows."""
        return False

    async def pull(self, read: BodyRead) -> bool:  # noqa: ARG002
        """Nobody knows."""
        return False

    def finished(self, read: BodyRead, result: SharedBody | None, error: BaseException | None) -> None:
        """Nobody waits."""

    async def purge(self) -> None:
        """Nobody else has anything."""

    async def aclose(self) -> None:
        """Nothing to tell."""
