from __future__ import annotations

import pytest

from gamecluster_operator.settings import Settings, parse


def test_without_anything_all_namespaces_are_watched() -> None:
    assert parse([], {}) == Settings()


def test_flags_win_over_the_environment() -> None:
    env = {"GAMECLUSTER_OPERATOR_NAMESPACES": "a, b", "GAMECLUSTER_OPERATOR_HEALTH_PORT": "9000"}
    assert parse([], env).namespaces == ("a", "b")
    made = parse(["-n", "c", "-n", "d", "--health-port", "0"], env)
    assert (made.namespaces, made.health_port) == (("c", "d"), 0)


def test_the_election_is_off_unless_it_is_asked_for() -> None:
    env = {"GAMECLUSTER_OPERATOR_LEADER_ELECTION": "true", "GAMECLUSTER_OPERATOR_LEASE_NAMESPACE": "system"}
    assert not parse([], {}).leader_election
    assert (parse([], env).leader_election, parse([], env).lease_namespace) == (True, "system")
    assert not parse(["--no-leader-election"], env).leader_election
    assert parse(["--leader-election", "--lease-namespace", "x"], {}).lease_namespace == "x"


@pytest.mark.parametrize("name", ["LEADER_ELECTION", "HEALTH_PORT", "WORKERS", "LOG_FORMAT", "LOG_LEVEL"])
def test_what_can_not_be_is_said(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([], {f"GAMECLUSTER_OPERATOR_{name}": "nonsense"})
    assert "expected" in capsys.readouterr().err
