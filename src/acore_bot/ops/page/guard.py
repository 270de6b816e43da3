"""Who may see what: the checks that every request passes before anything is done for it."""

from collections.abc import Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from acore_bot.ops.page.options import PageOptions, is_loopback
from acore_bot.ops.page.token import COOKIE, Token, TooManyTries

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "acore",
}
UNKNOWN_VISITOR = (
    "This needs the page's token: send it as `Authorization: Bearer …`, or sign in at /sign-in.\n"
)


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Put what keeps browsers careful on every response."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")


def guard(options: PageOptions, token: Token | None, open_paths: Collection[str]) -> Middleware:
    """Make the check of hosts, sites and tokens. `open_paths` need no token."""
    names = {name.lower() for name in (options.host, *options.names) if name}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        _check_host(request, names)
        _check_site(request)
        if token is not None and request.path not in open_paths:
            await _check_token(request, token)
        return await handler(request)

    return check


def _check_host(request: web.Request, names: Collection[str]) -> None:
    # A page elsewhere may give its own name our address, and would then be of our origin.
    name = _name(request.headers.get("Host", ""))
    if name not in names and not is_loopback(name):
        raise web.HTTPMisdirectedRequest(
            text="The page is not known by this name. If it is yours, add it to the page's names "
            "in the settings.\n"
        )


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _check_site(request: web.Request) -> None:
    headers = request.headers
    site = headers.get("Sec-Fetch-Site", "none")
    # A link that a person follows, not a frame; and not the stream, whose places are few.
    is_opened = (
        headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest", "document") == "document"
        and request.method == "GET"
        and request.path != "/events"
    )
    if site not in {"none", "same-origin"} and not is_opened:
        raise web.HTTPForbidden(text="Other sites may not ask this page for anything.\n")


async def _check_token(request: web.Request, token: Token) -> None:
    if token.opens(request.cookies.get(COOKIE, "")):
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and await compare(token, given.strip()):
        return
    if request.path == "/" and request.method in {"GET", "HEAD"} and not given:
        raise web.HTTPSeeOther("/sign-in")
    raise web.HTTPUnauthorized(text=UNKNOWN_VISITOR, headers={"WWW-Authenticate": "Bearer"})


async def compare(token: Token, given: str) -> bool:
    """Say whether a token is right; answer 429 if too many are being tried."""
    try:
        return await token.is_right(given)
    except TooManyTries:
        raise web.HTTPTooManyRequests(
            text="Too many tokens are being tried. Please wait a little.\n",
            headers={"Retry-After": "10"},
        ) from None
