"""The manifest for a local cluster: the same one as for Kubernetes, and errors that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from gamecluster import manifest
from gamecluster.errors import ConfigurationError

HEAD = "apiVersion: gamecluster.dev/v1alpha1\nkind: GameCluster\nmetadata: {name: arena}\n"
MINIMAL = HEAD + "spec: {targets: ['m:C']}"
FULL = (
    HEAD
    + """
spec:
  replicas: 5
  image: registry.example/arena:1
  targets: ["gamecluster.demo:Arena"]
  gameState:
    {replicas: 2, suspectAfterMilliseconds: 300, leaseDurationSeconds: 9, durability: Memory, onTotalLoss: Reset, aloneWithoutApi: Continue}
  limits: {messagesPerSecond: 30, frameBytes: 1024, connectionsPerPod: 7}
  allowedOrigins: ["https://play.example.com"]
  expose: {type: NodePort, perPod: true}
  template: {spec: {nodeSelector: {disk: ssd}}}
"""
)


def test_every_setting_of_the_spec_reaches_the_environment() -> None:
    read = manifest.parse(FULL, "a.yaml")
    assert read.spec.replicas == 5
    assert read.environment == {
        "GAMECLUSTER_NAME": "arena",
        "GAMECLUSTER_TARGETS": "gamecluster.demo:Arena",
        "GAMECLUSTER_ALLOWED_ORIGINS": "https://play.example.com",
        "GAMECLUSTER_GAMESTATE_REPLICAS": "2",
        "GAMECLUSTER_SUSPECT_AFTER_MILLISECONDS": "300",
        "GAMECLUSTER_LEASE_DURATION_SECONDS": "9",
        "GAMECLUSTER_DURABILITY": "memory",
        "GAMECLUSTER_ALONE_WITHOUT_API": "continue",
        "GAMECLUSTER_LIMIT_MESSAGES_PER_SECOND": "30",
        "GAMECLUSTER_LIMIT_FRAME_BYTES": "1024",
        "GAMECLUSTER_LIMIT_CONNECTIONS": "7",
    }


def test_what_the_manifest_leaves_out_is_left_to_the_defaults_of_the_node() -> None:
    read = manifest.parse(MINIMAL, "a.yaml")
    assert read.spec.replicas == 3
    assert set(read.environment) == {"GAMECLUSTER_NAME", "GAMECLUSTER_TARGETS"}


def test_a_volume_is_a_folder_of_each_node_and_a_server_is_named_by_the_environment() -> None:
    durable = MINIMAL.replace("['m:C']", "['m:C'], gameState: {durability: Storage}, storage: {type: TYPE}")
    read = manifest.parse(durable.replace("TYPE", "Volume"), "a.yaml")
    assert read.environment["GAMECLUSTER_STORAGE"] == "volume:"
    assert read.environment["GAMECLUSTER_DURABILITY"] == "storage"
    assert "GAMECLUSTER_STORAGE" not in manifest.parse(durable.replace("TYPE", "Redis"), "a.yaml").environment


def test_the_gamecluster_is_found_among_other_documents() -> None:
    text = "kind: Namespace\nmetadata: {name: games}\n---\n" + FULL + "\n---\n"
    assert manifest.parse(text, "a.yaml").metadata.name == "arena"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "spec: {replica: 3}", ["spec.replica: there is no such field", "replicas"]),
        (HEAD + "spec: {gameState: {replica: 3}}", ["spec.gameState.replica:", "spec.gameState has", "replicas"]),
        (HEAD + "spec: {targets: ['m:C'], replicas: three}", ["spec.replicas: expected int, got str"]),
        (HEAD + "spec: {targets: ['m:C'], replicas: 21}", ["spec.replicas: expected int <= 20"]),
        (HEAD + "spec: {targets: ['m:C'], replicas: 0}", ["spec.replicas: expected int >= 1", "`gamecluster scale 0`"]),
        (HEAD + "spec: {targets: arena}", ["spec.targets: ", "array"]),
        (HEAD + "spec: {targets: [1]}", ["spec.targets[0]: expected str, got int"]),
        (HEAD + "spec: {targets: ['m:C'], storage: {type: Disk}}", ["spec.storage.type: expected Memory, Volume"]),
        (
            HEAD + "spec: {targets: ['m:C'], pubsub: {type: Kafka}}",
            ["spec.pubsub.type: expected Mesh, Redis or Postgre"],
        ),
        (
            HEAD + "spec: {targets: ['m:C'], gameState: {durability: Always}}",
            ["spec.gameState.durability: expected Memory or Storage"],
        ),
        (
            HEAD + "spec: {targets: ['m:C'], gameState: {aloneWithoutApi: Wait}}",
            ["spec.gameState.aloneWithoutApi: expected Stop or Continue"],
        ),
        (HEAD + "spec: {targets: ['m:C'], limits: {frameBytes: 1}}", ["spec.limits.frameBytes: expected int >= 128"]),
        (HEAD + "spec: {targets: [arena]}", ["spec.targets[0]: expected module:Class or file.py:Class"]),
        (HEAD + "spec: {targets: []}", ["spec.targets: expected array of length >= 1"]),
        (HEAD + "spec: {}", ["spec: is missing the field targets"]),
        (HEAD, ["the document: is missing the field spec"]),
        (HEAD + "spec: []", ["spec: expected object, got array"]),
        (MINIMAL.replace("{name: arena}", "{name: Arena_1}"), ["metadata.name: expected a letter, then"]),
        (MINIMAL.replace("{name: arena}", "{}"), ["metadata: ", "is missing the field name"]),
        (MINIMAL.replace("v1alpha1", "v2"), ["apiVersion: expected gamecluster.dev/v1alpha1"]),
        ("kind: Deployment", ["expected one document of kind GameCluster, found 0 (in it: Deployment)"]),
        (FULL + "\n---\n" + FULL, ["found 2"]),
        ("", ["found 0 (in it: nothing)"]),
        ("a: [", ["is not YAML"]),
    ],
)
def test_an_error_names_the_place_and_what_is_right(text: str, says: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        manifest.parse(text, "a.yaml")
    assert str(caught.value).startswith("a.yaml: ")
    for part in says:
        assert part in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: can't be read: No such file"):
        manifest.read(tmp_path / "none.yaml")
