"""Predecessors: replicas that ran in this one's place before. What they spent counts once.

Our disk has it, and so has the ledger, under their names: the ledger is told only what it has not.
"""

from dataclasses import replace

from mdcache.upstream.budget import Budget, Minute
from mdcache.upstream.replicas.protocol import Answer, Ask

_Lanes = tuple[int, ...]


class Predecessors:
    """`names`: those that are to be told as gone; none once that is said, and what they spent is long past."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._by_disk: dict[int, _Lanes] = {}
        self._by_ledger: dict[int, _Lanes] = {}

    def spent(self, revived: Budget) -> None:
        """What they spent, by our disk: all that was spent so far."""
        if self.names:
            self._by_disk = {count.number: count.lanes for count in revived.minutes if count.ours}

    def untold(self, count: Minute, *, trusts: bool) -> Minute:
        """What the ledger is told of a minute: all but what it has of theirs.

        `trusts`: whether it is told so that it may count on it; else rather too little, once.
        """
        spent = self._by_disk.get(count.number)
        if spent is None:
            return count
        if any(has < was for has, was in zip(count.lanes, spent, strict=True)):  # the clock was put right
            del self._by_disk[count.number]
            return count
        has = self._by_ledger.get(count.number, (0,) * len(spent) if trusts else spent)
        known = map(min, spent, has)
        return replace(count, lanes=tuple(ours - theirs for ours, theirs in zip(count.lanes, known, strict=True)))

    def answered(self, ask: Ask, answer: Answer) -> None:
        """What they spent, by the ledger. They are told again until our time is sure: only then all of it is heard."""
        self._by_ledger = {told.minute: told.before for told in answer.told}
        if ask.sure and all(minute < ask.tallies[0].minute for minute in self._by_disk):
            self.names = ()
