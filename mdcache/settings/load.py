"""Load the settings from the environment and `.env`, and report all problems at once.

pydantic-settings' own sources are not used: they silently ignore misspelt names and stop at the first map that is not
JSON.
"""

import difflib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dotenv.parser import parse_stream
from pydantic import SecretStr, ValidationError

from mdcache.settings import borrowed
from mdcache.settings.model import HIDDEN, PREFIX, LoadContext, Settings, default_state_dir

ENVIRONMENT = "environment"

# An empty value is the default for these: compose files write them so.
_EMPTY_IS_DEFAULT = frozenset({"state_dir", "redis_url", "allowed_hosts", "cors_origins", "admin_token"})
_SECRETS = frozenset({"redis_url", "admin_token"})
# Kubernetes gives every container these for a service called `mdcache`: kubernetes.io, "Service", discovery.
_SERVICE_LINK = re.compile(r"MDCACHE_(SERVICE_\w+|PORT_\d+_(TCP|UDP|SCTP)\w*)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
# The value of an unknown name is shown unless the name hints at a secret (`MDCACHE_ADMIN_TOKN` does).
_SECRET_WORD = re.compile(r"TOK|SECR|PASS|PW|KEY|AUTH|CRED|ADM|SIGN|PRIV|REDIS|URL|URI|DSN")
_USERINFO = re.compile(r"@|%40", re.IGNORECASE)
_SHOWN_CHARACTERS = 100
# For error types whose pydantic message would not help an operator.
_EXPECTED = {
    "bool_parsing": "should be true or false",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_parsing": "should be a number",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: the variable, its value (secrets hidden), where it was set, and what would be right."""

    name: str
    value: str
    source: str
    right: str

    def as_dict(self) -> dict[str, str]:
        """Return the same four texts, for machines."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.name}={self.value} ({self.source}): {self.right}"


class SettingsError(Exception):
    """Some settings are wrong. `problems` has all of them; `str` is a line for each, without secrets."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def load(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
    """Return the settings given by `environ` and, with lower priority, by the file `dotenv`.

    Args:
        environ: the environment; the process's own if `None`.
        dotenv: path of the `.env`; none is read if `None`.

    Raises:
        SettingsError: names all unknown names and bad values of both.
    """
    environ = os.environ if environ is None else environ
    problems: list[Problem] = []
    ignored: set[str] = set()
    raw: dict[str, tuple[str, str]] = {}  # field -> (value, source)
    known = {name.upper(): name for name in Settings.model_fields}
    for name, value, source in (
        *_dotenv_lines(dotenv, problems),
        *((*item, ENVIRONMENT) for item in environ.items()),
    ):
        if not name.upper().startswith(PREFIX):  # `mdcache_port` is refused, not ignored
            continue
        if _SERVICE_LINK.fullmatch(name) or (name == f"{PREFIX}PORT" and _SERVICE_ADDRESS.match(value)):
            ignored.add(name)
        elif name.startswith(PREFIX) and name.removeprefix(PREFIX) in known:
            raw[known[name.removeprefix(PREFIX)]] = (value, source)
        else:
            problems.append(_unknown(name, value, source, known))

    for name, right in borrowed.faults(environ):
        problems.append(Problem(name, HIDDEN, ENVIRONMENT, right))

    given = {name: value for name, (value, _) in raw.items() if value or name not in _EMPTY_IS_DEFAULT}
    proxy = environ.get("https_proxy") or environ.get("HTTPS_PROXY")  # urllib's order, which httpx uses
    seen = LoadContext(frozenset(given), tuple(sorted(ignored)), SecretStr(proxy) if proxy else None)
    try:
        settings = Settings.model_validate({"state_dir": default_state_dir(environ)} | given)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            name = str(fault["loc"][0])
            value, source = raw[name]
            right = _EXPECTED.get(fault["type"]) or re.sub("^(Value error,|Input) ", "", fault["msg"])
            problems.append(Problem(PREFIX + name.upper(), _display_raw(name, value), source, right))
        settings = None
    # Raised outside the handler: pydantic's error, which contains the values, must not be chained.
    if problems or settings is None:
        raise SettingsError(problems)
    settings._context = seen  # noqa: SLF001 - the class's factory
    return settings


def _dotenv_lines(path: Path | None, problems: list[Problem]) -> list[tuple[str, str, str]]:
    """Return (name, value, source) of each line of a `.env`; nothing if there is no file. `${…}` is not expanded."""
    try:
        if path is None or not path.is_file():
            return []
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(str(path), "", ".env", f"should be a readable UTF-8 file ({type(error).__name__})"))
        return []
    lines = []
    for binding in bindings:
        name, source = binding.key or "", f"{path.name}, line {binding.original.line}"
        ours = name.upper().startswith(PREFIX)
        if binding.error or (ours and binding.value is None):
            # The line is not quoted: it may be half of a secret.
            problems.append(Problem(name or "?", HIDDEN, source, "should be a line NAME=value"))
        elif ours:
            lines.append((name, binding.value or "", source))
    return lines


def _unknown(name: str, value: str, source: str, known: Collection[str]) -> Problem:
    bare = name.upper().removeprefix(PREFIX)
    forgotten_unit = [f"{bare}_S"] if f"{bare}_S" in known else []
    near = forgotten_unit + difflib.get_close_matches(bare, known, n=3, cutoff=0.5)
    secret = _SECRET_WORD.search(bare) or any(match.lower() in _SECRETS for match in near)
    right = f"no such setting; did you mean {PREFIX}{near[0]}?" if near else "no such setting"
    return Problem(name, HIDDEN if secret else _display_raw("", value), source, right)


def _display_raw(field: str, value: str) -> str:
    """Return a value as a message may show it."""
    if field in _SECRETS or _USERINFO.search(value):
        return HIDDEN
    return repr(value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…")
