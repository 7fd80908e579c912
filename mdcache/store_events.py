"""What happens in the stores outside memory, as `events` describes."""

from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """A store outside memory."""

    DISK = "disk"
    REDIS = "redis"


class StoreOp(StrEnum):
    """The operations of stores."""

    OPEN = "open"
    LOAD = "load"
    WRITE = "write"
    PURGE = "purge"
    GATE = "gate"
    CONNECT = "connect"
    SYMBOLS = "symbols"
    DRAW = "draw"
    PULL = "pull"
    PUSH = "push"
    RENEW = "renew"
    RELEASE = "release"
    SCAN = "scan"
    LIST_PURGES = "list_purges"
    SUBSCRIBE = "subscribe"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class TierUsed:
    """A store operation ended, with or without success."""

    tier: Tier
    op: StoreOp
    seconds: float


@dataclass(frozen=True, slots=True)
class TierFailed:
    """A store operation failed; `lost`: it found damaged data, which will be read from Binance again."""

    tier: Tier
    op: StoreOp
    detail: str
    lost: bool


@dataclass(frozen=True, slots=True)
class TierStateChanged:
    """A store is `down`, for the cause in `detail`, or `ok` again."""

    tier: Tier
    state: str
    detail: str


StoreEvent = TierUsed | TierFailed | TierStateChanged
