"""The GameCluster as people write it, parsed into values, and what of it can't be done, in words that say what can.

The schema in ``crds/`` has checked types and bounds before anything gets here. What is left are choices that this version
accepts but does not build; and, where a schema of another version let it through, plain nonsense (``SpecError``).
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
class Expose:
    type: str = "ClusterIP"
    per_pod: bool = True


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
    limits: Limits = Limits()
    storage: Storage = Storage()
    allowed_origins: tuple[str, ...] = ()
    network_policy: bool = True
    paused: bool = False
    template: Object = field(default_factory=dict, hash=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


def parse(body: Object) -> GameCluster:
    """Raises SpecError, which names the field."""
    meta, spec = body["metadata"], _Fields("spec", body.get("spec") or {})
    game_state, expose, limits = spec.group("gameState"), spec.group("expose"), spec.group("limits")
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
        expose=Expose(expose.text("type", "ClusterIP"), expose.switch("perPod", True)),
        limits=Limits(
            messages_per_second=limits.integer("messagesPerSecond", 60),
            frame_bytes=limits.integer("frameBytes", 65_536),
            connections_per_pod=limits.integer("connectionsPerPod", 10_000),
        ),
        storage=_storage(spec.group("storage")),
        allowed_origins=spec.texts("allowedOrigins"),
        network_policy=spec.group("networkPolicy").switch("enabled", True),
        paused=spec.switch("paused", False),
        template=spec.group("template").values,
    )


def _storage(group: _Fields) -> Storage:
    secret = group.group("secretRef")
    return Storage(
        type=group.text("type", "Memory"),
        size=group.text("size", "1Gi"),
        class_name=group.text("storageClassName", ""),
        secret=secret.text("name", ""),
        key=secret.text("key", "url"),
    )


BUILT: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("pubsub.type", ("Mesh",), "broadcasts travel over the pods' own mesh"),
    (
        "expose.type",
        ("ClusterIP", "NodePort", "LoadBalancer"),
        "put your own Ingress or HTTPRoute in front of the Service",
    ),
    ("presenceGraceMilliseconds", (500,), "the grace is fixed"),
)
"""Fields whose schema says more than this version does: the values that work, and what they mean."""


def problems(body: Object) -> list[Problem]:
    """What this version can't do of a spec, each with what works instead."""
    found = []
    for path, works, meaning in BUILT:
        value: Any = body.get("spec") or {}
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None and value not in works:
            choices = " or ".join(str(choice) for choice in works)
            found.append(Problem("NotSupported", f"spec.{path}: {value} is not built yet; use {choices} ({meaning})"))
    found += _storage_problems(body.get("spec") or {})
    if (body.get("spec") or {}).get("autoscaling"):
        advice = "remove it, and point a HorizontalPodAutoscaler at this GameCluster's scale subresource"
        found.append(Problem("NotSupported", f"spec.autoscaling is not built yet; {advice}"))
    return found


def _storage_problems(spec: Object) -> list[Problem]:
    storage = spec.get("storage") or {}
    kind = storage.get("type") or "Memory"
    found = []
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

    def integer(self, name: str, default: int) -> int:
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

    def _get(self, name: str, kind: type, default: Any) -> Any:
        value = self.values.get(name)
        if value is None:
            value = default
        if value is None:
            raise SpecError(f"{self.path}.{name} is missing")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise SpecError(f"{self.path}.{name}: expected {kind.__name__}, got {value!r}")
        return value
