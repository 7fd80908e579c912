"""A ticket: one attempt of a read at the desk, from the queue to its outcome."""

import asyncio
from dataclasses import dataclass
from typing import Any

from mdcache.upstream.budget import Charge
from mdcache.upstream.lanes import Place
from mdcache.upstream.reads import Read, Reply, Wire


@dataclass(slots=True, eq=False)
class Ticket:
    """A read, and who waits for it since `since_s`. What is `None` is set when it is granted.

    `done`: weight that all replicas had an answer to by then, in the minute it was sent in; `None`: unknown.
    """

    read: Read[Any]
    future: asyncio.Future[Reply]
    since_s: float
    place: Place["Ticket"] | None = None
    wire: Wire | None = None
    charge: Charge | None = None
    epoch: int = 0
    done: int | None = None
