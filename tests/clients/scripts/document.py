"""What a client got, as one JSON document on standard output.

Imported by the scripts, which run in the clients' own environments: standard library only. The sections are
told apart by what the runner may expect of two runs: `settled` is equal, `open` is equal but for its newest row,
`live` has equal shape, `refused` raises equal errors.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any


class Document:
    """The answers of one run, by section and name; the base URL and the ranges are the script's arguments."""

    def __init__(self) -> None:
        self.base: str = sys.argv[1]
        self.ranges: dict[str, dict[str, Any]] = json.loads(sys.argv[2])
        self._sections: dict[str, dict[str, Any]] = {"settled": {}, "open": {}, "live": {}, "refused": {}}

    def ask(self, section: str, name: str, call: Callable[[], Any]) -> None:
        try:
            answer = {"got": plain(call())}
        except Exception as error:  # noqa: BLE001 - whatever the client makes of a refusal is what is compared
            answer = self._failed(error)
        self._sections[section][name] = answer

    async def ask_async(self, section: str, name: str, call: Callable[[], Awaitable[Any]]) -> None:
        try:
            answer = {"got": plain(await call())}
        except Exception as error:  # noqa: BLE001 - as above
            answer = self._failed(error)
        self._sections[section][name] = answer

    def print(self) -> None:
        """The last line of standard output: clients may have printed before."""
        sys.stdout.write("\n" + json.dumps(self._sections, default=str) + "\n")

    def _failed(self, error: Exception) -> dict[str, Any]:
        text = f"{type(error).__name__}: {error}"
        return {"failed": text.replace(self.base, "<base>").replace(self.base.split("//")[1], "<base>")}


def plain(value: Any) -> Any:
    """Convert to lists, dicts and scalars: models to their fields, generators to their items."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str | int | float | bool | None):
        return value
    for name in ("to_dict", "model_dump"):  # pydantic, in the official packages
        if hasattr(value, name):
            return plain(getattr(value, name)())
    if hasattr(value, "__struct_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if hasattr(value, "__iter__"):
        return [plain(item) for item in value]
    return str(value)


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """A body less what is another at each moment."""
    return {name: value for name, value in body.items() if name not in names}
