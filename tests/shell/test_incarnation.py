from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gamecluster.core.messages import boot_of, name_of, pod_of
from gamecluster.errors import ConfigurationError
from gamecluster.settings import Settings
from gamecluster.shell.incarnation import release, this_incarnation


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"


def settings(folder: Path, uid: str = "") -> Settings:
    return Settings(node="arena-0", data_dir=folder, pod_uid=uid)


def booted(folder: Path, uid: str = "") -> str:
    """As a process that ends right afterwards."""
    try:
        return this_incarnation(settings(folder, uid))
    finally:
        release(folder)


def test_a_restarted_process_is_a_later_incarnation_of_the_same_pod(folder: Path) -> None:
    lives = [booted(folder) for _ in range(3)]
    assert [boot_of(life) for life in lives] == [1, 2, 3]
    assert len({pod_of(life) for life in lives}) == 1
    assert {name_of(life) for life in lives} == {"arena-0"}


def test_two_folders_are_two_pods(tmp_path: Path) -> None:
    assert pod_of(booted(tmp_path / "a")) != pod_of(booted(tmp_path / "b"))


def test_the_pod_uid_of_the_environment_is_used_and_counted(folder: Path) -> None:
    assert booted(folder, "uid-1") == "arena-0_uid-1_1"
    assert booted(folder, "uid-1") == "arena-0_uid-1_2"


def test_another_pod_uid_never_repeats_an_incarnation(folder: Path) -> None:
    lives = [booted(folder, uid) for uid in ("uid-1", "uid-2", "uid-1")]
    assert len(set(lives)) == 3
    assert boot_of(lives[2]) > boot_of(lives[0])


def test_a_second_process_in_the_folder_is_told_who_holds_it(folder: Path) -> None:
    this_incarnation(settings(folder))
    try:
        code = (
            "import sys; from pathlib import Path; from gamecluster.settings import Settings\n"
            "from gamecluster.shell.incarnation import this_incarnation\n"
            "this_incarnation(Settings(node='arena-0', data_dir=Path(sys.argv[1])))"
        )
        second = subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=30,
        )
    finally:
        release(folder)
    assert second.returncode != 0
    assert f"in use by process {os.getpid()}" in second.stderr
    assert "GAMECLUSTER_DATA_DIR" in second.stderr


def test_the_folder_is_free_again_when_its_process_was_killed(folder: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from gamecluster.settings import Settings\n"
        "from gamecluster.shell.incarnation import this_incarnation\n"
        "print(this_incarnation(Settings(node='arena-0', data_dir=Path(sys.argv[1]))), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    first = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert first.returncode == -9
    second = booted(folder)
    assert pod_of(second) == pod_of(first.stdout.strip())  # type: ignore[arg-type]
    assert boot_of(second) == 2


def test_a_damaged_file_makes_a_new_pod_or_an_error_but_no_incarnation_twice(folder: Path) -> None:
    first = booted(folder)
    (folder / "incarnation.json").write_text("{")
    assert pod_of(booted(folder)) != pod_of(first)  # type: ignore[arg-type]
    (folder / "incarnation.json").write_text('{"uid": 3}')
    with pytest.raises(ConfigurationError, match=r"incarnation\.json is damaged"):
        booted(folder, "uid-1")


def test_a_uid_that_would_break_the_name_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="GAMECLUSTER_POD_UID"):
        this_incarnation(settings(folder, "a_b,c"))


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="GAMECLUSTER_DATA_DIR"):
        this_incarnation(settings(tmp_path / "file"))
