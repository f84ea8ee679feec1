"""The API server's audit log: who asked for what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

AUDIT_POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: None, users: [admin, "system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]}
  - {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
  - {level: Metadata}
"""

READS = ("get", "list", "watch")


@dataclass(frozen=True)
class Request:
    """``token``: the one it came with; ``at``: in seconds since 1970."""

    user: str
    token: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    code: int
    at: float

    @property
    def what(self) -> tuple[str, str, str]:
        return self.verb, self.resource, self.name


class Audit:
    """``start``: the length of the log, in bytes, from which on it is read."""

    def __init__(self, log: Path, start: int = 0) -> None:
        self._log, self._start = log, start

    def requests(self, user: str, since: float = 0.0) -> list[Request]:
        """In the order in which they were answered."""
        return [request for request in self._all() if request.user == user and request.at >= since]

    def writes(self, user: str, since: float = 0.0) -> list[Request]:
        return [request for request in self.requests(user, since) if request.verb not in READS]

    def _all(self) -> Iterator[Request]:
        with self._log.open() as log:
            log.seek(self._start)
            lines = log.read().split("\n")[:-1]  # the last one is being written
        for line in lines:
            event = json.loads(line)
            said, user = event.get("objectRef") or {}, event["user"]
            token = user.get("extra", {}).get("authentication.kubernetes.io/credential-id", [""])[0]
            sub = f"/{said['subresource']}" if said.get("subresource") else ""
            yield Request(
                user=user["username"],
                token=token,
                verb=event["verb"],
                group=said.get("apiGroup", ""),
                resource=f"{said.get('resource', '')}{sub}",
                namespace=said.get("namespace", ""),
                name=said.get("name", ""),
                code=event.get("responseStatus", {}).get("code", 0),
                at=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
            )
