"""A ticket: one attempt of a read at the desk, from the queue to its outcome."""

import asyncio
from dataclasses import dataclass
from typing import Any

from mdcache.upstream.budget import Reservation
from mdcache.upstream.models import Fetchable, UpstreamReply, UpstreamRequest
from mdcache.upstream.queue import QueueEntry


@dataclass(slots=True, eq=False)
class QueuedRead:
    """A read, and who waits for it since `since_s`. What is `None` is set when it is granted.

    `done`: weight that all replicas had an answer to by then, in the minute it was sent in; `None`: unknown.
    """

    read: Fetchable[Any]
    future: asyncio.Future[UpstreamReply]
    queued_at_s: float
    entry: QueueEntry["QueuedRead"] | None = None
    request: UpstreamRequest | None = None
    reservation: Reservation | None = None
    epoch: int = 0
    done: int | None = None
