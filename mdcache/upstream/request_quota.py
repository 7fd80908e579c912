"""Sliding-window limit on requests of paths that Binance limits by number, not by weight."""

from collections import deque

from mdcache.exchange.rate_limits import RequestBucket


class RequestQuota:
    """Our share of one bucket, divided by the number of replicas, each of which counts its own requests.

    It is not known whether Binance's window is fixed or sliding: a sliding one satisfies both.
    """

    def __init__(self, bucket: RequestBucket, share: float) -> None:
        self._window_s = bucket.window_s
        self._ours = bucket.requests * share
        self._sent_s: deque[float] = deque()

    def take(self, now_s: float, replicas: int = 1) -> float:
        """Count a request sent at `now_s` and return 0; if it is one too many, return the seconds until it fits."""
        while self._sent_s and self._sent_s[0] <= now_s - self._window_s:
            self._sent_s.popleft()
        if len(self._sent_s) >= max(1, int(self._ours / replicas)):
            return self._sent_s[0] + self._window_s - now_s
        self._sent_s.append(now_s)
        return 0.0
