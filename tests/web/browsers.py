"""Chromium, and what the tests ask of the pages in it."""

from __future__ import annotations

import functools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

WEB = Path(__file__).parents[2] / "server" / "gamecluster" / "web"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Keeps, in the page, when it was in the game and when not.
WATCH = """() => {
  window.seen = [[Date.now(), document.body.dataset.status]];
  new MutationObserver(() => window.seen.push([Date.now(), document.body.dataset.status]))
    .observe(document.body, {attributes: true, attributeFilter: ["data-status"]});
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "Chromium has to be installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


class Player:
    """One browser window on the arena: a tab of its own, so a player of its own."""

    def __init__(self, browser: Browser, url: str, name: str, node: str, width: int = 1100, height: int = 760) -> None:
        self.name = name
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{url}?player={name}&server={node}")
        self.is_playing()

    def is_playing(self, seconds: float = 15) -> None:
        self.page.wait_for_selector('body[data-status="joined"]', timeout=seconds * 1000)

    @property
    def node(self) -> str:
        return data(self.page, "node")

    def ships(self) -> dict[str, tuple[float, float]]:
        """What the page lists: everyone's place."""
        lines = self.page.eval_on_selector_all(
            "#players li", "all => all.map(({dataset: d}) => [d.player, +d.x, +d.y])"
        )
        return {player: (x, y) for player, x, y in lines}

    def ship(self) -> tuple[float, float]:
        return self.ships()[self.name]

    def hold(self, key: str, until: Callable[[], bool], what: str) -> None:
        self.page.keyboard.down(key)
        try:
            wait(until, what)
        finally:
            self.page.keyboard.up(key)

    def at_rest(self) -> tuple[float, float]:
        """Its place, once it is listed, which is a moment after the join, and no move is on its way."""
        wait(lambda: self.name in self.ships(), f"{self.name}'s ship is listed")
        places: list[tuple[float, float]] = []

        def is_still() -> bool:
            self.page.wait_for_timeout(150)
            places.append(self.ship())
            return len(places) > 5 and len(set(places[-5:])) == 1

        wait(is_still, f"{self.name}'s ship rests")
        return places[-1]

    def pixel(self, x: float, y: float) -> tuple[int, int, int]:
        script = "([x, y]) => [...document.getElementById('board').getContext('2d').getImageData(x, y, 1, 1).data]"
        red, green, blue, _ = self.page.evaluate(script, [round(min(x, 799)), round(min(y, 599))])
        return red, green, blue

    def away(self) -> tuple[float, float] | None:
        """When it was out of the game and when back in it, since WATCH: Unix seconds."""
        seen = self.page.evaluate("window.seen")
        gone = next((at for at, status in seen if status != "joined"), None)
        back = next((at for at, status in reversed(seen) if status == "joined"), None)
        return None if gone is None else (gone / 1000, back / 1000)


def data(page: Page, key: str) -> str:
    return page.get_attribute("body", f"data-{key}") or ""


def wait(met: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"


@contextmanager
def elsewhere(folder: Path = WEB) -> Iterator[str]:
    """The pages of a folder, served by a web server that has nothing to do with the cluster: its origin."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass
