"""All errors, in one tree, by cause. `serving/errors.py` maps them to HTTP statuses.

    MdcacheError
     ├─ UpstreamUnavailable    Binance can't be asked now: an older answer may be served
     │   ├─ GateClosed         the family's gate is closed (429, 418, 403, 451, or repeated failures)
     │   └─ Busy               nothing is wrong, but there is no room
     │       ├─ BudgetSpent    this lane has no weight left in time
     │       ├─ LaneFull       too many reads are waiting already
     │       └─ DeadlinePassed the caller's time ran out in the queue
     ├─ UpstreamFailed         Binance was asked, and nothing usable came back
     │   ├─ TransportFailed    no reply: connect, read or protocol fault, time-out
     │   ├─ ServerFailed       a 5xx, or a status that no rule knows
     │   └─ InvalidBody        a 200 whose body is not what was asked for
     ├─ ClientLimited          this client asks too often, by our own limit
     ├─ NotCached              `only-if-cached` was sent, and there is no answer
     └─ Refusal                the question is wrong: what Binance itself would answer

Messages are for people; what a program needs is in fields.
"""

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Why there was no usable reply: a metrics label."""

    CONNECT = "connect"
    NETWORK = "network"
    OS = "os"
    POOL = "pool"
    PROTOCOL = "protocol"
    PROXY = "proxy"
    READ = "read"
    TIMEOUT = "timeout"
    TRANSPORT = "transport"
    URL = "url"
    WRITE = "write"
    BACKEND_TIMEOUT = "backend-timeout"
    SERVER_ERROR = "5xx"
    STATUS = "status"


class BodyFault(StrEnum):
    """What is wrong with a body of status 200: a metrics label."""

    CLOSE_TIME = "close-time"
    COLUMNS = "columns"
    EMPTY = "empty"
    ENCODING = "encoding"
    INTERVAL = "interval"
    LAGGING = "lagging"
    MISMATCH = "mismatch"
    MISSING_ROWS = "missing-rows"
    NO_PROGRESS = "no-progress"
    NOT_A_LIST = "not-a-list"
    NOT_EXCHANGE_INFO = "not-exchange-info"
    NOT_JSON = "not-json"
    NOT_ROWS = "not-rows"
    ORDER = "order"
    PRICES = "prices"
    TOO_LARGE = "too-large"
    TOO_MANY_ROWS = "too-many-rows"
    TYPES = "types"
    VOLUMES = "volumes"
    WINDOW = "window"


class MdcacheError(Exception):
    """Root of all errors this daemon raises on purpose."""


@dataclass(eq=False)
class UpstreamUnavailable(MdcacheError):
    """Binance can't be asked now.

    `retry_after_s`: seconds until asking again makes sense (fractional, at least 0). `cause`: one clause for the
    message, such as `banned (418)`.
    """

    retry_after_s: float
    cause: str

    def __str__(self) -> str:
        return self.cause


class GateClosed(UpstreamUnavailable):
    """The family's gate is closed for another `retry_after_s`."""


class Busy(UpstreamUnavailable):
    """Nothing is wrong, but there is no room for this read in time."""


class BudgetSpent(Busy):
    """The share of the weight limit that this lane may use is spent for longer than the caller waits."""


class LaneFull(Busy):
    """The maximum number of reads is waiting already."""


class DeadlinePassed(Busy):
    """The caller's time ran out before the read was sent or answered."""


@dataclass(eq=False)
class ClientLimited(MdcacheError):
    """This client has asked too often, by our own limit; `retry_after_s`: seconds until it may ask again."""

    retry_after_s: float


@dataclass(eq=False)
class UpstreamFailed(MdcacheError):
    """Binance was asked and nothing usable came back; `reason` is a metrics label, `detail` is for the log only."""

    reason: Fault | BodyFault
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class TransportFailed(UpstreamFailed):
    """No complete reply: connect, read, protocol fault or time-out."""


class ServerFailed(UpstreamFailed):
    """Binance answered 5xx (after the retries), or with a status no rule knows."""


class InvalidBody(UpstreamFailed):
    """Status 200 with a body that is not what was asked for; `reason` says what is wrong with it."""


class NotCached(MdcacheError):
    """The client sent `only-if-cached`, and there is no valid answer."""


@dataclass(eq=False)
class Refusal(MdcacheError):
    """What Binance itself would answer to this question: HTTP `status`, its `code` and `msg`.

    The one error with a status: it is part of Binance's answer, not our choice.
    """

    status: int
    code: int
    msg: str

    def __str__(self) -> str:
        return f"{self.code} {self.msg}"
