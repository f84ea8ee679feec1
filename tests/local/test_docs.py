"""What README and docs say of the local cluster and of settings is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gamecluster import manifest
from gamecluster.cli import _parser
from gamecluster.local import plan, reference
from gamecluster.targets import load

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / page
    for page in ("README.md", "docs/local.md", "docs/configuration.md", "docs/performance.md", "docs/pubsub.md")
]
COMMANDS = sorted(
    {
        re.split(r"\s+#", line.strip().strip("`"))[0]
        for page in PAGES
        for line in re.findall(r"^    gamecluster .+$", page.read_text(), re.M)
    }
)


def test_the_table_of_variables_is_the_one_that_the_settings_make() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == reference.page()


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_that_is_shown_is_one(line: str) -> None:
    options = _parser().parse_args(shlex.split(line)[1:])
    assert callable(options.run)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_into_the_repository_leads_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]


def test_the_game_in_the_readme_runs(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    file = tmp_path / "clicker.py"
    file.write_text(code)
    game = load([f"{file}:Clicker"]).game
    assert game is not None and game.__name__ == "Clicker"


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_for_kubernetes_can_be_played_here(file: Path, tmp_path: Path) -> None:
    made = plan.make((), file, nodes=None, port=4000, data=tmp_path, restart=True, environment={})
    assert made.name == manifest.read(file).metadata.name


def test_play_starts_the_example_that_the_readme_names() -> None:
    script = (ROOT / "play").read_text()
    assert (
        "gamecluster up -f examples/arena.yaml" in script and "examples/arena.yaml" in (ROOT / "README.md").read_text()
    )
