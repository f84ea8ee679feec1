"""The ``GameCluster`` manifest, as ``kubectl apply`` takes it, read for a local cluster.

Checked like the API server checks it: a wrong or unknown field gives an error with its path and what would be right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import UNSET, Meta, Struct, UnsetType

from .errors import ConfigurationError

API_VERSION = "gamecluster.dev/v1alpha1"
DEMO_TARGETS = ("gamecluster.demo:Arena", "gamecluster.demo:Room")

Name = Annotated[str, Meta(pattern="^[a-z]([-a-z0-9]{0,43}[a-z0-9])?$")]
Target = Annotated[str, Meta(pattern=r"^[^:,\s]+:[A-Za-z_][A-Za-z0-9_]*$")]
Anything = dict[str, Any]


class GameState(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    replicas: Annotated[int, Meta(ge=1, le=9)] | UnsetType = UNSET
    suspect_after_milliseconds: Annotated[int, Meta(ge=100, le=60_000)] | UnsetType = UNSET
    lease_duration_seconds: Annotated[int, Meta(ge=3, le=600)] | UnsetType = UNSET
    durability: Literal["Memory", "Storage"] | UnsetType = UNSET
    on_total_loss: Literal["Restore", "Reset"] | UnsetType = UNSET
    alone_without_api: Literal["Stop", "Continue"] | UnsetType = UNSET


class Limits(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    messages_per_second: Annotated[int, Meta(ge=1, le=100_000)] | UnsetType = UNSET
    frame_bytes: Annotated[int, Meta(ge=128, le=16_777_216)] | UnsetType = UNSET
    connections_per_pod: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType = UNSET


class Pubsub(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    type: Literal["Mesh", "Redis", "PostgreSQL"] = "Mesh"
    secret_ref: Anything = {}


class Storage(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    type: Literal["Memory", "Volume", "Redis", "PostgreSQL"] = "Memory"
    size: str = ""
    storage_class_name: str = ""
    secret_ref: Anything = {}


class Spec(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """``spec``. What only Kubernetes can do (image, expose, template …) is taken and left alone here."""

    targets: Annotated[tuple[Target, ...], Meta(min_length=1)]
    replicas: Annotated[int, Meta(ge=1, le=20)] = 3
    game_state: GameState = GameState()
    limits: Limits = Limits()
    allowed_origins: tuple[str, ...] = ()
    pubsub: Pubsub = Pubsub()
    storage: Storage = Storage()
    presence_grace_milliseconds: Annotated[int, Meta(ge=0, le=60_000)] | UnsetType = UNSET
    image: str = ""
    paused: bool = False
    template: Anything = {}
    expose: Anything = {}
    network_policy: Anything = {}
    autoscaling: Anything = {}


class Metadata(Struct, frozen=True):
    """Labels, annotations and the like are the API server's to judge."""

    name: Name
    namespace: str = ""


class Manifest(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    api_version: Literal["gamecluster.dev/v1alpha1"]
    kind: Literal["GameCluster"]
    metadata: Metadata
    spec: Spec
    status: Anything = {}

    @property
    def environment(self) -> dict[str, str]:
        """What this spec puts into a node's environment: only what it sets, so that defaults stay in one place."""
        state, limits = self.spec.game_state, self.spec.limits
        values = {
            "GAMECLUSTER_NAME": self.metadata.name,
            "GAMECLUSTER_TARGETS": ",".join(self.spec.targets),
            "GAMECLUSTER_ALLOWED_ORIGINS": ",".join(self.spec.allowed_origins),
            "GAMECLUSTER_GAMESTATE_REPLICAS": state.replicas,
            "GAMECLUSTER_SUSPECT_AFTER_MILLISECONDS": state.suspect_after_milliseconds,
            "GAMECLUSTER_LEASE_DURATION_SECONDS": state.lease_duration_seconds,
            "GAMECLUSTER_STORAGE": "volume:" if self.spec.storage.type == "Volume" else UNSET,
            "GAMECLUSTER_DURABILITY": _lower(state.durability),
            "GAMECLUSTER_ALONE_WITHOUT_API": _lower(state.alone_without_api),
            "GAMECLUSTER_LIMIT_MESSAGES_PER_SECOND": limits.messages_per_second,
            "GAMECLUSTER_LIMIT_FRAME_BYTES": limits.frame_bytes,
            "GAMECLUSTER_LIMIT_CONNECTIONS": limits.connections_per_pod,
            "GAMECLUSTER_PRESENCE_GRACE_MILLISECONDS": self.spec.presence_grace_milliseconds,
        }
        return {name: str(value) for name, value in values.items() if value not in (UNSET, "")}


def _lower(choice: str | UnsetType) -> str | UnsetType:
    return choice.lower() if isinstance(choice, str) else UNSET


def read(path: Path) -> Manifest:
    """The one GameCluster among the documents of a YAML file. Raises ConfigurationError."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8 text") from None
    return parse(text, str(path))


def parse(text: str, source: str) -> Manifest:
    """``source`` is what errors call the text. Raises ConfigurationError."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source}: is not YAML: {' '.join(str(error).split())}") from None
    clusters = [d for d in documents if isinstance(d, dict) and d.get("kind") == "GameCluster"]
    if len(clusters) != 1:
        kinds = (
            ", ".join(str(d.get("kind")) if isinstance(d, dict) else type(d).__name__ for d in documents) or "nothing"
        )
        raise ConfigurationError(
            f"{source}: expected one document of kind GameCluster, found {len(clusters)} (in it: {kinds})"
        )
    return _convert(clusters[0], source)


def _convert(document: Anything, source: str) -> Manifest:
    unknown = _unknown_field(Manifest, document, "")
    if unknown:
        raise ConfigurationError(f"{source}: {unknown}")
    try:
        return msgspec.convert(document, Manifest)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `")
        where = path.rstrip("`").removeprefix("$.") or "the document"
        raise ConfigurationError(f"{source}: {where}: {_plainer(what, where)}") from None


def _plainer(what: str, where: str) -> str:
    options = {
        "apiVersion": f"expected {API_VERSION}",
        "metadata.name": "expected a letter, then lower-case letters, digits and dashes, at most 45",
        "spec.gameState.durability": "expected Memory or Storage",
        "spec.gameState.onTotalLoss": "expected Restore or Reset",
        "spec.gameState.aloneWithoutApi": "expected Stop or Continue",
        "spec.pubsub.type": "expected Mesh, Redis or PostgreSQL",
        "spec.storage.type": "expected Memory, Volume, Redis or PostgreSQL",
    }
    if where.startswith("spec.targets[") and ", got" not in what:
        return "expected module:Class or file.py:Class"
    if where in options and ", got" not in what:
        return options[where]
    said = (
        what.replace("Object missing required field", "is missing the field")
        .replace("Expected", "expected")
        .replace("`", "")
    )
    if where == "spec.replicas" and ">= 1" in said:
        return f"{said}: `gamecluster up` plays at once; `gamecluster scale 0` then lets the game sleep in its storage"
    return said


def _unknown_field(kind: type[Struct], value: object, path: str) -> str | None:
    """The first field that ``kind`` doesn't know, with the ones that it knows."""
    if not isinstance(value, dict):
        return None
    known = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for name, inner in value.items():
        where = f"{path}.{name}" if path else str(name)
        if name not in known and kind is not Metadata:
            return f"{where}: there is no such field; {path or 'a GameCluster'} has {', '.join(sorted(known))}"
        nested = known.get(name)
        if isinstance(nested, type) and issubclass(nested, Struct):
            found = _unknown_field(nested, inner, where)
            if found:
                return found
    return None
