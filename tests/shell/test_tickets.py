"""Tickets over HTTP: who may ask for what, and what a wrong request is told."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request

from gamecluster.cluster import MemoryBackend
from gamecluster.facades.tickets import Tickets
from gamecluster.services import Services
from gamecluster.shell.joins import Tokens, read_player
from gamecluster.shell.tickets import MAX_BODY_BYTES, PATH, add_no_tickets, add_tickets

TOKENS = Tokens(b"k" * 32, "arena", wall_clock=lambda: 1.7e9)


class Stage:
    def __init__(self) -> None:
        self.backend = MemoryBackend(Services(lambda: 1.7e9, random.Random(1)))
        app = FastAPI()
        add_tickets(app, Tickets(self.backend), self.player_of, self.headers)
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://arena")

    def player_of(self, token: str) -> str | None:
        return read_player({"token": token}, None, TOKENS, lambda player: None)

    def headers(self, request: Request) -> dict[str, str]:
        return {"Access-Control-Allow-Origin": "https://play.example.com"}

    async def ask(self, method: str, path: str = "", player: str | None = "ann", **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {TOKENS.sign(player, 's1')}"} if player else {}
        return await self.http.request(method, PATH + path, headers=headers, **more)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    async with stage.http:
        yield stage


async def test_a_ticket_is_posted_looked_at_and_cancelled(stage: Stage) -> None:
    posted = await stage.ask("POST", json={"size": 2, "properties": {"mode": "ctf"}, "players": ["ann", "bob"]})
    assert posted.status_code == 201
    ticket = posted.json()["ticket"]
    looked = await stage.ask("GET", f"/{ticket}", player="bob")
    assert looked.json() == {
        "status": "waiting",
        "players": ["ann", "bob"],
        "size": 2,
        "properties": {"mode": "ctf"},
        "at": 1_700_000_000_000,
    }
    again = await stage.ask("POST", json={"size": 2})
    assert (again.status_code, again.json()["reason"], again.json()["ticket"]) == (409, "already queued", ticket)
    cancelled = await stage.ask("DELETE", f"/{ticket}", player="bob")
    assert (cancelled.status_code, cancelled.json()) == (200, {"cancelled": True})
    gone = await stage.ask("GET", f"/{ticket}")
    assert (gone.status_code, gone.json()["reason"]) == (404, "unknown ticket")


async def test_a_match_is_seen_by_those_in_it_only(stage: Stage) -> None:
    tickets = [(await stage.ask("POST", player=p, json={"size": 2})).json()["ticket"] for p in ("ann", "bob")]
    await stage.backend.ask("matchmaker", "match", {"id": "m1", "topic": "duel:m1", "tickets": tickets})
    found = (await stage.ask("GET", f"/{tickets[0]}")).json()
    assert (found["status"], found["topic"], found["players"]) == ("matched", "duel:m1", ["ann", "bob"])
    assert (await stage.ask("GET", f"/{tickets[0]}", player="eve")).status_code == 404


async def test_a_repeat_with_its_nonce_is_the_same_ticket(stage: Stage) -> None:
    first = await stage.ask("POST", json={"size": 2, "nonce": "n/1"})
    again = await stage.ask("POST", json={"size": 2, "nonce": "n/1"})
    assert first.json() == again.json() and again.status_code == 201
    assert (await stage.ask("GET", f"/{first.json()['ticket']}")).status_code == 200


async def test_who_asks_must_be_known(stage: Stage) -> None:
    missing = await stage.ask("POST", player=None, json={"size": 2})
    assert (missing.status_code, missing.json()["reason"]) == (401, "token needed")
    wrong = await stage.http.post(PATH, json={"size": 2}, headers={"Authorization": "Bearer nonsense"})
    assert (wrong.status_code, wrong.json()["reason"]) == (401, "bad token")
    ticket = (await stage.ask("POST", json={"size": 2})).json()["ticket"]
    assert (await stage.ask("DELETE", f"/{ticket}", player="eve")).status_code == 403
    assert (await stage.ask("POST", player="eve", json={"size": 2, "players": ["bob"]})).status_code == 400


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "expected {"),
        (b"[]", "Expected `object`"),
        (b'{"size": "2"}', "Expected `int`"),
        (b'{"size": 2, "sise": 3}', "unknown field `sise`"),
        (b'{"size": 1}', "from 2 to 100"),
        (b'{"size": 2, "properties": {"a": null}}', "properties: a: expected a text"),
        (b'{"size": 2, "nonce": "' + b"n" * MAX_BODY_BYTES + b'"}', "16384 bytes at most"),
    ],
)
async def test_a_bad_ticket_is_told_what_would_be_right(stage: Stage, body: bytes, detail: str) -> None:
    refused = await stage.ask("POST", content=body)
    assert (refused.status_code, refused.json()["reason"]) == (400, "bad ticket")
    assert detail in refused.json()["detail"]


async def test_pages_of_listed_origins_may_ask(stage: Stage) -> None:
    preflight = await stage.http.options(PATH, headers={"Origin": "https://play.example.com"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "authorization, content-type"
    posted = await stage.ask("POST", json={"size": 2})
    assert posted.headers["access-control-allow-origin"] == "https://play.example.com"


async def test_without_a_matchmaker_every_request_is_told_what_is_missing() -> None:
    app = FastAPI()
    add_no_tickets(app, lambda request: {"Access-Control-Allow-Origin": "https://play.example.com"})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://arena") as http:
        for method, path in (("POST", PATH), ("GET", f"{PATH}/t1"), ("DELETE", f"{PATH}/t1")):
            answer = await http.request(method, path)
            assert (answer.status_code, answer.json()["reason"]) == (404, "no matchmaker")
            assert "no Matchmaker among the targets" in answer.json()["detail"]
            assert answer.headers["access-control-allow-origin"] == "https://play.example.com"
        assert (await http.options(PATH)).status_code == 204
