"""A group whose key has sealed as much as it may: the stream goes on in another session, and nobody notices."""

from __future__ import annotations

import pytest

from fountain.protocol.group.api import GroupSettings
from fountain.protocol.schedule.oneway import OnewayBudget
from tests.world.groups import MS, Stage


@pytest.mark.parametrize("is_oneway", [False, True], ids=["reports", "oneway"])
def test_a_stream_outlives_its_keys(is_oneway: bool, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fountain.protocol.group.server.sealed_count_max", lambda _size: 500)
    settings = GroupSettings(oneway=OnewayBudget(loss=0.1) if is_oneway else None)
    stage = Stage(seed, size=100_000, settings=settings, key=bytes(range(32)))
    numbers: dict[tuple[int, int], bytes] = {}

    def watch(datagram: bytes, *_: object) -> None:
        """No number is used twice with one key, which the session's id decides."""
        if datagram[:1] == b"\x1d":
            place = int.from_bytes(datagram[4:12], "big"), int.from_bytes(datagram[12:16], "big")
            assert numbers.setdefault(place, datagram) == datagram

    stage.world.taps.append(watch)
    for name in ("listener 0", "listener 1"):
        stage.path(name, loss=0.05, delay_ns=2 * MS)
        stage.listen(key=bytes(range(32)))
    first = stage.machine.stream.session_id
    assert stage.world.run(stage.all_done)
    assert stage.all_exact()
    assert stage.machine.stream.session_id != first
    assert len({session for session, _ in numbers}) > 2
    assert max(number for _, number in numbers) < 500
