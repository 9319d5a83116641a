"""Every error has its exit status, and the page says what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from fountain import errors
from fountain.cli.exit_status import EXIT_STATUS_MEANINGS, ExitStatus, exit_status_of
from fountain.errors import FountainError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
ERROR_CLASSES = [
    error_class
    for _, error_class in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error_class, FountainError) and error_class is not FountainError
]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UsageError("x"), 2),
        (errors.NobodyAnsweredError("x"), 3),
        (errors.IncompleteError("x"), 4),
        (errors.IntegrityError("x"), 5),
        (errors.DiskFullError("x"), 6),
        (errors.NameClashError("x"), 6),
        (errors.HostileNameError("x"), 6),
        (errors.TransportError("x"), 6),
        (errors.RefusedError("x"), 7),
        (errors.PeersMissingError("x"), 8),
        (errors.UntrustedError("x"), 9),
    ],
)
def test_errors_end_with_the_documented_status(error: FountainError, status: int) -> None:
    assert exit_status_of(error) == status


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
def test_no_error_class_is_without_a_status(error_class: type[FountainError]) -> None:
    assert exit_status_of(error_class("It happened.")) in ExitStatus


def test_the_page_has_exactly_the_statuses_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(str(int(status)), status.name, meaning) for status, meaning in EXIT_STATUS_MEANINGS.items()]


def test_every_status_has_a_meaning() -> None:
    assert set(EXIT_STATUS_MEANINGS) == set(ExitStatus)
