"""Every way in which a fetch fails has a sentence of its own, and every Bye has its consequence on both sides."""

from __future__ import annotations

import pytest

from fountain.engine.receiving.failures import fetch_failure
from fountain.errors import UntrustedError
from fountain.events import PeerReason
from fountain.protocol.session.client_events import BYE_FAILURES, BYE_INTERRUPTIONS, Failure, FetchFailed
from fountain.wire.control import RefusalReason
from fountain.wire.session import ByeReason, StopReason


def sentence(failure: Failure) -> str:
    return fetch_failure(FetchFailed(failure), "HOST", 6330, 10.0).message


@pytest.mark.parametrize("failure", Failure)
def test_a_failure_says_what_happened_and_what_to_do(failure: Failure) -> None:
    error = fetch_failure(FetchFailed(failure), "HOST", 6330, 10.0)
    assert error.message.endswith(".")
    assert error.hint.endswith(".")


def test_no_two_failures_say_the_same() -> None:
    assert len({sentence(failure) for failure in Failure}) == len(Failure)


def test_a_stream_of_which_most_was_lost_is_named_so_and_keeps_its_part() -> None:
    error = fetch_failure(FetchFailed(Failure.CONGESTED), "HOST", 6330, 10.0)
    assert "lost on the way" in error.message
    assert "`loss_tolerance`" in error.hint
    assert "is kept" in error.hint


def test_a_server_that_was_preparing_is_not_said_to_be_there_still() -> None:
    """It may have died since: the last that it reported was that it reads its files."""
    error = fetch_failure(FetchFailed(Failure.PREPARING), "HOST", 6330, 10.0)
    assert error.message == "HOST reported that it reads its files or compiles, but it has not become ready."
    assert "whether fountain-serve still runs" in error.hint


def test_a_refused_name_is_reported() -> None:
    event = FetchFailed(Failure.REFUSED, RefusalReason.NO_SUCH_OBJECT)
    assert fetch_failure(event, "HOST", 6330, 10.0, "a\nb").message == "The server has no object named 'a\\nb'."


@pytest.mark.parametrize("name", [None, "name"])
def test_a_server_that_lacks_the_object_of_an_id_is_not_believed(name: str | None) -> None:
    event = FetchFailed(Failure.REFUSED, RefusalReason.NO_SUCH_OBJECT)
    error = fetch_failure(event, "HOST", 6330, 10.0, name, is_pinned=True)
    assert type(error) is UntrustedError
    assert error.message == "HOST does not have the object of the id in `object_id`."


def test_after_each_bye_a_client_either_comes_back_or_fails() -> None:
    assert set(BYE_INTERRUPTIONS) | set(BYE_FAILURES) == set(ByeReason)
    assert not set(BYE_INTERRUPTIONS) & set(BYE_FAILURES)


def test_a_server_reports_the_reason_of_each_stop_and_bye() -> None:
    names = {reason.name for reason in (*ByeReason, *StopReason)} - {"DONE"}
    assert names <= set(PeerReason.__members__)
