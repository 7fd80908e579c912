"""What the client raises."""


class ClientError(Exception):
    """Root of all errors of this client."""


class StaleData(ClientError):
    """There is data, but older than `max_age_s` allows: don't trade on it. `age_s`: how old it may be by now."""

    def __init__(self, age_s: float, max_age_s: float) -> None:
        super().__init__(f"the data is up to {age_s:.1f} s old, and may be {max_age_s:g} s")
        self.age_s = age_s


class Unavailable(ClientError):
    """There is no answer now, from Binance or from mdcache. `retry_after_s`: when asking again makes sense."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refused(ClientError):
    """The question is wrong. `code`: Binance's, or what mdcache uses in its place."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
