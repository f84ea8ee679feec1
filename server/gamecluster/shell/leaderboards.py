"""``GET /leaderboards/<name>/top``, ``/around/<player>`` and ``/rank/<player>`` on the client port: what this pod's copy says.

======== ============================================================================================================
200      ``{"season", "entries": [{"rank", "player", "score"}]}``; of ``rank`` ``{"season", "rank", "player", "score"}``
else     ``{"reason", "detail"}``: 400 what can't be right, 404 no such leaderboard, season or score on it, 503 being put in order
======== ============================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from ..core.messages import Fields
from ..facades.boards import BoardBackend, Leaderboard
from ..rules import Rejected
from ..services.boards import checked_limit
from ..services.standings import BOARDS

STATUS = {"unknown leaderboard": 404, "unknown season": 404, "no score": 404, "not ready": 503}
LIMIT = 10

Headers = Callable[[Request], dict[str, str]]
Read = Callable[[Leaderboard, int | None], Fields]


def add_leaderboards(app: FastAPI, backend: BoardBackend, headers: Headers) -> None:
    """``headers``: of the answer to a page's request."""

    def answer(request: Request, name: str, read: Read) -> Response:
        try:
            board = Leaderboard(backend, name)
            if name not in backend.rows(BOARDS):
                raise Rejected("unknown leaderboard", detail=f"nobody has had a score on {name!r} yet")
            season = _number(request.query_params, "season", None)
            return JSONResponse({"season": season or board.season, **read(board, season)}, headers=headers(request))
        except Rejected as refusal:
            status = STATUS.get(refusal.reason, 400)
            more = {"Retry-After": "2"} if status == 503 else {}
            return JSONResponse(refusal.response, status, headers={**headers(request), **more})

    @app.get("/leaderboards/{name}/top")
    async def top(request: Request, name: str) -> Response:
        return answer(request, name, lambda board, season: {"entries": board.top(_limit(request), season)})

    @app.get("/leaderboards/{name}/around/{player:path}")
    async def around(request: Request, name: str, player: str) -> Response:
        def read(board: Leaderboard, season: int | None) -> Fields:
            return {"entries": board.around(player, _limit(request), season) or _no_score(player)}

        return answer(request, name, read)

    @app.get("/leaderboards/{name}/rank/{player:path}")
    async def rank(request: Request, name: str, player: str) -> Response:
        return answer(request, name, lambda board, season: board.entry(player, season) or _no_score(player))


def _limit(request: Request) -> int:
    return checked_limit(_number(request.query_params, "limit", LIMIT))


def _number(query: Mapping[str, str], name: str, default: int | None) -> int | None:
    given = query.get(name)
    if given is None:
        return default
    if not given.isdecimal() or len(given) > 9:
        raise Rejected(f"bad {name}", detail=f"{name}: expected a whole number, got {ascii(given)[:40]}")
    return int(given)


def _no_score(player: str) -> Fields:
    raise Rejected("no score", detail=f"{ascii(player)[:60]} is not on this leaderboard")
