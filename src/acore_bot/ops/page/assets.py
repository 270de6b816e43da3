"""The files of the page: read once, packed once, and never stale in a browser."""

import hashlib
import zlib
from pathlib import Path

from aiohttp import web
from msgspec import Struct

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
LEAVE = b"<!-- sign-out -->"
SIGN_OUT = (
    b'<form method="post" action="/sign-out"><button class="quiet-button">Sign out</button></form>'
)
FOR_A_YEAR = "private, max-age=31536000, immutable"


class Asset(Struct, frozen=True):
    """A file as it is sent: plain, and packed by gzip."""

    content_type: str
    body: bytes
    packed: bytes

    def response(self, request: web.Request, cache: str = "no-store") -> web.Response:
        """Answer with the file, packed if the browser can unpack it."""
        headers = {"Content-Type": self.content_type, "Cache-Control": cache}
        headers["Vary"] = "Accept-Encoding"
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=self.body, headers=headers)
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=self.packed, headers=headers)


class Assets(Struct, frozen=True):
    """All files by their path below `static/`. `version` is a digest of them and part of every
    address, so a browser may keep a file for ever and still never shows an old one."""

    version: str
    files: dict[str, Asset]

    def path(self, name: str) -> str:
        """Return where a file is served."""
        return f"/static/{self.version}/{name}"


def load(folder: Path = STATIC) -> Assets:
    """Read and pack all files that a browser may want. Takes some 20 ms, so call it in a thread."""
    bodies = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.suffix in TYPES
    }
    # The page as it is behind a token: one can leave it.
    bodies["locked.html"] = bodies["index.html"].replace(LEAVE, SIGN_OUT)
    version = hashlib.sha256(repr(bodies).encode()).hexdigest()[:12]
    place = f"/static/{version}/".encode()
    return Assets(
        version,
        {name: _packed(name, body.replace(b"/static/", place)) for name, body in bodies.items()},
    )


def _packed(name: str, body: bytes) -> Asset:
    return Asset(TYPES[Path(name).suffix], body, zlib.compress(body, level=9, wbits=31))
