"""Signed releases by the Python API: a server shows them, a fetch and a listener take nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import fountain
from tests.system.conftest import Writer
from tests.system.programs import unused_port
from tests.system.releases import Publisher
from tests.trust.support import NEEDS_SSH_KEYGEN

pytestmark = NEEDS_SSH_KEYGEN
LOCAL = {"bind": "127.0.0.1", "port": 0}


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path / "publisher")


def test_a_fetch_takes_what_is_signed(publisher: Publisher, write_file: Writer, tmp_path: Path) -> None:
    image = write_file(100_000)
    path, _, release = publisher.publish(image, 42)
    trust = {"signers": publisher.signers, "product": "gateway", "state": tmp_path / "state"}
    with fountain.Server(path, releases=[release], **LOCAL) as server:
        fetched = fountain.fetch("127.0.0.1", port=server.port, out=tmp_path / "copy", **trust)
        assert (fetched.release, fetched.signer[:7]) == ("gateway 42", "SHA256:")
        assert fetched.path.read_bytes() == image.read_bytes()
        with pytest.raises(fountain.UntrustedError, match="not of sensor"):
            fountain.fetch("127.0.0.1", port=server.port, out=tmp_path / "no", **{**trust, "product": "sensor"})
    with fountain.Server(image, **LOCAL) as server, pytest.raises(fountain.UntrustedError, match="without a signed"):
        fountain.fetch("127.0.0.1", port=server.port, out=tmp_path / "no", **trust)
    assert not (tmp_path / "no").exists()


def test_a_listener_takes_what_is_signed(publisher: Publisher, write_file: Writer, tmp_path: Path) -> None:
    draw = random.SystemRandom()
    address = f"239.255.{draw.randrange(1, 255)}.{draw.randrange(1, 255)}"
    group = fountain.GroupConfig(address=address, interface="lo", port=unused_port())
    fleet = fountain.FleetConfig(group=group, congestion_control="fixed")
    path, _, release = publisher.publish(write_file(100_000), 42)
    (tmp_path / "out").mkdir()
    trust = {"signers": publisher.signers, "product": "gateway", "state": tmp_path / "state"}
    with fountain.listen(group, out=tmp_path / "out", **trust) as listener:
        with fountain.Server(write_file(100, "unsigned"), fleet=fleet, rate_bps=50_000_000, **LOCAL):
            told = (event.message for event in listener.events() if isinstance(event, fountain.Warned))
            assert any("is offered without a signed release" in message for message in told)
        with fountain.Server(path, releases=[release], fleet=fleet, rate_bps=50_000_000, **LOCAL):
            fetched = next(iter(listener))
    assert fetched.release == "gateway 42"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hook": "true"}, "`hook` needs `signers`."),
        ({"product": "gateway"}, "`product` needs `signers`."),
        ({"signers": "a"}, "`signers` needs `product`."),
        ({"signers": 3, "product": "gateway"}, "`signers` is 3."),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, object], message: str, tmp_path: Path) -> None:
    group = fountain.GroupConfig(address="239.255.1.1", interface="lo")
    with pytest.raises(fountain.UsageError) as caught:
        fountain.listen(group, out=tmp_path, **options)  # type: ignore[arg-type]
    assert caught.value.message == message
