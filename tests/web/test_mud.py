"""The MUD of examples/ and its page: two browsers at two nodes of a real cluster, walking from zone to zone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page
from tests.process import harness
from tests.web.browsers import chromium, data, elsewhere

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[dict[str, Page]]:
    """Ann's and Ben's, who have just come to town, on different nodes."""
    with elsewhere(EXAMPLES) as origin, chromium() as browser:
        targets = (f"{EXAMPLES}/mud.py:Zone", f"{EXAMPLES}/mud.py:Npc")
        with harness.up(tmp_path, *targets, name="mud", GAMECLUSTER_ALLOWED_ORIGINS=origin) as cluster:
            harness.wait(cluster.healthy, "a healthy cluster")
            errors: list[str] = []
            pages = {}
            for name, url in zip(("ann", "ben"), cluster.urls(), strict=False):
                page = pages[name] = browser.new_context().new_page()
                page.on("pageerror", lambda error: errors.append(str(error)))
                page.goto(f"{origin}/mud.html?server={url.removesuffix('/socket')}")
                say(page, name, "The town.")
            yield pages
            assert errors == []


def say(page: Page, line: str, *answers: str) -> None:
    """Enters a line; each answer has to be on the screen, after what was there before, within some seconds."""
    before = len(page.inner_text("#screen"))
    page.fill("#line", line)
    page.press("#line", "Enter")
    for answer in answers:
        hears(page, answer, before)


def hears(page: Page, text: str, after: int = 0) -> None:
    page.wait_for_function(
        "([text, after]) => document.getElementById('screen').textContent.slice(after).includes(text)",
        arg=[text, after],
        timeout=15_000,
    )


def test_who_walks_is_seen_to_go_and_to_come_and_has_what_was_dug(pages: dict[str, Page]) -> None:
    ann, ben = pages["ann"], pages["ben"]
    say(ben, "look", "Here: ann.")
    say(ann, "hello", "You say: hello")
    hears(ben, "ann says: hello")
    say(ann, "ask where is gold?", "The smith says: Dig in the cave")
    hears(ben, "The smith says: Dig in the cave")
    say(ann, "dig", "No: nothing to dig here")
    say(ann, "north", "A forest.")
    hears(ben, "ann goes north.")
    say(ben, "n", "A forest.", "Here: ann.")
    hears(ann, "ben comes.")
    say(ann, "down", "A cave.")
    assert data(ann, "zone") == "game:zone-cave"
    say(ann, "dig", "You have ")
    say(ann, "up", "A forest.", "Here: ben.")
    hears(ben, "ann comes.")
    say(ann, "south", "The town.")
    say(ann, "west", "You say: west")
