"""``POST /matchmaker/tickets``, ``GET`` and ``DELETE /matchmaker/tickets/<id>`` on the client port, at any pod.

``Authorization: Bearer <the player's token>`` says who asks. POST takes ``{"size", "properties", "players", "nonce"}``, all but the first
optional, and answers 201 ``{"ticket"}``. Refusals are ``{"reason", "detail", …}``: 400 for what can't be right, 401 without a good token,
403 and 404 for a ticket of others or none, 409 for a player who waits already, 503 if it can't be done now.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from ..core.messages import Fields
from ..facades.tickets import Tickets
from ..rules import Rejected
from .joins import Unwelcome

STATUS = {
    "bad token": 401,
    "token needed": 401,
    "not yours": 403,
    "unknown ticket": 404,
    "already queued": 409,
    "no leader": 503,
    "unknown": 503,
    "overloaded": 503,
}
MAX_BODY_BYTES = 16_384
PATH = "/matchmaker/tickets"

Headers = Callable[[Request], dict[str, str]]
Do = Callable[[str], Awaitable[Fields]]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    size: int
    properties: dict[str, Any] = {}
    players: list[str] | None = None
    nonce: str | None = None


def add_tickets(app: FastAPI, tickets: Tickets, player_of: Callable[[str], str | None], headers: Headers) -> None:
    """``player_of``: of a token; raises Unwelcome. ``headers``: of the answer to a page's request."""

    async def answer(request: Request, do: Do, status: int = 200) -> Response:
        try:
            return JSONResponse(await do(_player(request, player_of)), status, headers=headers(request))
        except Unwelcome as error:
            return JSONResponse(error.response, STATUS.get(error.response["reason"], 400), headers=headers(request))
        except Rejected as refusal:
            return JSONResponse(refusal.response, STATUS.get(refusal.reason, 400), headers=headers(request))

    @app.post(PATH)
    async def enqueue(request: Request) -> Response:
        async def do(player: str) -> Fields:
            asked = await _asked(request)
            return await tickets.enqueue(player, asked.size, asked.properties, asked.players, asked.nonce)

        return await answer(request, do, 201)

    @app.get(PATH + "/{ticket:path}")
    async def look(request: Request, ticket: str) -> Response:
        async def do(player: str) -> Fields:
            return tickets.ticket(player, ticket)

        return await answer(request, do)

    @app.delete(PATH + "/{ticket:path}")
    async def cancel(request: Request, ticket: str) -> Response:
        return await answer(request, lambda player: tickets.cancel(player, ticket))

    _add_preflight(app, headers)


def add_no_tickets(app: FastAPI, headers: Headers) -> None:
    """For a cluster without a matchmaker: says what is missing."""

    @app.api_route(PATH, methods=["GET", "POST", "DELETE"])
    @app.api_route(PATH + "/{ticket:path}", methods=["GET", "POST", "DELETE"])
    async def missing(request: Request) -> Response:
        detail = (
            "there is no Matchmaker among the targets: gamecluster.matchmaking:Matchmaker, or a class derived from it"
        )
        return JSONResponse({"reason": "no matchmaker", "detail": detail}, 404, headers=headers(request))

    _add_preflight(app, headers)


def _add_preflight(app: FastAPI, headers: Headers) -> None:
    @app.options(PATH)
    @app.options(PATH + "/{ticket:path}")
    async def preflight(request: Request) -> Response:
        """Fetch standard: a page of another origin asks first."""
        allowed = {
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": "authorization, content-type",
            "Access-Control-Max-Age": "600",
        }
        return Response(status_code=204, headers={**headers(request), **allowed})


def _player(request: Request, player_of: Callable[[str], str | None]) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    player = player_of(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
    if player is None:
        raise Rejected("token needed", detail="Authorization: Bearer <the token of the game's join> says who asks")
    return player


async def _asked(request: Request) -> Asked:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Rejected("bad ticket", detail=f"a ticket has {MAX_BODY_BYTES} bytes at most")
    try:
        return msgspec.json.decode(body, type=Asked)
    except msgspec.DecodeError as error:
        raise Rejected("bad ticket", detail=f'expected {{"size": 2, "properties": {{…}}}}: {error}') from None
