"""Leases: the right of one replica to read for all of them (docs/design.md#leases). Values only.

Rows and whole bodies are shared by the same rules; their ports and adapters, and the data path, use these types.
"""

from dataclasses import dataclass
from enum import StrEnum

LEASE_S = 3.0
LEASE_RENEWED_S = 1.0
ERROR_SHARED_S = 1.0  # docs/design.md#shared-errors
PULL_INTERVAL_S = 0.25  # while Binance can't be asked, every answer would pull
MAX_AHEAD_MS = 2_000  # data with an as-of further in the future is not applied


class SharedStoreDown(Exception):
    """The store that replicas share can't be reached. Everything works without it."""


class LeaseState(StrEnum):
    """Which replica may read, as the shared store sees it."""

    NONE = "nobody"  # no lease was requested, or what is stored makes the read unnecessary
    MINE = "mine"
    THEIRS = "theirs"
    FAILED = "failed"  # the holder's read failed less than `ERROR_SHARED_S` ago


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to read something for all replicas. A request of a lower `rank` (a better lane) takes it over."""

    name: str
    holder: str
    rank: int
