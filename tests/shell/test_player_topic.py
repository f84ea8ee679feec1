"""A player's own topic on one pod: what is kept follows the join's answer, and nothing falls between the two or comes twice."""

from __future__ import annotations

from typing import Any

import pytest
from tests.shell.fakes import FakeBackend
from tests.shell.test_clients import Stage

from gamecluster.core.effects import Deliver
from gamecluster.core.messages import Op
from gamecluster.services.notices import LAST, TABLE
from gamecluster.shell.standings import Notifications


class Pod:
    """The driver, as far as notifications go."""

    def __init__(self, stage: Stage) -> None:
        self.rows = stage.backend.rows


@pytest.fixture
def stage() -> Stage:
    return Stage(FakeBackend())


def notice(body: str) -> dict[str, Any]:
    return {"body": body, "at": 5}


def ask(stage: Stage, player: str = "ann", topic: str = "player:ann") -> tuple[Any, list[Any]]:
    client = stage.client()
    return client, client.say("1", "1", topic, "phx_join", {"token": stage.tokens.sign(player, "s1")})


def test_what_is_kept_follows_the_answer_oldest_first(stage: Stage) -> None:
    stage.backend.tables[TABLE] = {"ann": {"7": notice("a"), "8": None, "9": notice("b")}, "bob": {"1": notice("x")}}
    _, heard = ask(stage)
    assert [(frame[3], frame[4].get("status") or frame[4]) for frame in heard] == [
        ("phx_reply", "ok"),
        ("notification", {"id": "7", "body": "a", "at": 5}),
        ("notification", {"id": "9", "body": "b", "at": 5}),
    ]


@pytest.mark.parametrize(("player", "topic"), [("bob", "player:ann"), ("ann", "player:annie"), ("ann", "player:*")])
def test_nobody_else_is_let_in(stage: Stage, player: str, topic: str) -> None:
    _, [reply] = ask(stage, player, topic)
    assert (reply[4]["status"], reply[4]["response"]["reason"]) == ("error", "not yours")
    [reply] = stage.client().say("1", "1", topic, "phx_join", {})
    assert reply[4]["response"]["reason"] == "token needed"


def test_what_comes_while_a_client_is_being_let_in_is_sent_once(stage: Stage) -> None:
    notifications = Notifications(Pod(stage), stage.hub)  # type: ignore[arg-type]
    stage.backend.tables[TABLE] = {"ann": {"7": notice("before")}}
    stage.backend.held = []
    client, heard = ask(stage)
    assert heard == []

    def commit(id: str, body: str) -> None:
        ops: list[Op] = [(LAST, "id", {"n": int(id)}), (TABLE, "ann", {id: notice(body)})]
        stage.backend.tables[TABLE]["ann"] |= {id: notice(body)}
        notifications.changed(ops)

    commit("8", "meanwhile")
    [let_in] = stage.backend.held
    let_in()
    assert [frame[4].get("body") for frame in client.hear()] == [None, "before", "meanwhile"]
    commit("9", "after")
    assert [frame[4]["body"] for frame in client.hear()] == ["after"]


def test_another_of_the_players_clients_gets_all_of_it_as_well(stage: Stage) -> None:
    stage.backend.tables[TABLE] = {"ann": {"7": notice("a")}}
    first, _ = ask(stage)
    second, heard = ask(stage)
    assert len(heard) == 2
    assert first.hear() == []
    stage.hub.deliver(Deliver("player:ann", "notification", b'{"id":"8"}'))
    assert len(first.hear()) == len(second.hear()) == 1
