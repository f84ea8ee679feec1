"""The operator and the server share no code: here the one's pods are fed to the other."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gamecluster import settings
from gamecluster.core import messages
from gamecluster.manifest import parse as parse_manifest
from gamecluster.shell.lease import merge, parse_document, patch_of
from gamecluster_operator import labels as names
from gamecluster_operator import record, spec
from gamecluster_operator.labels import Object
from gamecluster_operator.podtemplate import DATA_FOLDER, KEYS_FOLDER, pod_template

FIELDS = {
    "metadata.name": "arena-0",
    "metadata.uid": "4c1e6a0e-7a3b-4c53-9d2c-6f6f5a5cf3ae",
    "metadata.labels['controller-revision-hash']": "arena-5d8f7c9b64",
}


def body(**changes: Any) -> Object:
    meta = {"name": "arena", "namespace": "games", "uid": "u", "generation": 1}
    wanted = {"image": "game:1", "targets": ["gamecluster.demo:Arena", "gamecluster.demo:Room"], **changes}
    return {"apiVersion": names.API_VERSION, "kind": "GameCluster", "metadata": meta, "spec": wanted}


def container(**changes: Any) -> Object:
    (made,) = pod_template(spec.parse(body(**changes)))["spec"]["containers"]
    return dict(made)


def environment(**changes: Any) -> dict[str, str]:
    """As the kubelet would fill it in."""
    found = {}
    for variable in container(**changes)["env"]:
        source = variable.get("valueFrom", {})
        if "fieldRef" in source:
            found[variable["name"]] = FIELDS[source["fieldRef"]["fieldPath"]]
        elif "secretKeyRef" in source:
            found[variable["name"]] = f"the {source['secretKeyRef']['key']} of {source['secretKeyRef']['name']}"
        else:
            found[variable["name"]] = variable["value"]
    return found


def test_a_pods_environment_is_what_its_server_understands() -> None:
    made = settings.Settings.from_env(environment())
    assert made.node == "arena-0" and made.name == "arena"
    assert made.pod_uid == FIELDS["metadata.uid"] and made.revision == "arena-5d8f7c9b64"
    assert made.targets == ("gamecluster.demo:Arena", "gamecluster.demo:Room")
    assert made.peers == ("dns:arena-mesh.games.svc:4100",)
    assert made.lease == "kubernetes:games/arena-gamestate"
    assert made.admin_token == "the admin-token of arena-mesh"
    assert (str(made.mesh_key_file), str(made.player_key_file)) == (
        f"{KEYS_FOLDER}/mesh.key",
        f"{KEYS_FOLDER}/player.key",
    )
    assert str(made.data_dir) == DATA_FOLDER


def test_the_defaults_of_both_are_the_same() -> None:
    made, own = settings.Settings.from_env(environment()), settings.Settings(node="arena-0")
    for field in (
        "gamestate_replicas",
        "suspect_after_milliseconds",
        "lease_duration_seconds",
        "alone_without_api",
        "limit_messages_per_second",
        "limit_frame_bytes",
        "limit_connections",
        "presence_grace_milliseconds",
        "pubsub",
        "storage",
        "takeover",
    ):
        assert getattr(made, field) == getattr(own, field), field


def test_the_ports_are_those_that_the_server_listens_on() -> None:
    made = settings.Settings.from_env(environment())
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"client": made.port, "mesh": made.mesh_port, "admin": made.admin_port}


def test_every_field_reaches_its_setting() -> None:
    made = settings.Settings.from_env(
        environment(
            gameState={
                "replicas": 5,
                "suspectAfterMilliseconds": 300,
                "leaseDurationSeconds": 9,
                "aloneWithoutApi": "Continue",
            },
            limits={"messagesPerSecond": 7, "frameBytes": 256, "connectionsPerPod": 11},
            allowedOrigins=["https://play.example.com", "*"],
            presenceGraceMilliseconds=900,
        )
    )
    assert (made.gamestate_replicas, made.suspect_after_milliseconds, made.lease_duration_seconds) == (5, 300, 9)
    assert made.alone_without_api == "continue"
    assert (made.limit_messages_per_second, made.limit_frame_bytes, made.limit_connections) == (7, 256, 11)
    assert made.allowed_origins == ("https://play.example.com", "*")
    assert made.presence_grace_milliseconds == 900


@given(
    st.integers(1, 9),
    st.integers(100, 60_000),
    st.integers(3, 600),
    st.integers(1, 100_000),
    st.integers(128, 16_777_216),
)
def test_whatever_the_schema_allows_the_server_takes(
    replicas: int, suspect: int, lease: int, messages: int, frame: int
) -> None:
    state = {"replicas": replicas, "suspectAfterMilliseconds": suspect, "leaseDurationSeconds": lease}
    env = environment(gameState=state, limits={"messagesPerSecond": messages, "frameBytes": frame})
    if suspect * 4 <= lease * 1000:
        assert settings.Settings.from_env(env).gamestate_replicas == replicas
    else:
        with pytest.raises(settings.ConfigurationError, match="LEASE_DURATION"):
            settings.Settings.from_env(env)


def test_the_local_cluster_reads_the_same_manifest() -> None:
    import json

    state = {"replicas": 2, "aloneWithoutApi": "Continue"}
    wanted = body(gameState=state, limits={"frameBytes": 512}, allowedOrigins=["*"])
    wanted["metadata"] = {"name": "arena"}
    local = parse_manifest(json.dumps(wanted), "test").environment
    on_kubernetes = environment(gameState=state, limits={"frameBytes": 512}, allowedOrigins=["*"])
    assert {name: on_kubernetes[name] for name in local} == local


@given(st.integers(0, 99), st.uuids(), st.integers(1, 10**6))
def test_an_incarnation_is_read_as_it_was_written(ordinal: int, uid: Any, boot: int) -> None:
    who = record.Incarnation(messages.incarnation(f"arena-{ordinal}", str(uid), boot))
    assert (record.name_of(who), record.uid_of(who), record.boot_of(who)) == (f"arena-{ordinal}", str(uid), boot)


@pytest.mark.parametrize(
    ("kind", "url"), [("Redis", "rediss://:pw@redis.db.svc:6380/0"), ("PostgreSQL", "postgresql://u:pw@db.db.svc/game")]
)
def test_a_broker_is_read_from_its_secret(kind: str, url: str) -> None:
    wanted = {"type": kind, "secretRef": {"name": "broker", "key": "address"}}
    told = environment(pubsub=wanted)
    assert told["GAMECLUSTER_PUBSUB"] == "the address of broker"
    assert settings.Settings.from_env({**told, "GAMECLUSTER_PUBSUB": url}).pubsub == url
    named = environment(pubsub={"type": kind, "secretRef": {"name": "broker"}})
    assert named["GAMECLUSTER_PUBSUB"] == "the url of broker"
    assert "GAMECLUSTER_PUBSUB" not in environment(pubsub={"type": "Mesh"})


def test_the_manifest_in_the_docs_has_its_broker_here_and_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pubsub.md").read_text()
    (manifest,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    wanted = yaml.safe_load(manifest)
    assert environment(**wanted["spec"])["GAMECLUSTER_PUBSUB"] == "the url of broker"
    assert parse_manifest(manifest, "docs/pubsub.md").spec.pubsub.type == "Redis"


def test_a_volume_is_where_the_server_looks_for_it() -> None:
    made = container(storage={"type": "Volume"}, gameState={"durability": "Storage"})
    read = settings.Settings.from_env(environment(storage={"type": "Volume"}, gameState={"durability": "Storage"}))
    assert read.durability == "storage"
    assert read.storage.removeprefix("volume:") in [mount["mountPath"] for mount in made["volumeMounts"]]


@pytest.mark.parametrize(
    "written",
    [
        record.Record(7, None, 1005, (), never_held=True),
        record.Record(7, record.Incarnation("a-0_u_2"), 1005, (record.Incarnation("a-0_u_2"),), restore=True),
        record.Record(7, None, 6, (), asleep=record.Asleep(record.Incarnation("a-0_u_2"), 5, 123)),
    ],
)
def test_a_record_of_the_operator_is_read_by_the_server(written: record.Record) -> None:
    lease = record.write({"metadata": {"name": "a", "resourceVersion": "7"}}, written, datetime(2026, 1, 1, tzinfo=UTC))
    read = parse_document(lease)
    assert (read.version, read.holder, read.epoch, read.in_sync) == (7, written.holder, written.epoch, written.in_sync)
    assert (read.never_held, read.restore) == (written.never_held, written.restore)
    assert (read.asleep and read.asleep.position) == (written.asleep and messages.Position(*written.asleep.position))
    assert record.read(merge({"metadata": {}}, patch_of(read, 15, acquired=False))) == written
