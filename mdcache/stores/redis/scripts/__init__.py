"""The Lua scripts that Redis runs atomically, one file each; none blocks, and its keys have one hash tag."""

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from mdcache.stores.redis.url import ForeignClient


@dataclass(frozen=True, slots=True)
class Script:
    """One script, which Redis knows by its digest once its source was sent."""

    source: bytes
    digest: str

    async def run(self, client: ForeignClient, keys: list[str], args: list[bytes | str | int]) -> Any:  # noqa: ANN401 - as Lua
        """Run it and return its result."""
        try:
            return await client.evalsha(self.digest, len(keys), *keys, *args)
        except NoScriptError:
            return await client.eval(self.source, len(keys), *keys, *args)


def load(*names: str) -> Script:
    """Return the script that consists of these files, one after the other."""
    source = b"".join(files(__package__).joinpath(f"{name}.lua").read_bytes() for name in names)
    return Script(source, sha1(source, usedforsecurity=False).hexdigest())  # for EVALSHA
