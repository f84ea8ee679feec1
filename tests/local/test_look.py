"""What `gamecluster rooms` prints of an answer of ``GET /rooms``."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from gamecluster import kubectl, look
from gamecluster.cli import main

Shown = Callable[..., str]


def rooms(count: int) -> look.Answer:
    """``zone-…`` and ``duel-…``, on three nodes."""
    kinds = ("zone", "Zone"), ("duel", "Duel")
    made = {}
    for number in range(count):
        beginning, kind = kinds[number % 2]
        node, backup = f"arena-{number % 3}", f"arena-{(number + 1) % 3}"
        players = None if number % 3 == 2 else number
        made[f"{beginning}-{number:05}"] = {
            "kind": kind,
            "node": node,
            "backups": [backup],
            "epoch": 1,
            "players": players,
        }
    return {"rooms": made}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    def shown(answer: look.Answer, *arguments: str) -> str:
        monkeypatch.setattr(look, "first_that_answers", lambda urls, path: {"/rooms": answer}[path])
        assert main(["rooms", "--url", "http://127.0.0.1:4201", *arguments]) == 0
        return capsys.readouterr().out

    return shown


def test_rooms_are_a_table_below_how_many_each_node_has(shown: Shown) -> None:
    assert shown(rooms(3)).splitlines() == [
        "NODE     ROOMS  BACKUPS",
        "arena-0  1      1",
        "arena-1  1      1",
        "arena-2  1      1",
        "",
        "ROOM        KIND  NODE     BACKUPS  EPOCH  PLAYERS",
        "duel-00001  Duel  arena-1  arena-2  1      1",
        "zone-00000  Zone  arena-0  arena-1  1      0",
        "zone-00002  Zone  arena-2  arena-0  1      -",
    ]
    assert shown({"rooms": {}}) == "there are no rooms\n"


def test_of_many_rooms_some_are_shown_and_it_says_how_to_see_more(shown: Shown) -> None:
    lines = shown(rooms(10_000)).splitlines()
    assert len(lines) == 4 + 1 + 1 + look.ROOMS_SHOWN + 1
    assert lines[1].split() == ["arena-0", "3,334", "3,333"]
    assert lines[-1] == "… and 9,950 more: --match 'zone-*' shows some, --all shows all"
    assert len(shown(rooms(10_000), "--all").splitlines()) == 10_006


def test_rooms_that_match_are_all_shown(shown: Shown) -> None:
    lines = shown(rooms(1000), "--match", "zone-*").splitlines()
    assert len(lines) == 4 + 1 + 1 + 500 and all(line.startswith("zone-") for line in lines[6:])
    assert shown(rooms(10), "--match=none-*") == "no room matches none-*\n"
    assert list(json.loads(shown(rooms(10), "--match", "*-00007", "--json"))["rooms"]) == ["duel-00007"]


def test_on_kubernetes_the_pod_is_asked_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(kubectl, "ask", lambda *arguments: "pod/arena-0\n")
    monkeypatch.setattr(kubectl, "show", lambda arguments: ran.append(list(arguments)) or 0)
    assert main(["rooms", "-n", "games", "arena", "--match", "zone-*"]) == 0
    assert ran[0][ran[0].index("--") + 1 :] == [
        *("python", "-m", "gamecluster", "rooms", "--match=zone-*"),
        *("--url", look.KUBERNETES_ADMIN_URL),
    ]
