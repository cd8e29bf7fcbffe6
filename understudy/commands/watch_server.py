"""The server of ``understudy watch``: pages of a folder on the loopback address, read-only."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from understudy.commands.watched_folder import REPORT, STUDY_PAGE, WatchedFolder
from understudy.core.errors import InputError

LOOPBACK = "127.0.0.1"
_NAMES = [LOOPBACK, "localhost"]
_USUAL_PORT = 8642
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_app(folder: Path) -> Any:
    """The pages of a folder, as an ASGI application; it renders them and serves nothing else."""
    # the extra `watch`, which other commands do not need
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    watched = WatchedFolder(folder)

    def answer(request: Request, content: bytes | None) -> Response:
        if content is None:
            return PlainTextResponse("nothing to watch is at this address", status_code=404, headers=_HEADERS)
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = _HEADERS | {"ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type="text/html", headers=headers)

    # Not in threads: matplotlib draws one figure at a time.
    async def page(request: Request) -> Response:
        name = request.path_params.get("name")
        return answer(request, _encoded(watched.page() if name is None else watched.page_of(name)))

    async def file(request: Request) -> Response:
        name = request.path_params.get("name")
        return answer(request, _content(watched.file(request.url.path.rpartition("/")[2], name)))

    return Starlette(
        routes=[
            Route("/", page),
            Route("/runs/{name}/", page),
            *(Route(f"/{name}", file) for name in (REPORT, STUDY_PAGE)),
            Route(f"/runs/{{name}}/{REPORT}", file),
        ],
        # Another site whose name leads to this address must not read the pages.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_NAMES, www_redirect=False)],
    )


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode(errors="replace")  # names of files may be any bytes


def _content(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None


def open_socket(port: int | None) -> socket.socket:
    """Listen on the loopback address.

    Args:
        port: 0 to 65,535; if not given, the usual one, or any free one if that is taken.

    Raises:
        InputError: for a port that cannot be had.
    """
    if port is not None:
        return _listen(port)
    with suppress(InputError):
        return _listen(_USUAL_PORT)
    return _listen(0)


def _listen(port: int) -> socket.socket:
    if not 0 <= port <= 65_535:
        raise InputError(f"--port must be a number from 0 to 65535, got {port}")
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise InputError(
            f"port {port} of this machine cannot be used ({error.strerror}): leave --port out, and the page "
            "gets a free one"
        ) from None


def serve(folder: Path, listening: socket.socket, *, started: Callable[[], object]) -> None:
    """Answer on a socket until Ctrl-C or SIGTERM.

    Args:
        folder: to watch.
        listening: from :func:`open_socket`.
        started: called before the first answer.
    """
    import uvicorn  # the extra `watch`, which other commands do not need

    config = uvicorn.Config(
        make_app(folder),
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    started()
    with suppress(KeyboardInterrupt):  # the server raises it again when it has ended
        uvicorn.Server(config).run(sockets=[listening])
