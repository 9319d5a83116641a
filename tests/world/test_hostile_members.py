"""Whatever one member of a group does, honest, asleep or lying, the others go on: with half of the rate at least."""

from __future__ import annotations

import functools
import random

import pytest

from fountain.engine.serving.audience import Audience
from fountain.engine.serving.stragglers import Stragglers
from fountain.limits import NS
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.parties import NEWCOMER_BURST_COUNT, NEWCOMER_SPACING_NS
from fountain.testing import Link, Listener
from fountain.wire.control import MAGIC
from fountain.wire.group import MemberState
from tests.world.groups import MS, Stage
from tests.world.hostile import LIES, Liar

HONEST_COUNT = 3
SIZE = 1_500_000
RATE_BPS = 2_400_000  # 1,500 packets of five seconds
SYMBOL_SIZE, BLOCK = 1_000, 50
SLEEP_SIZE = 4_000_000


def play(
    seed: int, cc: str, *, key: bytes | None = None, settings: GroupSettings | None = None, size: int = SIZE,
    rate_bps: int = RATE_BPS,
) -> Stage:  # fmt: skip
    """A stream to honest receivers that are near, and lose a little."""
    stage = Stage(
        seed, cc=cc, size=size, symbol_size=SYMBOL_SIZE, block=BLOCK, rate_bps=rate_bps, key=key,
        settings=settings or GroupSettings(wait_count=HONEST_COUNT),
    )  # fmt: skip
    for index in range(HONEST_COUNT):
        stage.path(f"listener {index}", loss=0.0002, delay_ns=(1 + index) * MS)
        stage.listen(key=key)
    return stage


def needed_ns(stage: Stage, who: list[Listener] | None = None, limit_ns: int = 120 * NS) -> int:
    """How long it takes until all of them have the object."""
    began_ns, who = stage.world.now_ns, who or list(stage.listeners)
    assert stage.world.run(lambda: all(listener.is_done for listener in who), limit_ns)
    assert all(listener.results == [stage.source.content] for listener in who)
    return stage.world.now_ns - began_ns


@functools.lru_cache
def alone_ns(cc: str) -> int:
    """The same without anybody else."""
    return needed_ns(play(1, cc))


QUICK = {
    ("fixed", "needs"), ("fixed", "everything again"), ("tfmcc", "losses"), ("tfmcc", "far and gone"),
    ("tfmcc", "ever new"),
}  # fmt: skip
CASES = [
    pytest.param(cc, lie, marks=() if (cc, lie) in QUICK else pytest.mark.slow)
    for cc in ("fixed", "tfmcc")
    for lie in LIES
]


@pytest.mark.parametrize(("cc", "lie"), CASES)
def test_a_liar_takes_no_more_than_half_of_the_rate(cc: str, lie: str, seed: int) -> None:
    stage = play(seed, cc)
    Liar(stage, lie)
    assert needed_ns(stage) <= 2 * alone_ns(cc)


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("cc", ["fixed", "tfmcc"])
def test_a_liar_that_reports_all_the_time_takes_no_more_than_half_of_the_rate(lie: str, cc: str, seed: int) -> None:
    stage = play(seed, cc, key=bytes(32))
    Liar(stage, lie, spacing_ns=2 * MS)
    assert needed_ns(stage) <= 2 * alone_ns(cc)


@pytest.mark.parametrize(
    ("cc", "lie"), [("tfmcc", "losses"), ("tfmcc", "ever new"), pytest.param("fixed", "needs", marks=pytest.mark.slow)]
)
def test_who_shares_the_address_of_a_liar_stays_in_the_group(cc: str, lie: str, seed: int) -> None:
    """Behind one translator, or because the liar sends in its name: all who were at that address had to leave."""
    stage = play(seed, cc)
    stage.begin(0.001)
    liar = Liar(stage, lie, address=("listener 0", 4_000))
    assert needed_ns(stage) <= 2 * alone_ns(cc)
    assert liar.count > 50
    assert not any(feed.leave_reason for listener in stage.listeners for feed in listener.feeds)
    assert {member.is_leaving for member in stage.machine.members.values() if member.host == "listener 0"} <= {False}


# --- Made-up ends ------------------------------------------------------------------------------------------


def end_when_met(stage: Stage, expect: int) -> None:
    """Let time pass until a server would end that expects so many receivers."""
    world, groups = stage.world, stage.server.groups
    audience = Audience(stage.rate_bps, world.now_ns, [stage.machine])
    stragglers = Stragglers(groups.needed_size, world.now_ns)

    def may_end() -> bool:
        now_ns = world.now_ns
        is_met = audience.count_done(now_ns) >= expect and groups.has_heard_all(now_ns)
        return is_met and stragglers.may_end(lambda: audience.receiving(now_ns), groups.rate_bps, now_ns)

    assert world.run(may_end, 300 * NS)


def test_made_up_receivers_that_are_done_end_no_stream_before_the_honest_ones_are_heard(seed: int) -> None:
    stage = play(seed, "fixed", settings=GroupSettings(wait_count=2))
    Liar(stage, "done", spacing_ns=10 * MS)
    end_when_met(stage, 2)
    assert stage.all_exact()


def test_made_up_receivers_that_are_done_end_no_stream_however_long_it_takes(seed: int) -> None:
    stage = play(seed, "fixed", size=SLEEP_SIZE, rate_bps=RATE_BPS // 4)  # almost a minute
    Liar(stage, "done")
    end_when_met(stage, 2)
    assert stage.all_exact()


def test_made_up_receivers_with_the_key_end_no_stream_either(seed: int) -> None:
    stage = play(seed, "tfmcc", key=bytes(32))
    Liar(stage, "done")
    end_when_met(stage, 2)
    assert stage.all_exact()


@pytest.mark.parametrize("spacing_ns", [10 * MS, 500 * MS])
@pytest.mark.parametrize("key", [None, bytes(32)], ids=["open", "with the key"])
def test_whoever_speaks_in_the_names_of_others_from_elsewhere_ends_none_of_them(
    key: bytes | None, spacing_ns: int, seed: int
) -> None:
    stage = play(seed, "fixed", key=key)
    places = {listener.name for listener in stage.listeners}
    liar = Liar(stage, "names", spacing_ns=spacing_ns)
    end_when_met(stage, HONEST_COUNT)
    assert stage.all_exact()
    assert liar.count > 3
    done = [member for member in stage.machine.members.values() if member.host != "liar"]
    assert {member.place[0][0] for member in done if member.state is MemberState.DONE} == places


def test_a_receiver_that_says_something_else_each_time_ends_as_seldom_as_new_ones_come(seed: int) -> None:
    stage = play(seed, "fixed")
    Liar(stage, "any state", spacing_ns=10 * MS)
    began_ns = stage.world.now_ns
    assert stage.world.run(stage.all_done, 60 * NS)
    ends = [event for event in stage.server.member_events if event.member.host == "liar"]
    share = NEWCOMER_BURST_COUNT + (stage.world.now_ns - began_ns) // NEWCOMER_SPACING_NS
    assert len(ends) <= 3 * share
    stage.wait(NS)
    assert len({member.state for member in stage.machine.members.values() if member.host != "liar"}) == 1


# --- Asleep ------------------------------------------------------------------------------------------------


def stop(stage: Stage, listener: Listener, time_ns: int, *, queue_size: int = 200_000) -> None:
    """Stop a listener's process for so long: its socket takes in what it can hold, and that waits for it."""
    step, until_ns = listener.step, stage.world.now_ns + time_ns

    def asleep(now_ns: int) -> int:
        if now_ns < until_ns:
            return until_ns
        listener.step = step  # type: ignore[method-assign]
        return step(now_ns)

    listener.endpoint.receive_buffer_size = queue_size
    listener.step = asleep  # type: ignore[method-assign]


@functools.lru_cache
def awake_ns(cc: str) -> int:
    """How long the others need when nobody sleeps."""
    stage = play(1, cc, size=SLEEP_SIZE)
    stage.begin(0.2)
    return needed_ns(stage)


@pytest.mark.parametrize(
    ("cc", "pause_ns"),
    [
        ("fixed", 3 * NS),
        ("tfmcc", 3 * NS),
        *(pytest.param(cc, 12 * NS, marks=pytest.mark.slow) for cc in ("fixed", "tfmcc")),
        *(pytest.param(cc, 60 * NS, marks=pytest.mark.slow) for cc in ("fixed", "tfmcc")),
    ],
)
def test_one_that_sleeps_costs_the_others_next_to_nothing(cc: str, pause_ns: int, seed: int) -> None:
    stage = play(seed, cc, size=SLEEP_SIZE)
    stage.begin(0.2)
    stop(stage, stage.listeners[0], pause_ns)
    slowed_ns = needed_ns(stage, stage.listeners[1:])
    assert slowed_ns <= 1.05 * awake_ns(cc)
    assert stage.world.run(stage.all_done)
    assert stage.all_exact()


def test_what_waited_in_a_socket_is_no_round_trip(seed: int) -> None:
    stage = play(seed, "tfmcc", size=SLEEP_SIZE)
    stage.begin(0.2)
    stop(stage, stage.listeners[0], 4 * NS)
    longest_ns = 0
    for _ in range(80):
        stage.wait(NS // 10)
        longest_ns = max(longest_ns, stage.machine.controller.group_rtt_ns, stage.machine.stream.rtt.smoothed_ns)
    assert longest_ns <= 150 * MS
    assert stage.machine.controller.rate_bps >= 0.9 * RATE_BPS


# --- Deaf, slow --------------------------------------------------------------------------------------------


class Switch(Link):
    """A way on which data is not carried any more from some moment on, while all else is."""

    forgets_ns = 0

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        is_data = datagram[:4] != MAGIC
        is_forgotten = is_data and self.forgets_ns and now_ns >= self.forgets_ns
        return [] if is_forgotten else super().carry(datagram, now_ns, draw)


@pytest.mark.parametrize(
    ("cc", "min_rate_bps"),
    [("fixed", 0), *(pytest.param("tfmcc", rate, marks=pytest.mark.slow) for rate in (0, RATE_BPS // 8))],
)
def test_one_that_hears_no_data_any_more_costs_the_others_next_to_nothing(
    cc: str, min_rate_bps: int, seed: int
) -> None:  # fmt: skip
    settings = GroupSettings(wait_count=HONEST_COUNT, min_rate_bps=min_rate_bps)
    stage = play(seed, cc, size=SLEEP_SIZE, settings=settings)
    switch = Switch(delay_ns=MS)
    stage.world.link(stage.server.name, "listener 0", switch)
    stage.begin(0.2)
    switch.forgets_ns = stage.world.now_ns
    assert needed_ns(stage, stage.listeners[1:]) <= 1.15 * awake_ns(cc)


def test_one_that_loses_nearly_everything_takes_no_more_than_half_of_a_fixed_rate(seed: int) -> None:
    stage = play(seed, "fixed")
    link = stage.world.link(stage.server.name, "listener 0", Link(delay_ns=MS))
    stage.begin(0.01)
    link.loss = 0.95
    assert needed_ns(stage, stage.listeners[1:]) <= 2 * alone_ns("fixed")
