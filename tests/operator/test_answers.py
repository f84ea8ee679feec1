from __future__ import annotations

import json
from typing import Any

import pytest

from gamecluster_operator.answers import Answer, change, page
from gamecluster_operator.kube import Change, Conflict, Expired, NotFound, Refused, Unavailable

POD = {"metadata": {"name": "a", "namespace": "games", "resourceVersion": "7"}}


def line(type: str, object: Any) -> bytes:
    return json.dumps({"type": type, "object": object}).encode()


def test_an_event_is_a_change_and_a_bookmark_only_a_version() -> None:
    for type in ("ADDED", "MODIFIED", "DELETED"):
        told = change("Pod", line(type, POD))
        assert told.seen is not None and told.seen.id == ("Pod", "games", "a")
        assert (told.version, told.is_deleted) == (7, type == "DELETED")
    assert change("Pod", line("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "9"}})) == Change(9)


@pytest.mark.parametrize("code", [410, 500])
def test_after_any_error_in_a_watch_nobody_knows_what_happened(code: int) -> None:
    with pytest.raises(Expired, match="too old"):
        change("Pod", line("ERROR", {"kind": "Status", "code": code, "message": "too old"}))


def test_a_page_says_how_to_ask_for_the_next_one() -> None:
    body = {"metadata": {"resourceVersion": "9", "continue": "here", "remainingItemCount": 5}, "items": [POD]}
    found, more = page("Pod", json.dumps(body).encode())
    assert ([seen.name for seen in found.sightings], found.version, more) == (["a"], 9, "here")
    found, more = page("Pod", json.dumps({"metadata": {"resourceVersion": "9"}, "items": None}).encode())
    assert (found.sightings, more) == ([], "")


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"metadata": {"resourceVersion": "9"}, "items": [{}]}'])
def test_what_is_not_the_api_servers_is_no_list(body: bytes) -> None:
    with pytest.raises(Unavailable):
        page("Pod", body)
    with pytest.raises(Unavailable):
        change("Pod", body)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound),
        (409, Conflict),
        (410, Expired),
        (403, Refused),
        (422, Refused),
        (429, Unavailable),
        (500, Unavailable),
    ],
)
def test_what_a_status_means(status: int, error: type[Exception]) -> None:
    found = Answer(status, "6", b'{"kind": "Status", "message": "said\\nmore"}').error()
    assert type(found) is error and str(found) == "said"
    assert not isinstance(found, Unavailable) or status == 404 or found.retry_after_seconds == 6
    assert str(Answer(status, "", b"").error()) == f"HTTP status {status}"
    assert "bad gateway" in str(Answer(status, "", b"bad gateway").error())
