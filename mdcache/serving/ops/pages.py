"""The pages `/`, `/chart`, `/openapi.json` and `/docs`, which load nothing from outside this daemon.

Swagger UI, which shows `/docs`, and TradingView's charts are files of installed packages, which are never imported.
Only a fixed list of files is served: a request's path never becomes a file's path.
"""

from collections.abc import Awaitable, Callable
from importlib import resources
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePath

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from xxhash import xxh3_128_hexdigest

from mdcache.serving.binance.request import parse_if_none_match
from mdcache.serving.routes import CHART_FILES, DOCS_FILES, PAGE_FILES, RUNBOOK

_SWAGGER = "openapi-ui-bundles", "openapi_ui_bundles/swagger_ui/vendor"
_CHARTS = "litecharts", "litecharts/js"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
PAGE_HEADERS = {  # the headers of all these responses
    "cache-control": "no-cache",  # may be stored, and is revalidated each time
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_routes() -> list[Route]:
    """Return the routes of the pages, of the OpenAPI document, and of the files that pages load."""
    return [
        Route("/", _static("status.html", _package_file("status.html"))),
        *(Route(f"/page/{name}", _static(name, _package_file(name))) for name in (*PAGE_FILES, RUNBOOK)),
        Route("/chart", _static("chart.html", _package_file("chart.html"))),
        *(Route(f"/chart/{name}", _static(name, _chart_file(name))) for name in CHART_FILES),
        Route("/openapi.json", _static("openapi.json", _package_file("openapi.json"))),
        Route("/docs", _static("docs.html", _package_file("docs.html"))),
        *(Route(f"/docs/{name}", _static(name, _docs_file(name))) for name in DOCS_FILES),
    ]


def content_type(name: str) -> str:
    """Return the content type of a file, by its name."""
    return _TYPES[PurePath(name).suffix]


def _static(name: str, body: bytes | None) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that serves `body`, with the type of `name`, or 304 if the client has it.

    Without a body, as its package is not installed, it answers 404.
    """
    tag = xxh3_128_hexdigest(body or b"")
    headers = {"etag": f'"{tag}"', **PAGE_HEADERS}
    typed = {"content-type": content_type(name)} | headers

    async def answer(request: Request) -> Response:
        if body is None:
            raise HTTPException(404, f"{name} is not installed: mdcache was installed without what it depends on.")
        tags, any_tag = parse_if_none_match(request.headers.get("if-none-match", "").encode("latin-1"))
        if any_tag or tag.encode() in tags:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=typed)

    return answer


def _installed_file(package: str, folder: str, name: str) -> bytes | None:
    """Return a file of an installed package; `None` if it has none, or is not installed."""
    try:
        return Path(str(distribution(package).locate_file(f"{folder}/{name}"))).read_bytes()
    except (PackageNotFoundError, FileNotFoundError):
        return None


def _chart_file(name: str) -> bytes | None:
    return _installed_file(*_CHARTS, name) if name == "lightweight-charts.js" else _package_file(name)


def _docs_file(name: str) -> bytes | None:
    return _package_file(name) if name.startswith("docs.") else _installed_file(*_SWAGGER, name)


def _package_file(name: str) -> bytes:
    return resources.files("mdcache.serving.ops").joinpath("page", name).read_bytes()
