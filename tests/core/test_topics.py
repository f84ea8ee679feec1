"""A channel's broadcast on its way to every pod."""

from __future__ import annotations

import msgspec
import pytest

from gamecluster.core.effects import Deliver, SendPeer
from gamecluster.core.messages import Message, Publish
from gamecluster.core.topics import publish, published


@pytest.mark.parametrize(("payload", "binary"), [(b'{"a":1}', False), (b"\x00\xff", True)])
def test_a_broadcast_arrives_at_other_pods_as_it_is_told_here(payload: bytes, binary: bool) -> None:
    here, *sent = publish("room:1", "news", payload, binary, ["b_1_1", "c_1_1"])
    assert here == Deliver("room:1", "news", payload, binary)
    assert [effect.peer for effect in sent if isinstance(effect, SendPeer)] == ["b_1_1", "c_1_1"]
    for effect in sent:
        assert isinstance(effect, SendPeer)
        carried = msgspec.msgpack.decode(msgspec.msgpack.encode(effect.message), type=Message)
        assert isinstance(carried, Publish) and published(carried) == [here]
