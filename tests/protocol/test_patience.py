"""When a wait ends: what is said against a fetch, and what has come, decide."""

from __future__ import annotations

import pytest

from fountain.limits import NS
from fountain.protocol.session.client_events import Failure
from fountain.protocol.session.patience import HINT_GRACE_NS, UNSTEADY_FACTOR, Hint, Patience
from fountain.wire.control import RefusalReason

TIMEOUT_NS = 10 * NS
REFUSED = Hint(Failure.REFUSED, RefusalReason.NO_SUCH_OBJECT)


@pytest.mark.parametrize("is_connected", [False, True])
def test_what_is_said_against_a_fetch_ends_it_soon_only_if_it_never_had_a_stream(is_connected: bool) -> None:
    patience = Patience(TIMEOUT_NS, 0)
    if is_connected:
        patience.connected(0)
    patience.suspect(REFUSED, 2 * NS)
    assert patience.end_ns == (TIMEOUT_NS if is_connected else 2 * NS + HINT_GRACE_NS)


def test_what_is_said_again_gets_no_more_time_and_something_else_does() -> None:
    patience = Patience(TIMEOUT_NS, 0)
    patience.suspect(REFUSED, NS)
    patience.suspect(REFUSED, NS + HINT_GRACE_NS // 2)
    assert patience.end_ns == NS + HINT_GRACE_NS
    patience.suspect(Hint(Failure.SEAL), NS + HINT_GRACE_NS // 2)
    assert patience.end_ns == NS + HINT_GRACE_NS // 2 + HINT_GRACE_NS


def test_a_true_answer_takes_back_what_was_said() -> None:
    patience = Patience(TIMEOUT_NS, 0)
    patience.suspect(REFUSED, NS)
    patience.answered(NS + 1)
    assert patience.end_ns == NS + 1 + TIMEOUT_NS
    assert patience.verdict(is_silent=True) == Hint(Failure.NO_DATA)


def test_streams_that_bring_a_little_each_end_after_several_time_outs() -> None:
    patience = Patience(TIMEOUT_NS, 0)
    for second in range(1, 40):
        patience.advance(second * NS, is_steady=False)
    assert patience.end_ns == UNSTEADY_FACTOR * TIMEOUT_NS
    patience.advance(40 * NS)
    assert patience.end_ns == 40 * NS + TIMEOUT_NS
