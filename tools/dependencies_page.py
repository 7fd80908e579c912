"""docs/dependencies.md, made from the lock and from what the packages say of themselves."""

from tools.dependencies import runtime_dependencies

_FOR = {
    "aiocache": "the bounded memory of answers",
    "backports-zstd": "compresses what is stored; from Python 3.14 on, Python's own module does",
    "httptools": "parses requests: llhttp, the parser of Node",
    "httpx": "asks Binance, and the daemon in the client library and the command line",
    "isal": "inflates and compresses gzip in a third of zlib's time",
    "litecharts": "one file, of the chart page: TradingView's Lightweight Charts",
    "msgspec": "reads and prints JSON, and checks its types meanwhile",
    "openapi-ui-bundles": "files of `/docs`: Swagger UI",
    "prometheus-client": "metrics",
    "pydantic": "types of the settings, and their messages",
    "pydantic-settings": "settings from the environment",
    "python-dotenv": "settings from `.env`",
    "redis": "replicas",
    "rich": "tables of the command line",
    "sniffio": "found by httpcore, it saves a third of each read",
    "starlette": "the paths for operators, and CORS",
    "structlog": "the log",
    "tenacity": "retries",
    "typer": "the command line",
    "uvicorn": "the HTTP server",
    "uvloop": "the event loop, where there is one for the platform",
    "websockets": "streams, both ways",
    "xxhash": "checksums and entity tags",
}
_HEAD = """\
# Dependencies

What is installed where the daemon runs. Ranges stand in `pyproject.toml`, exact versions with their hashes in
`requirements.lock`, which `make lock` writes anew for all platforms; the image, the systemd unit and `make run` install
that file and nothing else, with `--require-hashes`. A package gets its place by one module or layer that may import it
(`lint-imports`), so that it can be replaced there.

Tools, tests and extras (`arrow`, `pandas`, `polars`, `replay`) are in `requirements-dev.lock`; nothing of them is
installed beside the daemon. The fuzzer, mutmut and the real client libraries have environments of their own.

## Asked for

| Package | Licence | For |
|---|---|---|
"""
_OTHERS = """
## Brought by them

| Package | Licence | Needed by |
|---|---|---|
"""
_FOOT = """
Two packages carry programs for browsers, which no tool for Python packages lists: `litecharts` has Lightweight Charts
(Apache-2.0, TradingView; the page shows the notice that it asks for), and `openapi-ui-bundles` has Swagger UI
(Apache-2.0, SmartBear), beside two others that are not served. The bill of materials names both. The latter is the one
package without a wheel: its `setup.py` runs when it is installed, with the setuptools of `requirements-build.lock`.
(Every package that has Swagger UI in a wheel brings a web framework.)

## Small

`make run`'s environment takes 35 MB when it is made, and 46 MB after the first start, which compiles what it imports.
(It took 118 MB with pip, setuptools, every module compiled, and larger packages.) The image's, with mdcache in it,
takes 55 MB (102). Symbols for debuggers are taken out of libraries in both: 15 MB, 12 of them of `uvloop`; in `make
run`'s only where Linux has `strip`. What is left: 5 MB each of `pygments`, which comes with
`rich`, `pydantic-core`, and `redis`.

## Checked

- `make sbom` writes a bill of materials of the locked packages in CycloneDX's form to `.run/sbom.json`. Equal locks
  give equal files.
- `make audit` asks for known vulnerabilities of the locked versions (`pip-audit`, in an environment of its own). It
  needs the network, so it is no part of the suite; a package of which nothing can be learnt fails it.
- A test fails for a package with a licence that isn't one of MIT, BSD, Apache-2.0, ISC, PSF-2.0 and MPL-2.0, and for
  one that isn't in these tables.
- Wheel and source distribution are reproducible: equal trees give equal bytes, wherever and whenever they are built
  (`SOURCE_DATE_EPOCH` sets the time in them). A test builds both twice.
"""


def text() -> str:
    """Return the whole page."""
    every = runtime_dependencies()
    asked = [each for each in every if "mdcache" in each.needed_by]
    brought = [each for each in every if "mdcache" not in each.needed_by]
    parts = [_HEAD]
    parts += [f"| `{each.name}` | {each.licence} | {_FOR[each.name]} |\n" for each in asked]
    parts.append(_OTHERS)
    for each in brought:
        parts.append(f"| `{each.name}` | {each.licence} | {', '.join(f'`{name}`' for name in each.needed_by)} |\n")
    return "".join([*parts, _FOOT])
