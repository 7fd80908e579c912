"""What became of one client."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Outcome:
    """`left_out`: why it could not be installed here."""

    client: str
    version: str = ""
    left_out: str | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.left_out is None and not self.problems
