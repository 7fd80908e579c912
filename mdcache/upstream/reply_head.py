"""The head of a reply: its status and headers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """A reply's status line and headers (names in lower case), as soon as they are read."""

    status: int
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """Return the first value of a header."""
        return next((value for key, value in self.headers if key == name), None)

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a header."""
        return tuple(value for key, value in self.headers if key == name)
