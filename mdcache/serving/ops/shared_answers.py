"""Answers that take long to make: one at a time, shared by those that wait for the same one."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable


class SharedAnswers:
    """Makes answers in turns, so that a hundred requests at once hold the event loop no longer than two."""

    def __init__(self) -> None:
        self._turns = asyncio.Lock()
        self._begun = 0
        self._waiting = 0
        self._last: dict[Hashable, tuple[int, bytes]] = {}  # by question: its number, and its answer

    async def answer(self, question: Hashable, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return an answer that was begun after this call, for this caller or another."""
        asked = self._begun
        self._waiting += 1
        try:
            async with self._turns:
                begun, body = self._last.get(question, (0, b""))
                if begun > asked:
                    return body
                self._begun = begun = self._begun + 1
                body = await make()
                self._last[question] = begun, body
                return body
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._last.clear()
