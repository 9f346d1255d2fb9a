"""The web console at /console: static files of this package, public, because they hold nothing but the program.

Owns which files there are and the policy that a browser runs them under. Everything that the console shows it fetches
from the API with the reader's token.
"""

from importlib import resources
from typing import Final

from litestar import get
from litestar.handlers import HTTPRouteHandler

from quarterdeck.web.answers import Answer, RawHeaders
from quarterdeck.web.operations import PUBLIC, Operation
from quarterdeck.web.paths import WebRequest

_PAGE: Final = "index.html"
_STYLES: Final = ("base.css", "layout.css", "batch.css")
_MODULES: Final = (
    "access.js",
    "api.js",
    "app.js",
    "batch-page.js",
    "batch.js",
    "element.js",
    "folding.js",
    "follow.js",
    "machines.js",
    "measures.js",
    "meter.js",
    "order-form.js",
    "pane.js",
    "recent.js",
    "states.js",
    "tail.js",
    "visible.js",
)

CONSOLE_FILES: Final = {
    "/console": _PAGE,
    **{f"/console/{name}": name for name in (*_STYLES, *_MODULES)},
}
"""Path → file in `console/`. A file that is not named here is not served."""

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Text never becomes markup, not even by a mistake of ours: innerHTML and its kin throw.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

_HEADERS: Final[RawHeaders] = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    # Modules of two versions must never meet in one page.
    (b"cache-control", b"no-store"),
)

CONSOLE_OPERATIONS: Final = tuple(
    Operation(method="GET", path=path, action=PUBLIC, summary="A file of the web console.")
    for path in CONSOLE_FILES
)


def console_routes() -> list[HTTPRouteHandler]:
    """Reads all files now: a missing one is found at start, not by a visitor."""
    home = resources.files("quarterdeck.api") / "console"
    pages = {path: home.joinpath(name).read_bytes() for path, name in CONSOLE_FILES.items()}

    @get(list(CONSOLE_FILES))
    async def show(request: WebRequest) -> Answer:
        path = request.scope["path_template"]
        return Answer(pages[path], media_type=_media_type(CONSOLE_FILES[path]).encode(), headers=_HEADERS)

    return [show]


def _media_type(name: str) -> str:
    return _MEDIA_TYPES[name[name.rindex(".") :]]
