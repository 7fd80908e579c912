"""Redis' scripts in this process: the daemon's own Lua, on hashes in memory, with a clock that a test moves.

LuaJIT runs them in two thirds of the time that Lua 5.1 takes, which is in Redis; it has that version's language and
numbers. `tests/stores/redis/test_budget.py` compares it with Redis itself.
"""

import hashlib
import importlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

_lua = importlib.import_module("lupa.luajit21")


def source(name: str) -> str:
    """One of the scripts."""
    return files("mdcache.stores.redis.scripts").joinpath(f"{name}.lua").read_text(encoding="utf-8")


def _sha1hex(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def sealed(field: str, body: bytes) -> bytes:
    """A field of the budget as the script writes it: whole numbers, and a checksum over them and its name."""
    return body + b" " + _sha1hex(field.encode() + b" " + body)[:12]


class FakeRedis:
    """One server's memory. `run`: of this life of it; `now_ms`: its own clock; `broken`: what of
    a script to write otherwise.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.run = 1
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self.now_ms = now_ms
        self.calls = 0
        self.broken = ("", "")
        self._scripts: dict[tuple[str, str, str], Any] = {}
        self._commands: dict[bytes, Any] = {}
        self._runtime = _lua.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._runtime.globals()[b"call"] = self._call
        self._runtime.globals()[b"sha1hex"] = _sha1hex
        self._runtime.execute(
            b"redis = {sha1hex = sha1hex, call = function(...) local r = call(...) return r end};"
            b"redis.pcall = function(...) local ok, r = pcall(call, ...) return ok and r or {err = tostring(r)} end"
        )

    def restart(self, *, empty: bool) -> None:
        """Another life, with what it kept or without."""
        self.run += 1
        if empty:
            self.hashes.clear()

    def eval(self, name: str, keys: list[bytes], args: list[bytes | str | int]) -> list[Any]:
        """What the script returns, as redis-py has it."""
        self.calls += 1
        texts = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
        found = self._script(name, *self.broken)(self._runtime.table(*keys), self._runtime.table(*texts))
        return [int(each) if isinstance(each, float) else each for each in found.values()]

    def _script(self, name: str, sound: str, broken: str) -> Any:
        known = self._scripts.get((name, sound, broken))
        if known is None:
            text = source(name)
            if sound not in text:
                raise ValueError(f"{name}.lua has no {sound!r}")
            text = text.replace(sound, broken) if sound else text
            known = self._runtime.eval(b"function(KEYS, ARGV) " + text.encode() + b"\nend")
            self._scripts[name, sound, broken] = known
        return known

    def _call(self, command: bytes, *args: bytes) -> Any:
        known = self._commands.get(command)
        if known is None:
            known = self._commands[command] = getattr(self, f"_{command.decode().lower()}")
        done = known(*args)
        return self._runtime.table(*done) if isinstance(done, list) else done

    def _time(self) -> list[Any]:
        now_ms = self.now_ms()
        return [str(now_ms // 1000).encode(), str(now_ms % 1000 * 1000).encode()]

    def _info(self, _section: bytes) -> bytes:
        return b"run_id:%040x" % self.run

    def _del(self, key: bytes) -> int:
        return int(self.hashes.pop(key, None) is not None)

    def _hget(self, key: bytes, name: bytes) -> bytes | bool:
        return self.hashes.get(key, {}).get(name, False)

    def _hmget(self, key: bytes, *names: bytes) -> list[Any]:
        return [self._hget(key, name) for name in names]

    def _hgetall(self, key: bytes) -> list[Any]:
        return [each for pair in self.hashes.get(key, {}).items() for each in pair]

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        self.hashes.setdefault(key, {}).update(zip(pairs[::2], pairs[1::2], strict=True))
        return 1

    def _hdel(self, key: bytes, name: bytes) -> int:
        return int(self.hashes.get(key, {}).pop(name, None) is not None)

    def _pexpire(self, _key: bytes, _life_ms: bytes) -> int:
        return 1

    def _publish(self, _channel: bytes, _message: bytes) -> int:
        return 0
