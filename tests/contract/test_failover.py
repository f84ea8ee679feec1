"""How a change of leader is accounted for: written by the core, read by the operator and by the server's own tools."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gamecluster import account
from gamecluster.core import events as happened
from gamecluster.settings import Settings
from gamecluster.shell.admin import cluster_status
from gamecluster.shell.metrics import PHASES
from gamecluster_operator import news
from gamecluster_operator.observed import Failover, telling
from tests.core.cluster import Cluster


def handed_over() -> Any:
    """``GET /cluster`` after a planned change."""
    cluster = Cluster()
    cluster.tell("a-1", happened.HandOffRequested("a-2"))
    assert cluster.leader() == "a-2"
    cluster.run(0.5)
    return cluster_status(Settings(node="a-2", name="a"), cluster.nodes["a-2"].view())


def failed_over() -> Any:
    cluster = Cluster()
    cluster.kill("a-0")
    cluster.run(2)
    leader = cluster.leader()
    assert leader is not None
    return cluster_status(Settings(node=leader, name="a"), cluster.nodes[leader].view())


def status_of(answer: Any) -> dict[str, Any]:
    told = telling(answer)
    assert told is not None and told.last_failover is not None
    last = told.last_failover
    return {"epoch": told.epoch, "lastFailover": {"epoch": last.epoch, "reason": last.reason}}


def test_a_hand_over_of_the_core_is_one_to_the_operator_and_on_the_console() -> None:
    answer = handed_over()
    assert news.is_hand_over({}, status_of(answer))
    assert account.is_hand_over(answer["lastFailover"])
    assert answer["lastFailover"]["reason"] == f"{news.HANDED_OVER} a-0"
    assert news.HANDED_OVER == account.HANDED_OVER


def test_a_failover_of_the_core_is_none() -> None:
    answer = failed_over()
    assert not news.is_hand_over({}, status_of(answer))
    assert not account.is_hand_over(answer["lastFailover"])


def test_everything_that_the_core_accounts_for_is_read() -> None:
    for answer in (handed_over(), failed_over()):
        told = telling(answer)
        assert told is not None and told.last_failover is not None
        written = {name: took for name, took in answer["lastFailover"].items() if name.endswith("Milliseconds")}
        assert told.last_failover.milliseconds() == written
        assert written.keys() == set(account.PARTS) and set(PHASES.values()) <= written.keys()
        assert account.is_whole(answer["lastFailover"]) and news.is_accounted_for(
            {"epoch": told.epoch, "lastFailover": answer["lastFailover"]}
        )


milliseconds = st.one_of(st.none(), st.integers(0, 99_999))


@given(
    st.sampled_from(["link reset", "silent for 500 ms", "handed over by a-0", ""]),
    st.tuples(milliseconds, milliseconds, milliseconds, milliseconds, milliseconds),
)
def test_operator_and_console_say_it_in_the_same_words(reason: str, times: tuple[int | None, ...]) -> None:
    last = {"reason": reason, **Failover("a-0", "a-1", 2, reason, *times).milliseconds()}
    assert news.account(last).removeprefix(":").strip() == account.told(last)
