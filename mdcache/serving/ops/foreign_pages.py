"""Refuse requests of foreign pages to the operators' paths (docs/design.md#operations)."""

from collections.abc import Iterable

from mdcache.serving.ops.allowed_hosts import AllowedHosts
from mdcache.serving.responses import Scope

_PAGES = frozenset({"/", "/chart"})
_WRONG_HOST = "No host by this name is served here: add it to MDCACHE_ALLOWED_HOSTS."
_FOREIGN_PAGE = (
    "This is not for pages of other sites (Sec-Fetch-Site: cross-site): open the address itself, or add the page's "
    "origin to MDCACHE_CORS_ORIGINS."
)


class ForeignPages:
    """Knows the daemon's names, and the origins whose pages may ask. Only `/v1/` and the daemon's pages are guarded."""

    def __init__(self, hosts: AllowedHosts, cors_origins: Iterable[str] = ()) -> None:
        self._hosts = hosts
        self._origins = frozenset(origin.lower() for origin in cors_origins)

    def refusal(self, scope: Scope) -> str | None:
        """Return why a request is not answered; `None` if it is."""
        path = scope["path"]
        if path not in _PAGES and not path.startswith("/v1/"):
            return None
        fields = {name: value.decode("latin-1").strip() for name, value in scope["headers"]}
        if not self._hosts.allows(fields.get(b"host", "")):
            return _WRONG_HOST
        foreign = fields.get(b"sec-fetch-site") == "cross-site" and self._origins.isdisjoint(
            {"*", fields.get(b"origin", "").lower()}
        )
        return _FOREIGN_PAGE if foreign and not (path in _PAGES and _follows_link(scope["method"], fields)) else None


def _follows_link(method: str, fields: dict[bytes, str]) -> bool:
    """Return whether the browser opens a page of its own, which the page that linked to it can't see into."""
    wants = fields.get(b"sec-fetch-mode"), fields.get(b"sec-fetch-dest")
    return method in {"GET", "HEAD"} and wants == ("navigate", "document")
