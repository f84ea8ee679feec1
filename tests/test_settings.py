"""The environment of a node: what is read, what is refused, and how that is said."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from gamecluster.errors import ConfigurationError
from gamecluster.settings import PREFIX, Settings, variables


def read(**environment: str) -> Settings:
    return Settings.from_env({PREFIX + name: value for name, value in ({"NODE": "arena-0"} | environment).items()})


def test_a_node_needs_nothing_but_its_name() -> None:
    settings = read()
    assert (settings.node, settings.host, settings.port) == ("arena-0", "127.0.0.1", 4000)
    assert (settings.mesh_port, settings.admin_port) == (4100, 4200)
    assert settings.targets == () and settings.takeover and settings.limit_messages_per_second == 60


def test_everything_can_be_set() -> None:
    settings = read(
        NAME="arena",
        TARGETS="a:A, b.py:B ,",
        HOST="0.0.0.0",
        PORT="5000",
        MESH_PORT="5001",
        ADMIN_PORT="5002",
        ADMIN_TOKEN="t",
        PEERS="dns:arena-mesh:4100,10.0.0.1:4100",
        LEASE="kubernetes:games/arena-gamestate",
        MESH_KEY_FILE="/keys/mesh",
        DATA_DIR="/data",
        TAKEOVER="off",
        ALLOWED_ORIGINS="https://a.example,https://b.example",
        SUSPECT_AFTER_MILLISECONDS="250",
    )
    assert settings.targets == ("a:A", "b.py:B")
    assert settings.peers == ("dns:arena-mesh:4100", "10.0.0.1:4100")
    assert settings.mesh_key_file == Path("/keys/mesh") and settings.data_dir == Path("/data")
    assert (settings.takeover, settings.suspect_after_seconds, settings.is_loopback) == (False, 0.25, False)
    assert settings.allowed_origins == ("https://a.example", "https://b.example")


def test_other_variables_and_empty_ones_are_of_no_account() -> None:
    assert Settings.from_env({"PATH": "/bin", PREFIX + "NODE": "a", PREFIX + "PORT": " "}).port == 4000


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("NODE", "has space", "a DNS label"),
        ("NODE", "under_score", "a DNS label"),
        ("NODE", "x" * 64, "a DNS label"),
        ("PORT", "http", "a whole number from 1 to"),
        ("PORT", "0", "a whole number from 1 to"),
        ("PORT", "70000", "a whole number from 1 to"),
        ("LEASE", "arena", "file:<path> or kubernetes:<namespace>/<name>"),
        ("LEASE", "kubernetes:arena", "file:<path> or kubernetes:<namespace>/<name>"),
        ("PEERS", "arena-1", "a list of host:port"),
        ("TAKEOVER", "maybe", "on or off"),
        ("LOG_FORMAT", "xml", "text or json"),
        ("PUBSUB", "smoke", "mesh"),
        ("PUBSUB", "redis:", "redis://<host>:<port>"),
        ("PUBSUB", "redis://", "redis://<host>:<port>"),
        ("PUBSUB", "redis://broker:port/0", "redis://<host>:<port>"),
        ("PUBSUB", "amqp://broker", "mesh, redis://"),
        ("PUBSUB", "postgresql:///game", "postgresql://<user>@<host>:<port>/<database>"),
        ("LIMIT_FRAME_BYTES", "12", "a whole number from 128"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(name: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read(**{name: value})
    assert str(raised.value).startswith(f"{PREFIX}{name}={value!r}: expected ")
    assert expected in str(raised.value)


@pytest.mark.parametrize("password", ["pass", "p@ss", "p:a?s#s"])
def test_a_password_in_a_wrong_value_is_not_told(password: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read(PUBSUB=f"amqp://alice:{password}@broker/0")
    assert password not in str(raised.value) and "alice" not in str(raised.value)
    assert "'amqp://…@broker/0'" in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://broker",
        "rediss://:secret@broker:6380/1",
        "redis://[::1]:6379",
        "postgresql://game@a:1,b:2/game",
        "postgres://game@db/x?sslmode=require",
        "postgresql:///game?host=/run/postgresql",
    ],
)
def test_every_way_to_name_a_broker_is_taken(url: str) -> None:
    assert read(PUBSUB=url).pubsub == url


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"ADMIN_PORT": "4000"}, "must differ"),
        ({"PEERS": "a:1", "LEASE": "file:x"}, "PEERS needs GAMECLUSTER_MESH_KEY_FILE"),
        ({"PEERS": "a:1", "MESH_KEY_FILE": "k"}, "PEERS needs GAMECLUSTER_LEASE"),
        ({"HOST": "0.0.0.0"}, "needs GAMECLUSTER_ADMIN_TOKEN"),
        ({"SUSPECT_AFTER_MILLISECONDS": "4000"}, "must be at least four times"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(environment: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        read(**environment)


def test_a_missing_name_and_a_misspelt_variable_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="GAMECLUSTER_NODE is missing"):
        Settings.from_env({})
    with pytest.raises(ConfigurationError, match=r"GAMECLUSTER_PROT is not a variable.*GAMECLUSTER_PORT"):
        read(PROT="4000")


def test_every_setting_is_in_the_table_with_its_meaning() -> None:
    table = variables()
    assert [row[0] for row in table] == [PREFIX + f.name.upper() for f in fields(Settings)]
    assert all(meaning for _, _, meaning in table)
    assert ("GAMECLUSTER_PORT", "4000", "client port (WebSocket and page)") in table
