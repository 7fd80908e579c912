"""How many requests of a counted path may still be sent: Binance limits some by number, not by weight."""

from collections import deque

from mdcache.exchange.rate_limits import RequestBucket


class RequestQuota:
    """Our share of one bucket, and of that the part of one of several replicas, which each count their own.

    Whether Binance's window is fixed or slides is not known: a sliding one keeps both.
    """

    def __init__(self, bucket: RequestBucket, share: float) -> None:
        self._window_s = bucket.window_s
        self._ours = bucket.requests * share
        self._sent_s: deque[float] = deque()

    def take(self, now_s: float, replicas: int = 1) -> float:
        """Count one sent at `now_s` and return 0; or, where that would be one too many, the seconds until it fits."""
        while self._sent_s and self._sent_s[0] <= now_s - self._window_s:
            self._sent_s.popleft()
        if len(self._sent_s) >= max(1, int(self._ours / replicas)):
            return self._sent_s[0] + self._window_s - now_s
        self._sent_s.append(now_s)
        return 0.0
