"""Which path of a market's streams brings frames (docs/binance.md#stream-connections). Pure."""

import math

_KEPT_S = 600.0


class PathChoice:
    """The paths of a market, of which one works. `current`: the one to connect to."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._paths = paths
        self.current = paths[0]
        self._proven_s = -math.inf

    def record_frames(self, path: str, now_s: float) -> None:
        """Record that candles come on `path`: it is remembered."""
        self.current, self._proven_s = path, now_s

    def record_silence(self, path: str, now_s: float) -> None:
        """Record that a connection to `path` had no candles; try the next path unless this one worked lately."""
        if path == self.current and not self.known(now_s):
            self.current = self._paths[(self._paths.index(path) + 1) % len(self._paths)]

    def known(self, now_s: float) -> bool:
        """Return whether there is nothing to be found out."""
        return len(self._paths) == 1 or now_s - self._proven_s < _KEPT_S
