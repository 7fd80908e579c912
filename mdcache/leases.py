"""What replicas agree on when one of them reads for all (docs/design.md#leases). Values only.

Rows and whole bodies are shared in different places, by the same rules: both ports, their adapters and the data path
speak of leases and of a store that is down in these words.
"""

from dataclasses import dataclass
from enum import StrEnum

LEASE_S = 3.0
LEASE_RENEWED_S = 1.0
ERROR_SHARED_S = 1.0  # docs/design.md#shared-errors
PULL_INTERVAL_S = 0.25  # while Binance can't be asked, every answer would pull
MAX_AHEAD_MS = 2_000  # what has an as-of further in the future is not applied


class SharedStoreDown(Exception):
    """The store that replicas share can't be reached. Everything works without it."""


class LeaseState(StrEnum):
    """Which replica may read, as the shared store sees it."""

    NONE = "nobody"  # no lease was asked for, or what is there makes the read unnecessary
    MINE = "mine"
    THEIRS = "theirs"
    FAILED = "failed"  # the holder's read met an error less than `ERROR_SHARED_S` ago


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to read something for all replicas. A request of a lower `rank` (a better lane) takes it over."""

    name: str
    holder: str
    rank: int
