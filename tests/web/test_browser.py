"""The demo pages in a real browser, against a real cluster of three nodes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser
from tests.process import harness
from tests.web.browsers import WATCH, Player, chromium, data, elsewhere, wait

NODES = ("arena-0", "arena-1", "arena-2")
RED, BLUE = (239, 83, 80), (79, 140, 255)

Enter = Callable[..., Player]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def other_origin() -> Iterator[str]:
    with elsewhere() as origin:
        yield origin


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, other_origin: str) -> Iterator[harness.Cluster]:
    """What `gamecluster up` plays without a target: the arena, and the room."""
    data_dir = tmp_path_factory.mktemp("up")
    with harness.up(data_dir, name="arena", GAMECLUSTER_ALLOWED_ORIGINS=other_origin) as cluster:
        harness.wait(cluster.healthy, "a healthy cluster")
        yield cluster


@pytest.fixture
def enter(browser: Browser, cluster: harness.Cluster, request: pytest.FixtureRequest) -> Iterator[Enter]:
    """Opens the demo page at a node; all windows are closed, and must have been without errors, at the end."""
    harness.wait(cluster.healthy, "a healthy cluster")
    players: list[Player] = []

    def enter(name: str, node: str, **size: int) -> Player:
        page = page_of(cluster, node)
        players.append(
            Player(browser, page, f"{name}-{len(request.node.name)}-{time.monotonic_ns() % 10_000}", node, **size)
        )
        return players[-1]

    yield enter
    for player in players:
        player.page.evaluate("() => import('./client.js')")  # the page still works
        player.context.close()
        assert player.errors == []


def page_of(cluster: harness.Cluster, node: str) -> str:
    return cluster.nodes()[node]["url"].replace("ws://", "http://").removesuffix("socket")


def test_players_steer_with_wasd_and_see_themselves_red_and_others_blue(enter: Enter) -> None:
    ann, ben = enter("ann", "arena-0"), enter("ben", "arena-1")
    assert (ann.node, ben.node) == ("arena-0", "arena-1")
    assert ann.page.inner_text("#status") == "Playing on arena-0"
    assert ann.page.inner_text("#node") == "arena-0"
    wait(lambda: {ann.name, ben.name} <= ann.ships().keys() & ben.ships().keys(), "they see each other")
    for player in (ann, ben):
        for forth, back in ("da", "sw"):
            steer(player, forth, back)
    part(ann, ben)
    for own, other in ((ann, ben), (ben, ann)):
        wait(lambda own=own, other=other: own.ships()[other.name] == other.ship(), "both know of the same place")  # type: ignore[misc]
        wait(lambda own=own: own.pixel(*own.ship()) == RED, f"{own.name} is red")  # type: ignore[misc]
        wait(lambda own=own, other=other: own.pixel(*other.ship()) == BLUE, f"{other.name} is blue")  # type: ignore[misc]


def test_arrow_keys_steer_too_and_a_held_key_moves_about_twenty_times_a_second(enter: Enter) -> None:
    ann = enter("ann", "arena-0")
    x, _ = ann.at_rest()
    started = time.monotonic()
    ann.hold("ArrowRight" if x < 400 else "ArrowLeft", lambda: abs(ann.ship()[0] - x) >= 200, "200 to the side")
    passed = time.monotonic() - started
    assert 1.5 < passed < 4, "40 moves in about two seconds"


def test_killing_the_leader_costs_a_blink_and_every_ship_is_where_it_was(
    enter: Enter, cluster: harness.Cluster
) -> None:
    leader = cluster.leader()
    others = [node for node in NODES if node != leader]
    victim, ann, ben = enter("vic", leader), enter("ann", others[0]), enter("ben", others[1])
    players = [victim, ann, ben]
    for player in players:
        steer(player, "d", "a")
    before = {player.name: player.at_rest() for player in players}
    for player in players:
        player.page.evaluate(WATCH)
    killed_at = time.time()
    os.kill(cluster.pid(leader), signal.SIGKILL)
    wait(lambda: victim.away() is not None, "the dead node's player noticed")
    victim.is_playing()
    away = victim.away()
    assert away is not None
    print(f"lost after {away[0] - killed_at:.3f} s, playing elsewhere after {away[1] - killed_at:.3f} s")
    assert away[1] - killed_at < 1.0
    assert victim.node in others
    assert ann.away() is None and ben.away() is None, "players of other nodes keep their connection"
    for player in players:
        wait(lambda player=player: before.items() <= player.ships().items(), "every ship is where it was")  # type: ignore[misc]
    for player in players:
        steer(player, "d", "a")


def test_a_move_made_while_the_leader_dies_is_answered_soon(enter: Enter, cluster: harness.Cluster) -> None:
    leader = cluster.leader()
    ann = enter("ann", next(node for node in NODES if node != leader))
    x, _ = ann.at_rest()
    key = "d" if x < 400 else "a"
    ann.page.evaluate(GAPS)
    ann.page.keyboard.down(key)
    wait(lambda: abs(ann.ship()[0] - x) >= 50, "it moves")
    os.kill(cluster.pid(leader), signal.SIGKILL)
    wait(lambda: abs(ann.ship()[0] - x) >= 300, "it moves on")
    ann.page.keyboard.up(key)
    gap = ann.page.evaluate("window.longestGap") / 1000
    print(f"longest time without a change: {gap:.3f} s")
    assert gap < 1.0


def test_a_player_of_a_node_that_hangs_is_on_another_soon(enter: Enter, cluster: harness.Cluster) -> None:
    hung = cluster.leader()
    ann = enter("ann", hung)
    ben = enter("ben", next(node for node in NODES if node != hung))
    place = ann.at_rest()
    ben.at_rest()
    for player in (ann, ben):
        player.page.evaluate(WATCH)
    hung_at = time.time()
    with hanging(cluster.pid(hung)):
        steer(ben, "d", "a")
        wait(lambda: ann.away() is not None, "the page noticed")
        ann.is_playing()
    away = ann.away()
    assert away is not None
    print(f"noticed after {away[0] - hung_at:.3f} s, playing elsewhere after {away[1] - hung_at:.3f} s")
    assert away[1] - hung_at < 2.5
    assert ann.node != hung
    assert ann.ship() == place
    assert ben.away() is None, "whose moves wait for another leader stays where it is"


def test_a_player_who_steers_while_its_node_hangs_moves_on_soon(enter: Enter, cluster: harness.Cluster) -> None:
    hung = cluster.leader()
    ann = enter("ann", hung)
    x, _ = ann.at_rest()
    key = "d" if x < 400 else "a"
    ann.page.evaluate(GAPS)
    ann.page.keyboard.down(key)
    wait(lambda: abs(ann.ship()[0] - x) >= 50, "it moves")
    with hanging(cluster.pid(hung)):
        wait(lambda: abs(ann.ship()[0] - x) >= 300, "it moves on")
    ann.page.keyboard.up(key)
    gap = ann.page.evaluate("window.longestGap") / 1000
    print(f"longest time without a change: {gap:.3f} s")
    assert gap < 2.5
    assert ann.node != hung


@contextmanager
def hanging(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# The longest time between two changes of the position shown, looked at with every frame.
GAPS = """() => {
  let last = performance.now(), shown = document.body.dataset.seq;
  window.longestGap = 0;
  const look = (now) => {
    if (document.body.dataset.seq !== shown) {
      shown = document.body.dataset.seq;
      window.longestGap = Math.max(window.longestGap, now - last);
      last = now;
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


def test_a_reload_resumes_the_player_where_it_was(enter: Enter) -> None:
    ann = enter("ann", "arena-0")
    place = ann.at_rest()
    ann.page.reload()
    ann.is_playing()
    assert data(ann.page, "player") == ann.name
    assert ann.at_rest() == place
    ann.hold("s" if place[1] < 300 else "w", lambda: ann.ship() != place, "it moves")


def test_a_copied_tab_takes_the_player_and_the_first_one_says_so(enter: Enter) -> None:
    ann = enter("ann", "arena-0")
    with ann.page.expect_popup() as popup:
        ann.page.evaluate("() => { window.open(location.href) }")
    second = popup.value
    second.wait_for_selector('body[data-status="joined"]')
    ann.page.wait_for_selector('body[data-status="replaced"]')
    ann.page.get_by_role("button", name="Play here").click()
    ann.is_playing()
    second.wait_for_selector('body[data-status="replaced"]')


def test_a_narrow_window_shows_all_without_scrolling_sideways(enter: Enter) -> None:
    ann = enter("ann", "arena-0", width=360, height=740)
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert ann.page.is_visible("#board") and ann.page.is_visible("#players")


def test_a_hand_written_page_of_another_origin_hears_what_is_shouted_on_another_node(
    browser: Browser, cluster: harness.Cluster, other_origin: str
) -> None:
    urls = [url.removesuffix("/socket") for url in cluster.urls()]
    context = browser.new_context()
    ann, ben = context.new_page(), context.new_page()
    for page, server in ((ann, urls[0]), (ben, urls[1])):
        page.goto(f"{other_origin}/room.html?server={server}")
        page.wait_for_selector('body[data-status="joined"]')
    ann.fill("input", "<b>hello</b>")
    ann.press("input", "Enter")
    for page in (ann, ben):
        page.wait_for_selector("#messages li")
        assert page.inner_text("#messages li") == "<b>hello</b>"
    context.close()


def test_the_hand_written_page_comes_back_elsewhere_when_its_node_is_killed(
    browser: Browser, cluster: harness.Cluster, other_origin: str
) -> None:
    harness.wait(cluster.healthy, "a healthy cluster")
    leader = cluster.leader()
    victim, other = (node for node in NODES if node != leader)
    urls = [cluster.nodes()[node]["url"] for node in (victim, other)]
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{other_origin}/room.html?server={','.join(urls)}")
    page.wait_for_selector('body[data-status="joined"]')
    os.kill(cluster.pid(victim), signal.SIGKILL)
    page.wait_for_selector('body[data-status="closed"]')
    page.wait_for_selector('body[data-status="joined"]')
    assert data(page, "node") == urls[1]
    context.close()


def test_a_page_of_an_origin_that_was_not_allowed_is_not_let_in(browser: Browser, cluster: harness.Cluster) -> None:
    harness.wait(cluster.healthy, "a healthy cluster")
    context = browser.new_context()
    page = context.new_page()
    with elsewhere() as stranger, page.expect_console_message(lambda message: "403" in message.text):
        page.goto(f"{stranger}/room.html?server={cluster.urls()[0]}")
        page.wait_for_selector('body[data-status="closed"]')
    context.close()


def steer(player: Player, forth: str, back: str) -> None:
    """A bit forth, or, from a place too near to that edge, back."""
    axis = "dasw".index(forth) // 2
    from_ = player.at_rest()[axis]
    key = forth if from_ < 300 else back
    player.hold(key, lambda: (player.ship()[axis] - from_) * (1 if key == forth else -1) >= 30, f"{key} steers")
    player.at_rest()


def part(one: Player, other: Player) -> None:
    """Moves them apart, so that neither covers the other."""
    x, other_x = one.at_rest()[0], other.at_rest()[0]
    key = "d" if x < 400 else "a"
    if abs(x - other_x) < 40:
        one.hold(key, lambda: abs(one.ship()[0] - other_x) >= 40, "they part")
    one.at_rest()
