"""The pages: `/`, `/openapi.json` and `/docs`; they ask nothing of any network but this daemon.

The program of `/docs` is Swagger UI, out of the files of an installed package; nothing of that package is imported.
What can be asked for is a closed list: no path of a request ever becomes a path of a file.
"""

from collections.abc import Awaitable, Callable
from importlib import resources
from importlib.metadata import distribution
from pathlib import Path, PurePath

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from xxhash import xxh3_128_hexdigest

from mdcache.serving.asked import tags_of
from mdcache.serving.paths import DOCS_FILES, PAGE_FILES

_PACKAGE, _FOLDER = "swagger-ui-py", "swagger_ui/static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
HEADERS = {  # of every one of these answers
    "cache-control": "no-cache",  # may be kept, and is asked about each time
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def routes(document: bytes) -> list[Route]:
    """The routes of the status page, of `document`, of the page that shows it, and of the pages' files."""
    return [
        Route("/", _page("status.html", _own("status.html"))),
        *(Route(f"/page/{name}", _page(name, _own(name))) for name in PAGE_FILES),
        Route("/openapi.json", _page("openapi.json", document)),
        Route("/docs", _page("docs.html", _own("docs.html"))),
        *(Route(f"/docs/{name}", _page(name, _file(name))) for name in DOCS_FILES),
    ]


def type_of(name: str) -> str:
    """The content type of a file, by its name."""
    return _TYPES[PurePath(name).suffix]


def _page(name: str, body: bytes) -> Callable[[Request], Awaitable[Response]]:
    """What answers with `body`, of the type that `name` says, or with 304 to whoever has it."""
    tag = xxh3_128_hexdigest(body)
    headers = {"etag": f'"{tag}"', **HEADERS}
    typed = {"content-type": type_of(name)} | headers

    async def answer(request: Request) -> Response:
        tags, any_tag = tags_of(request.headers.get("if-none-match", "").encode("latin-1"))
        if any_tag or tag.encode() in tags:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=typed)

    return answer


def _file(name: str) -> bytes:
    return _own(name) if name == "docs.js" else _swagger(name)


def _own(name: str) -> bytes:
    return resources.files("mdcache.serving").joinpath("page", name).read_bytes()


def _swagger(name: str) -> bytes:
    return Path(str(distribution(_PACKAGE).locate_file(f"{_FOLDER}/{name}"))).read_bytes()
