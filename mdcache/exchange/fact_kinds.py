"""What the value of a measured fact may be, and whether it agrees with what is assumed. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

FactValue = bool | int | str | Mapping[str, int]

ACCEPTED = "accepted"  # of a question that is answered, not refused
_REFUSED = re.compile(r"-[0-9]{1,5} [^\x00-\x1f\x7f]{1,200}")
_MAX_NAMES = 64


class FactKind(Protocol):
    """The bounds of a fact's value."""

    def fault(self, value: object) -> str | None:
        """Return what is wrong with a value, as the end of a sentence; `None` if it is valid."""

    def agrees(self, assumed: FactValue, seen: FactValue) -> bool:
        """Return whether a valid value bears out the assumption."""


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    def fault(self, value: object) -> str | None:
        """Return what is wrong with a value, if anything."""
        return None if isinstance(value, bool) else "is neither true nor false"

    def agrees(self, assumed: FactValue, seen: FactValue) -> bool:
        """Return whether both are the same."""
        return assumed == seen


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds. `slack`: how far from the assumed one agrees; `at_most`: so does all below."""

    least: int
    most: int
    slack: int = 0
    at_most: bool = False

    def fault(self, value: object) -> str | None:
        """Return what is wrong with a value, if anything."""
        if not isinstance(value, int) or isinstance(value, bool):
            return "is not a whole number"
        return None if self.least <= value <= self.most else f"is not in {self.least} to {self.most}"

    def agrees(self, assumed: FactValue, seen: FactValue) -> bool:
        """Return whether the value is as assumed, within the slack."""
        if not isinstance(assumed, int) or not isinstance(seen, int):
            return False
        return seen <= assumed + self.slack and (self.at_most or seen >= assumed - self.slack)


@dataclass(frozen=True, slots=True)
class Choice:
    """One word of a closed set."""

    choices: tuple[str, ...]

    def fault(self, value: object) -> str | None:
        """Return what is wrong with a value, if anything."""
        return None if value in self.choices else f"is none of {', '.join(self.choices)}"

    def agrees(self, assumed: FactValue, seen: FactValue) -> bool:
        """Return whether both are the same."""
        return assumed == seen


@dataclass(frozen=True, slots=True)
class Order:
    """Words of a closed set in an order, joined by spaces; those whose place is unknown are left out."""

    words: tuple[str, ...]

    def fault(self, value: object) -> str | None:
        """Return what is wrong with a value, if anything."""
        if not isinstance(value, str):
            return "is not a text"
        found = value.split(" ")
        known = len(set(found)) == len(found) and set(found) <= set(self.words)
        return None if known else f"is not an order of {' '.join(self.words)}"

    def agrees(self, assumed: FactValue, seen: FactValue) -> bool:
        """Return whether the words seen come in the assumed order."""
        if not isinstance(assumed, str) or not isinstance(seen, str):
            return False
        found = seen.split(" ")
        return [word for word in assumed.split(" ") if word in found] == found


@dataclass(frozen=True, slots=True)
class CodeAndText:
    """How a question is answered: `accepted`, or a refusal's code and text (`-1121 Invalid symbol.`)."""

    def fault(self, value: object) -> str | None:
        """Return what is wrong with a value, if anything."""
        good = isinstance(value, str) and (value == ACCEPTED or _REFUSED.fullmatch(value) is not None)
        return None if good else "is neither 'accepted' nor a code and a text"

    def agrees(self, assumed: FactValue, seen: FactValue) -> bool:
        """Return whether code and text are the same."""
        return assumed == seen


@dataclass(frozen=True, slots=True)
class Numbers:
    """A small map of names to whole numbers; it agrees if each of them is as assumed.

    `names`: a pattern of the names. An empty map assumes nothing, so that every value agrees.
    """

    names: str
    least: int
    most: int

    def fault(self, value: object) -> str | None:
        """Return what is wrong with a value, if anything."""
        if not isinstance(value, Mapping) or not 0 < len(value) <= _MAX_NAMES:
            return f"is not a map of 1 to {_MAX_NAMES} names"
        if not all(isinstance(name, str) and re.fullmatch(self.names, name) for name in value):
            return f"has a name that is not {self.names}"
        whole = Whole(self.least, self.most)
        return next((f"has a value that {fault}" for fault in map(whole.fault, value.values()) if fault), None)

    def agrees(self, assumed: FactValue, seen: FactValue) -> bool:
        """Return whether all that was seen is as assumed."""
        if not isinstance(assumed, Mapping) or not isinstance(seen, Mapping):
            return False
        return not assumed or all(assumed.get(name) == number for name, number in seen.items())


@dataclass(frozen=True, slots=True)
class WeightSteps:
    """Weights by `limit`, which don't fall as limits rise; assumed ones by the highest limit that each is for."""

    most_limit: int
    most_weight: int

    def fault(self, value: object) -> str | None:
        """Return what is wrong with a value, if anything."""
        fault = Numbers("[1-9][0-9]{0,3}", 0, self.most_weight).fault(value)
        if fault is not None or not isinstance(value, Mapping):
            return fault
        steps = weight_steps(value)
        if steps[-1][0] > self.most_limit:
            return f"has a limit over {self.most_limit}"
        weights = [weight for _, weight in steps]
        return None if weights == sorted(weights) else "has weights that fall while limits rise"

    def agrees(self, assumed: FactValue, seen: FactValue) -> bool:
        """Return whether each limit that was asked for weighs as assumed."""
        if not isinstance(assumed, Mapping) or not isinstance(seen, Mapping):
            return False
        steps = weight_steps(assumed)
        return all(weight_of(steps, limit) == weight for limit, weight in weight_steps(seen))


def weight_steps(value: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """Return the steps (up to this limit, this weight) of a map, in rising order."""
    return tuple(sorted((int(limit), weight) for limit, weight in value.items()))


def weight_of(steps: tuple[tuple[int, int], ...], limit: int) -> int:
    """Return the weight of a question with this limit; the last step's beyond it."""
    return next((weight for top, weight in steps if limit <= top), steps[-1][1])
