"""The client port: the page, ``/servers``, and the WebSocket that speaks Phoenix Channels."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from ..core.view import ClusterView
from ..phoenix.codec import ProtocolError, parse_vsn
from ..settings import Settings
from .clients import Hub
from .sockets import DETACH

SUBPROTOCOL = "phoenix"
TOKEN_SUBPROTOCOL = "base64url.bearer.phx."


def make_app(settings: Settings, hub: Hub, view: Callable[[], ClusterView]) -> FastAPI:
    """The ASGI application; to be served with ``sockets.Upgrade`` as uvicorn's WebSocket protocol."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if path := own_path(settings.url):
        app.add_middleware(_Under, path=path)

    @app.get("/servers")
    async def servers(request: Request) -> Response:
        origin = request.headers.get("origin")
        headers = {"Cache-Control": "no-store", "Vary": "Origin"}
        if origin is not None and is_allowed(origin, request.headers.get("host"), settings.allowed_origins):
            headers["Access-Control-Allow-Origin"] = origin
        return JSONResponse({"servers": list_servers(view(), address_of(request))}, headers=headers)

    async def socket(websocket: WebSocket) -> None:
        refusal = _refusal(websocket, settings, hub)
        if refusal is not None:
            await websocket.send_denial_response(refusal)
            return
        vsn = parse_vsn(websocket.query_params.get("vsn"))
        offered = websocket.scope["subprotocols"]
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        token = connection_token(websocket.query_params, offered)
        websocket.scope["extensions"][DETACH](lambda wire: hub.connect(wire, vsn, token))

    app.router.routes.append(WebSocketRoute("/socket/websocket", socket))  # no dependencies to solve: twice as fast

    @app.websocket("/{path:path}")
    async def elsewhere(websocket: WebSocket, path: str) -> None:
        text = f"no WebSocket at /{path}: it is at /socket/websocket\n"
        await websocket.send_denial_response(PlainTextResponse(text, status_code=404))

    app.mount("/", _Page(directory=str(files("gamecluster") / "web"), html=True, check_dir=False))
    return app


def own_path(url: str) -> str:
    """What a node's own address has before ``/socket``. Requests may come with it (a proxy tells nodes apart by it) or without."""
    return urlsplit(url).path.removesuffix("/socket").rstrip("/")


def is_allowed(origin: str | None, host: str | None, allowed: Sequence[str]) -> bool:
    """Whether a page of ``origin`` may connect. None: not a browser. The node's own pages always may."""
    if origin is None or "*" in allowed or origin in allowed:
        return True
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == str(host).lower()
    except ValueError:
        return False


def address_of(request: Request) -> str:
    """The WebSocket address by which the asker came."""
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip().lower()
    return f"{'wss' if scheme in ('https', 'wss') else 'ws'}://{request.headers.get('host', 'localhost')}/socket"


def list_servers(view: ClusterView, asked_at: str) -> list[dict[str, str]]:
    """Nodes that clients can reach one by one; else the address by which the asker came."""
    nodes = [n for n in view.nodes if n.url and not n.draining and n.state == "alive"]
    if nodes:
        return [{"name": n.name, "url": str(n.url)} for n in nodes]
    return [{"name": view.self, "url": asked_at}]


def connection_token(query: Mapping[str, str], subprotocols: Sequence[str]) -> str | None:
    """A token given at the handshake: as a query parameter, or as phoenix.js does it, as a subprotocol."""
    for offered in subprotocols:
        if offered.startswith(TOKEN_SUBPROTOCOL):
            encoded = offered.removeprefix(TOKEN_SUBPROTOCOL).replace("-", "+").replace("_", "/")
            try:
                return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode()
            except (binascii.Error, ValueError):
                return None
    return query.get("token")


def _refusal(websocket: WebSocket, settings: Settings, hub: Hub) -> Response | None:
    try:
        parse_vsn(websocket.query_params.get("vsn"))
    except ProtocolError as error:
        return PlainTextResponse(f"{error}\n", status_code=403)
    origin = websocket.headers.get("origin")
    if not is_allowed(origin, websocket.headers.get("host"), settings.allowed_origins):
        text = f"pages of {origin} may not connect: GAMECLUSTER_ALLOWED_ORIGINS has to list them\n"
        return PlainTextResponse(text, status_code=403)
    if hub.is_closing:
        return PlainTextResponse("this node is about to end: try another\n", status_code=503)
    if hub.is_full:
        text = f"this node has its {settings.limit_connections} connections: try another\n"
        return PlainTextResponse(text, status_code=503, headers={"Retry-After": "5"})
    return None


class _Under:
    """Serves everything under ``path`` too."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app, self._path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "root_path": self._path}, receive, send)


class _Page(StaticFiles):
    """Pages that browsers ask for anew, so that a rolling update reaches them."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
