"""What Redis runs in one step: Lua, one file a step; nothing of it waits, and all its keys have one hash tag."""

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from mdcache.stores.redis.url import ForeignClient


@dataclass(frozen=True, slots=True)
class Script:
    """One of the files, known to Redis by its digest once it was sent whole."""

    source: bytes
    digest: str

    async def run(self, client: ForeignClient, keys: list[str], args: list[bytes | str | int]) -> Any:  # noqa: ANN401 - as Lua
        """What it returns."""
        try:
            return await client.evalsha(self.digest, len(keys), *keys, *args)
        except NoScriptError:
            return await client.eval(self.source, len(keys), *keys, *args)


def load(*names: str) -> Script:
    """The script that these files are, one after the other."""
    source = b"".join(files(__package__).joinpath(f"{name}.lua").read_bytes() for name in names)
    return Script(source, sha1(source, usedforsecurity=False).hexdigest())  # what EVALSHA goes by
