"""What a dashboard is made of here: boards of sections of panels of queries. Plain values, no Grafana in them.

Expressions are PromQL with Grafana's variables: `$__rate_interval`, and those of the board.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What must go wrong before a query shows anything above 0; the tests cause it in the simulated exchange."""

    BAN = "ban"  # 418: answers are marked, then refused; one gate is shut, and an alert fires
    FORBIDDEN = "forbidden"  # 403 from the firewall
    SERVER_ERROR = "server error"  # 5xx: a read is tried again
    BROKEN_BODY = "broken body"
    MORE_COLUMNS = "more columns"
    REVISION = "revision"
    WRONG_DATE = "wrong date"  # the exchange's `Date` header jumps


class Kind(StrEnum):
    """How a panel shows its queries."""

    LINES = "lines"
    STACKED = "stacked"
    NUMBER = "number"
    STATES = "states"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression; `legend` may name labels as `{{label}}`. `needs`: without that fault it shows nothing or 0.

    `bound`: it is what the others must stay below, and drawn dashed.
    """

    expr: str
    legend: str
    needs: Fault | None = None
    bound: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """From `value` on (`None`: from the beginning) a panel has this colour."""

    value: float | None
    color: str


@dataclass(frozen=True, slots=True)
class State:
    """What a number stands for in a panel of states."""

    value: int
    text: str
    color: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, `width` of 24 columns wide and `height` rows high; `about` is shown when the mouse rests on its i.

    `least` and `most`: the axis's ends, where they are fixed.
    """

    title: str
    about: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = Kind.LINES
    width: int = 8
    height: int = 8
    steps: tuple[Step, ...] = (Step(None, "text"),)
    states: tuple[State, ...] = ()
    least: float | None = 0
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the board's top: the values of `label` in the series that `selector` finds."""

    name: str
    label: str
    selector: str


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; `uid` is also the name of its file."""

    uid: str
    title: str
    about: str
    variables: tuple[Variable, ...]
    marks: Query
    sections: tuple[Section, ...]

    def panels(self) -> Iterator[Panel]:
        """All of them, in order."""
        for section in self.sections:
            yield from section.panels
