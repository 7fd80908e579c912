"""The frames that a client was given, as one JSON document on standard output: what `document.py` is for questions.

Imported by the scripts, which run in the clients' own environments: standard library only.
"""

import copy
import json
import sys
import time
from typing import Any


class Frames:
    """The frames of one run by topic, and what the client made of them by key, until a moment that the runner names."""

    def __init__(self) -> None:
        self.base: str = sys.argv[1]
        self.ws = "ws" + self.base.removeprefix("http")
        self._until = float(sys.argv[2])
        self._frames: dict[str, list[Any]] = {}
        self._states: dict[str, dict[str, Any]] = {}
        self._errors: list[str] = []

    @property
    def left_s(self) -> float:
        """How long to listen yet."""
        return max(0.0, self._until - time.time())

    def add(self, market: str, topic: str, frame: Any) -> None:
        """Keep a frame as the client gave it; a text is parsed."""
        self._frames.setdefault(f"{market} {topic}", []).append(json.loads(frame) if isinstance(frame, str) else frame)

    def combined(self, market: str, message: Any) -> None:
        """Keep a frame that names its topic; acknowledgements are none."""
        message = json.loads(message) if isinstance(message, str) else message
        if "stream" in message:
            self.add(market, message["stream"], message["data"])

    def state(self, name: str, key: object, value: Any) -> None:
        """Keep what the client said at some point of a topic, such as the best levels at an update."""
        self._states.setdefault(name, {})[str(key)] = copy.deepcopy(value)  # a book's levels change in place

    def error(self, what: object) -> None:
        """Keep what went wrong; the client goes on."""
        self._errors.append(f"{type(what).__name__}: {what}"[:300])

    def print(self) -> None:
        """The last line of standard output: clients may have printed before."""
        document = {"frames": self._frames, "states": self._states, "errors": self._errors}
        sys.stdout.write("\n" + json.dumps(document, default=str) + "\n")


def topic_of(frame: dict[str, Any]) -> str:
    """Name a frame that came without its topic."""
    kind, subject = frame.get("e", "?"), frame.get("s") or frame.get("ps", "")
    return f"{subject.lower()}@{kind}" + (f"_{frame['k']['i']}" if "k" in frame else "")
