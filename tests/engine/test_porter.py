"""A server that still reads its files or compiles says so to whoever asks, and is waited for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fountain.config import FetchConfig, ServeConfig
from fountain.engine.receiving.fetch import fetch
from fountain.engine.serving import serve as serving
from fountain.engine.serving.porter import Porter
from fountain.engine.serving.serve import serve
from fountain.events import Event, NullObserver, Warned
from fountain.limits import NS
from fountain.net.endpoint import open_endpoint
from fountain.net.probe import exchange
from fountain.protocol.session.client_events import Failure, FetchFailed, ServerPreparing
from fountain.protocol.session.patience import PREPARING_SILENCE_NS, Patience
from fountain.testing import World, payload
from fountain.wire.control import Hello, PacketType, Refusal, RefusalReason, parse_handshake


def test_a_porter_answers_hellos_and_nothing_else() -> None:
    endpoint = open_endpoint("127.0.0.1", 0)
    porter = Porter(endpoint)
    address = "127.0.0.1", endpoint.local_address[1]
    answer = exchange(address, Hello(bytes(range(16))).encode(), 10.0)
    assert answer is not None
    refusal = parse_handshake(answer.data, PacketType.REFUSAL, 0)
    assert refusal == Refusal(bytes(range(16)), RefusalReason.PREPARING)
    assert exchange(address, Refusal(bytes(16), RefusalReason.PREPARING).encode(), 0.3) is None
    porter.close()
    porter.close()
    assert exchange(address, Hello(bytes(16)).encode(), 0.3) is None
    endpoint.close()


def test_a_fetch_waits_for_a_server_that_prepares_for_longer_than_its_time_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fetch begins first, and the server is ready only when the fetch has given its warning and 1.5 time-outs."""
    (tmp_path / "object").write_bytes(payload(30_000, 1))
    (tmp_path / "out").mkdir()
    warned, stop, ports = threading.Event(), threading.Event(), threading.Event()
    open_object = serving._open
    found: list[int] = []

    def open_late(*arguments: object) -> object:
        ports.set()
        assert warned.wait(60)
        threading.Event().wait(1.5)
        return open_object(*arguments)  # type: ignore[arg-type]

    def open_here(host: str, port: int, **options: str) -> object:
        endpoint = open_endpoint(host, port, **options)  # type: ignore[arg-type]
        found.append(endpoint.local_address[1])
        return endpoint

    monkeypatch.setattr(serving, "_open", open_late)
    monkeypatch.setattr(serving, "open_endpoint", open_here)

    class Observer:
        def handle(self, event: Event) -> None:
            if isinstance(event, Warned) and "still reading" in event.message:
                warned.set()

    config = ServeConfig(paths=(tmp_path / "object",), port=0, data_port=0, bind="127.0.0.1", expect=1)
    server = threading.Thread(target=serve, args=(config, NullObserver(), stop), daemon=True)
    server.start()
    assert ports.wait(60)
    summary = fetch(
        FetchConfig(host="127.0.0.1", port=found[0], out=tmp_path / "out" / "object", timeout_s=1.0), Observer(), stop
    )
    server.join()
    assert summary is not None
    assert (tmp_path / "out" / "object").read_bytes() == payload(30_000, 1)


def test_nobody_waits_for_ever_for_a_server_that_prepares(seed: int) -> None:
    world = World(seed)
    endpoint = world.network.attach(("server", 6330))
    client = world.fetch(timeout_ns=5 * NS)

    def refuse(datagram: bytes, source: tuple[str, int], _target: tuple[str, int]) -> None:
        if source[0] == "client":
            world.deliver(Refusal(datagram[8:24], RefusalReason.PREPARING).encode(), endpoint.local_address, source)

    world.arrival_taps.append(refuse)
    assert not world.run(lambda: client.has_ended, 590 * NS)
    assert world.run(lambda: client.has_ended, 45 * NS)
    assert [type(event) for event in client.events] == [ServerPreparing, FetchFailed]
    assert client.events[-1].failure is Failure.PREPARING


def test_a_server_that_prepares_again_after_it_had_served_is_waited_for_again() -> None:
    patience = Patience(10 * NS, 0)
    assert patience.prepares(0)
    patience.connected(NS)
    patience.advance(700 * NS)
    assert patience.prepares(701 * NS)
    assert not patience.prepares(709 * NS)
    assert patience.end_ns == 709 * NS + PREPARING_SILENCE_NS


def test_a_server_that_prepares_between_offers_is_not_waited_for_for_ever() -> None:
    patience = Patience(10 * NS, 0)
    for second in range(700):
        patience.prepares(second * NS)
        patience.answered(second * NS + NS // 2)
    assert 600 * NS < patience.end_ns < 700 * NS
