"""Door: a viser server that only a browser with the printed link gets into."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import logging
import secrets
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import viser
import websockets.asyncio.server
from viser import _messages
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from polyfield.errors import PolyfieldError

LOOPBACK = "127.0.0.1"
_LAST_PORT, _TRIED = 65535, 100
_LARGEST = 1 << 20  # bytes of a browser's message
_REFUSED = b"polyfield: access refused. Open the link that the command printed. The link contains the required token.\n"


class Door:
    """A running server. Every request needs the token of its link, its own Host and, if it has an Origin, its own Origin.

    The token comes in the link, and then as a cookie that only this server's pages send.
    """

    def __init__(
        self,
        host: str = LOOPBACK,
        port: int = 0,
        title: str = "polyfield",
        *,
        coming: Callable[[], None] = lambda: None,
    ) -> None:
        """Listen on a port or the next free one, or on any if it is 0. Raises PolyfieldError if the address cannot be listened on.

        coming is called when a browser loads the page.
        """
        self._coming = coming
        self._token = secrets.token_urlsafe(24)
        self._host = host
        port = _free_port(host, port)
        for name in ("websockets.server", "asyncio"):  # a browser's nonsense is no news
            logging.getLogger(name).setLevel(logging.CRITICAL)
        serve = websockets.asyncio.server.serve
        setattr(websockets.asyncio.server, "serve", self._guarding(serve))  # noqa: B010 - viser has no hook for it
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # viser prints addresses without the token
                self.server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
        finally:
            setattr(websockets.asyncio.server, "serve", serve)  # noqa: B010
        self.port = self.server.get_port()
        # viser would open a tunnel through a third party's machine on a browser's request.
        self.server._websock_server.unregister_handler(_messages.ShareUrlRequest)

    @property
    def link(self) -> str:
        """The address for a browser, with the token."""
        host = str(ipaddress.ip_address(self._host))
        host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={self._token}"

    def close(self) -> None:
        """Stop the server and its threads."""
        with contextlib.redirect_stdout(io.StringIO()):  # viser prints that it has stopped
            self.server.stop()

    def _guarding(self, serve: Callable[..., Any]) -> Callable[..., Any]:
        """Return websockets' `serve` with this guard before its pages and its connections."""

        def guarded(handler: Any, host: str, port: int, **options: Any) -> Any:
            pages = options["process_request"]

            def process(connection: ServerConnection, request: Request) -> Response | None:
                self.port = connection.local_address[1]
                if not self.admits(request):
                    return connection.respond(HTTPStatus.FORBIDDEN, _REFUSED.decode())
                response: Response | None = pages(connection, request)
                if response is not None:
                    if urlsplit(request.path).path == "/":
                        self._coming()
                    response.headers["Set-Cookie"] = (
                        f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                    )
                    response.headers["Referrer-Policy"] = "no-referrer"
                return response

            return serve(handler, host, port, **options | {"process_request": process, "max_size": _LARGEST})

        return guarded

    @property
    def _cookie(self) -> str:
        return f"polyfield-{self.port}"  # cookies do not know ports

    def admits(self, request: Request) -> bool:
        """Return whether a request may enter."""
        hosts, origins = request.headers.get_all("Host"), request.headers.get_all("Origin")
        if len(hosts) != 1 or not self._own(hosts[0]):
            return False
        if len(origins) > 1 or (origins and origins[0] != f"http://{hosts[0]}"):
            return False
        given: list[str] = []
        with contextlib.suppress(ValueError):  # of a path that is no path
            given += parse_qs(urlsplit(request.path).query).get("token", [])
        for header in request.headers.get_all("Cookie"):
            pairs = (part.strip().partition("=") for part in header.split(";"))
            given += [value for name, _, value in pairs if name == self._cookie]
        return any(secrets.compare_digest(token.encode(), self._token.encode()) for token in given)

    def _own(self, host: str) -> bool:
        """Return whether a Host header names this server. No name that a stranger's DNS could point here is accepted."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if port != self.port or parts.netloc != host or "@" in host:
            return False
        own = ipaddress.ip_address(self._host)
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(name)
            return address.is_loopback or address == own or own.is_unspecified
        return name == "localhost" or (own.is_unspecified and name == socket.gethostname().lower())


def _free_port(host: str, port: int) -> int:
    """Return a port that can be listened on: this one, or the next free one; any if it is 0. Raises PolyfieldError."""
    if not 0 <= port <= _LAST_PORT:
        raise PolyfieldError(f"--port is {port}; expected 0 to {_LAST_PORT}")
    refused: Exception | None = None
    for tried in range(port, min(port + _TRIED, _LAST_PORT + 1)):
        try:
            address = ipaddress.ip_address(host)
            with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, tried))
                return int(probe.getsockname()[1])
        except (ValueError, OSError) as error:
            refused = error
    raise PolyfieldError(
        f"--host {host[:80]}, --port {port}: this address cannot be used ({refused}); expected an IP address of this "
        f"machine, such as {LOOPBACK}, and a free port"
    )
