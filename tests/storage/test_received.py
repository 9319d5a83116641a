"""What a listener has received: remembered over restarts, and over ends in the middle of a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.errors import StorageError
from fountain.storage.received import RECEIVED_NAME, ReceivedList

FIRST, SECOND, THIRD = (bytes([digit]) * 32 for digit in (1, 2, 3))


def test_nothing_was_received_where_there_is_no_list(tmp_path: Path) -> None:
    assert FIRST not in ReceivedList(tmp_path)
    assert not (tmp_path / RECEIVED_NAME).exists()


def test_objects_are_remembered_at_once_and_over_restarts(tmp_path: Path) -> None:
    received = ReceivedList(tmp_path)
    received.add(FIRST)
    received.add(SECOND)
    assert FIRST in received
    again = ReceivedList(tmp_path)
    assert FIRST in again
    assert SECOND in again
    assert THIRD not in again


def test_an_object_is_written_once(tmp_path: Path) -> None:
    for _ in range(2):
        received = ReceivedList(tmp_path)
        received.add(FIRST)
        received.add(FIRST)
    assert (tmp_path / RECEIVED_NAME).read_bytes() == FIRST.hex().encode() + b"\n"


@given(cut=st.integers(0, 64))
def test_a_line_that_was_cut_short_spoils_no_other(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    directory = tmp_path_factory.mktemp("cut")
    (directory / RECEIVED_NAME).write_text(f"{FIRST.hex()}\n{SECOND.hex()[:cut]}")
    received = ReceivedList(directory)
    assert FIRST in received
    assert (SECOND in received) == (cut == 64)
    received.add(THIRD)
    again = ReceivedList(directory)
    assert FIRST in again
    assert THIRD in again
    assert (SECOND in again) == (cut == 64)


def test_a_line_that_is_no_id_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / RECEIVED_NAME).write_bytes(b"\xff\xfe hello\n\n12ab\n" + SECOND.hex().encode() + b"\r\n")
    received = ReceivedList(tmp_path)
    assert SECOND in received
    assert b"\x12\xab" not in received
    assert b"" not in received


def test_the_list_of_a_file_lies_beside_it(tmp_path: Path) -> None:
    ReceivedList(tmp_path / "image.iso").add(FIRST)
    assert FIRST in ReceivedList(tmp_path)


def test_a_list_that_cannot_be_read_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / RECEIVED_NAME).mkdir()
    with pytest.raises(StorageError, match="cannot be read") as caught:
        ReceivedList(tmp_path)
    assert caught.value.path == str(tmp_path / RECEIVED_NAME)
    assert caught.value.hint


def test_a_list_that_cannot_be_written_is_an_error_and_what_was_received_stays_known(tmp_path: Path) -> None:
    received = ReceivedList(tmp_path)
    (tmp_path / RECEIVED_NAME).mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        received.add(FIRST)
    assert FIRST in received
