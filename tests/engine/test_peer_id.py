"""The same fetch on the same machine is the same peer, whatever the interfaces; another place or name is another."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from fountain.engine import fetch
from fountain.engine.config import FetchConfig

HERE = FetchConfig(host="192.0.2.1", out=Path("/srv/here"))


def peer_id(monkeypatch: pytest.MonkeyPatch, texts: dict[str, str], node: int, config: FetchConfig = HERE) -> bytes:
    monkeypatch.setattr(fetch, "read_system_text", lambda path: texts.get(path, ""))
    monkeypatch.setattr(uuid, "getnode", lambda: node)
    return fetch.peer_id_of(config)


def test_a_machine_id_stands_for_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    text = {"/etc/machine-id": "0123"}
    assert peer_id(monkeypatch, text, 1) == peer_id(monkeypatch, text, 2)
    assert peer_id(monkeypatch, text, 1) != peer_id(monkeypatch, {"/var/lib/dbus/machine-id": "4567"}, 1)


def test_without_a_machine_id_a_hardware_address_does_but_none_that_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = 1 << 40
    assert peer_id(monkeypatch, {}, 1) != peer_id(monkeypatch, {}, 2)
    assert peer_id(monkeypatch, {}, drawn | 1) == peer_id(monkeypatch, {}, drawn | 2)


def test_another_place_is_another_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    there = FetchConfig(host="192.0.2.1", out=Path("/srv/there"))
    assert peer_id(monkeypatch, {}, 1) != peer_id(monkeypatch, {}, 1, there)
