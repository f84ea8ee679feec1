"""The GameCluster as people write it, parsed into values, and what of it can't be done, in words that say what can.

The schema in ``crds/`` has checked types, bounds and what goes together before anything gets here. What is left is what the schema
of another version let through: choices that can't be done (``Problem``), and plain nonsense (``SpecError``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .labels import Object


class OperatorError(Exception):
    """Base of every error that this package raises on purpose."""


class SpecError(OperatorError):
    """The spec can't be read; the text names the field."""


@dataclass(frozen=True)
class Problem:
    """Why something can't go on until somebody changes something: becomes the condition Stalled."""

    reason: str
    message: str


@dataclass(frozen=True)
class GameState:
    replicas: int = 3
    suspect_after_milliseconds: int = 500
    lease_duration_seconds: int = 15
    on_total_loss: str = "Restore"
    durability: str = "Memory"
    alone_without_api: str = "Stop"


@dataclass(frozen=True)
class Storage:
    """``secret``, ``key``: where the URL of Redis or PostgreSQL is."""

    type: str = "Memory"
    size: str = "1Gi"
    class_name: str = ""
    secret: str = ""
    key: str = "url"


@dataclass(frozen=True)
class PubSub:
    """``secret``, ``key``: where the URL of Redis or PostgreSQL is."""

    type: str = "Mesh"
    secret: str = ""
    key: str = "url"


@dataclass(frozen=True)
class Gateway:
    """The one that routes join; ``namespace`` empty: the GameCluster's; ``section_name`` empty: all its listeners."""

    name: str = ""
    namespace: str = ""
    section_name: str = ""


@dataclass(frozen=True)
class Expose:
    """``tls``: clients come over TLS, whoever ends it. ``annotations``: of the Ingress or routes, else of the Services."""

    type: str = "ClusterIP"
    per_pod: bool = True
    host: str = ""
    class_name: str = ""
    gateway: Gateway = Gateway()
    tls_secret: str = ""
    tls: bool = False
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def is_tls(self) -> bool:
        return self.tls or bool(self.tls_secret)


@dataclass(frozen=True)
class Autoscaling:
    """``players_per_pod`` 0: not looked at. The seconds: for how long the load must ask for it."""

    min_replicas: int = 3
    max_replicas: int = 3
    connections_per_pod: int = 2000
    players_per_pod: int = 0
    up_seconds: int = 30
    down_seconds: int = 300


@dataclass(frozen=True)
class Limits:
    messages_per_second: int = 60
    frame_bytes: int = 65_536
    connections_per_pod: int = 10_000


@dataclass(frozen=True)
class GameCluster:
    """One GameCluster: who it is, and what is wanted."""

    namespace: str
    name: str
    uid: str
    generation: int
    image: str
    targets: tuple[str, ...]
    replicas: int = 3
    game_state: GameState = GameState()
    expose: Expose = Expose()
    autoscaling: Autoscaling | None = None
    limits: Limits = Limits()
    pubsub: PubSub = PubSub()
    storage: Storage = Storage()
    allowed_origins: tuple[str, ...] = ()
    presence_grace_milliseconds: int = 500
    network_policy: bool = True
    paused: bool = False
    template: Object = field(default_factory=dict, hash=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


def parse(body: Object) -> GameCluster:
    """Raises SpecError, which names the field."""
    meta, spec = body["metadata"], _Fields("spec", body.get("spec") or {})
    game_state, limits = spec.group("gameState"), spec.group("limits")
    return GameCluster(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=int(meta.get("generation") or 0),
        image=spec.text("image"),
        targets=spec.texts("targets"),
        replicas=spec.integer("replicas", 3),
        game_state=GameState(
            replicas=game_state.integer("replicas", 3),
            suspect_after_milliseconds=game_state.integer("suspectAfterMilliseconds", 500),
            lease_duration_seconds=game_state.integer("leaseDurationSeconds", 15),
            on_total_loss=game_state.text("onTotalLoss", "Restore"),
            durability=game_state.text("durability", "Memory"),
            alone_without_api=game_state.text("aloneWithoutApi", "Stop"),
        ),
        expose=_expose(spec.group("expose")),
        autoscaling=_autoscaling(spec.group("autoscaling")),
        limits=Limits(
            messages_per_second=limits.integer("messagesPerSecond", 60),
            frame_bytes=limits.integer("frameBytes", 65_536),
            connections_per_pod=limits.integer("connectionsPerPod", 10_000),
        ),
        pubsub=_pubsub(spec.group("pubsub")),
        storage=_storage(spec.group("storage")),
        allowed_origins=spec.texts("allowedOrigins"),
        presence_grace_milliseconds=spec.integer("presenceGraceMilliseconds", 500),
        network_policy=spec.group("networkPolicy").switch("enabled", True),
        paused=spec.switch("paused", False),
        template=spec.group("template").values,
    )


def _expose(group: _Fields) -> Expose:
    gateway = group.group("gateway")
    return Expose(
        type=group.text("type", "ClusterIP"),
        per_pod=group.switch("perPod", True),
        host=group.text("host", ""),
        class_name=group.text("className", ""),
        gateway=Gateway(gateway.text("name", ""), gateway.text("namespace", ""), gateway.text("sectionName", "")),
        tls_secret=group.text("tlsSecretName", ""),
        tls=group.switch("tls", False),
        annotations=group.pairs("annotations"),
    )


def _autoscaling(group: _Fields) -> Autoscaling | None:
    """None: as many pods as ``spec.replicas`` says."""
    if not group.values:
        return None
    return Autoscaling(
        min_replicas=group.integer("minReplicas", 3),
        max_replicas=group.integer("maxReplicas"),
        connections_per_pod=group.integer("targetConnectionsPerPod", 2000),
        players_per_pod=group.integer("targetPlayersPerPod", 0),
        up_seconds=group.integer("scaleUpStabilizationSeconds", 30),
        down_seconds=group.integer("scaleDownStabilizationSeconds", 300),
    )


def _pubsub(group: _Fields) -> PubSub:
    secret = group.group("secretRef")
    return PubSub(group.text("type", "Mesh"), secret.text("name", ""), secret.text("key", "url"))


def _storage(group: _Fields) -> Storage:
    secret = group.group("secretRef")
    return Storage(
        type=group.text("type", "Memory"),
        size=group.text("size", "1Gi"),
        class_name=group.text("storageClassName", ""),
        secret=secret.text("name", ""),
        key=secret.text("key", "url"),
    )


NOTHING_TO_SLEEP_IN = (
    "0 lets a game sleep in its storage, and storage.type Memory is none: the GameState would be lost. Delete the GameCluster, "
    "or make one with storage.type Volume, Redis or PostgreSQL"
)


def problems(body: Object) -> list[Problem]:
    """What can't be done of a spec, each with what would be right. The schema says most of it when the spec is applied."""
    spec = body.get("spec") or {}
    return [
        *_pubsub_problems(spec),
        *_storage_problems(spec),
        *_expose_problems(spec),
        *_autoscaling_problems(spec),
    ]


def _expose_problems(spec: Object) -> list[Problem]:
    expose = spec.get("expose") or {}
    kind, found = expose.get("type"), []
    if kind in ("Ingress", "HTTPRoute") and not expose.get("host"):
        found.append(Problem("InvalidSpec", f"spec.expose.host is missing: the name that clients of the {kind} use"))
    if kind == "HTTPRoute" and not (expose.get("gateway") or {}).get("name"):
        found.append(Problem("InvalidSpec", "spec.expose.gateway.name is missing: the Gateway that the routes join"))
    return found


def _autoscaling_problems(spec: Object) -> list[Problem]:
    autoscaling = spec.get("autoscaling") or {}
    if autoscaling.get("minReplicas", 3) <= autoscaling.get("maxReplicas", 100):
        return []
    advice = "raise the one, or lower the other (minReplicas is 3 if it is not given)"
    return [Problem("InvalidSpec", f"spec.autoscaling.maxReplicas is below minReplicas; {advice}")]


def _pubsub_problems(spec: Object) -> list[Problem]:
    pubsub = spec.get("pubsub") or {}
    kind = pubsub.get("type") or "Mesh"
    if kind == "Mesh" or (pubsub.get("secretRef") or {}).get("name"):
        return []
    return [Problem("InvalidSpec", f"spec.pubsub.secretRef.name is missing: the Secret with the URL of {kind}")]


def _storage_problems(spec: Object) -> list[Problem]:
    storage = spec.get("storage") or {}
    kind = storage.get("type") or "Memory"
    found = []
    if kind == "Memory" and spec.get("replicas") == 0:
        found.append(Problem("InvalidSpec", f"spec.replicas: {NOTHING_TO_SLEEP_IN}"))
    if kind in ("Redis", "PostgreSQL") and not (storage.get("secretRef") or {}).get("name"):
        found.append(
            Problem("InvalidSpec", f"spec.storage.secretRef.name is missing: the Secret with the URL of {kind}")
        )
    if kind == "Memory" and (spec.get("gameState") or {}).get("durability") == "Storage":
        advice = "set spec.storage.type to Volume, Redis or PostgreSQL"
        found.append(Problem("InvalidSpec", f"spec.gameState.durability: Storage needs a storage; {advice}"))
    return found


@dataclass(frozen=True)
class _Fields:
    """Typed look-ups in one object of the spec; errors name the path."""

    path: str
    values: Object

    def group(self, name: str) -> _Fields:
        return _Fields(f"{self.path}.{name}", self._get(name, dict, {}))

    def text(self, name: str, default: str | None = None) -> str:
        text: str = self._get(name, str, default)
        return text

    def integer(self, name: str, default: int | None = None) -> int:
        number: int = self._get(name, int, default)
        return number

    def switch(self, name: str, default: bool) -> bool:
        on: bool = self._get(name, bool, default)
        return on

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._get(name, list, [])
        if not all(isinstance(value, str) for value in values):
            raise SpecError(f"{self.path}.{name}: expected a list of texts")
        return tuple(values)

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        values = self._get(name, dict, {})
        if not all(isinstance(value, str) for value in values.values()):
            raise SpecError(f"{self.path}.{name}: expected texts as values: put numbers into quotes")
        return tuple(sorted(values.items()))

    def _get(self, name: str, kind: type, default: Any) -> Any:
        value = self.values.get(name)
        if value is None:
            value = default
        if value is None:
            raise SpecError(f"{self.path}.{name} is missing")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise SpecError(f"{self.path}.{name}: expected {kind.__name__}, got {value!r}")
        return value
