"""Replies and their headers, as captured from Binance (docs/binance.md#usage-headers, #response-headers)."""

from dataclasses import dataclass
from email.utils import formatdate

from mdcache.sim.config import Market

Headers = tuple[tuple[str, str], ...]

JSON_TYPE: dict[Market, str] = {
    "spot": "application/json;charset=UTF-8",
    "usdm": "application/json",
    "coinm": "application/json",
}
_SPOT_HEADERS: Headers = (
    ("Server", "nginx"),
    ("Strict-Transport-Security", "max-age=31536000; includeSubdomains"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Xss-Protection", "1; mode=block"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'self'"),
    ("X-Content-Security-Policy", "default-src 'self'"),
    ("X-WebKit-CSP", "default-src 'self'"),
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
    ("Expires", "0"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
    ("X-Cache", "Miss from cloudfront"),
    ("Via", "1.1 51a1.cloudfront.net (CloudFront)"),
    ("X-Amz-Cf-Pop", "YTO50-P2"),
)
_FUTURES_HEADERS: Headers = (
    ("Server", "nginx"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Response-Time", "0ms"),
    ("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS"),
)
EDGE_HEADERS: Headers = (
    ("Server", "CloudFront"),
    ("X-Cache", "Error from cloudfront"),
    ("Via", "1.1 51a1.cloudfront.net (CloudFront)"),
    ("X-Amz-Cf-Pop", "YTO50-P2"),
)


@dataclass(frozen=True, slots=True)
class ExchangeReply:
    """A reply, without `Content-Length`, which the sender adds.

    `delay_after_s`: how long the sender waits before sending it.
    `fault`: "timeout" (never answer), "drop" (close without a byte), "truncate" (close in the middle).
    `bytes_s`: how many bytes of the body are sent in a second (`None`: all at once).
    """

    status: int
    headers: Headers
    body: bytes
    delay_after_s: float = 0.0
    fault: str | None = None
    bytes_s: int | None = None


def date_header(at_ms: int, skew_s: float) -> tuple[str, str]:
    """Return `Date`, by a clock that is ahead by `skew_s`."""
    return ("Date", formatdate(at_ms / 1000 + skew_s, usegmt=True))


def usage_headers(market: Market, shown: int | None) -> Headers:
    """Return the used weight of this minute: two headers on spot, one on futures; none if `shown` is `None`."""
    if shown is None:
        return ()
    now = ("x-mbx-used-weight-1m", str(shown))
    return (("x-mbx-used-weight", str(shown)), now) if market == "spot" else (now,)


def usual_headers(market: Market, request_id: str) -> Headers:
    """Return the headers that every reply of a market has, beside date, type and usage."""
    return (("x-mbx-uuid", request_id), *_SPOT_HEADERS) if market == "spot" else _FUTURES_HEADERS
