"""What a server says of a port that it cannot have."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from fountain.config import ServeConfig
from fountain.engine.serving.serve import serve
from fountain.errors import StorageError, TransportError


@pytest.mark.parametrize("field", ["port", "data_port"])
def test_a_taken_port_is_reported_with_the_parameter_that_names_another(field: str, tmp_path: Path) -> None:
    path = tmp_path / "object.bin"
    path.write_bytes(b"1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        ports = {"port": 0, "data_port": 0, field: taken.getsockname()[1]}
        with pytest.raises(TransportError, match="already in use") as caught:
            serve(ServeConfig(paths=(path,), bind="127.0.0.1", **ports), Mock(), threading.Event())
    assert caught.value.hint.endswith(f"choose another port with `{field}`.")
    assert caught.value.field == field


def test_a_path_that_is_not_there_is_reported_before_a_port_is_asked_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        config = ServeConfig(paths=(tmp_path / "typo.iso",), bind="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(StorageError, match=r"There is no .*typo\.iso"):
            serve(config, Mock(), threading.Event())
