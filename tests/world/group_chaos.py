"""One chaotic run of a group: all is drawn from one seed; once faults stop, everybody has exactly the object.

`python -m tests.world.group_chaos SEED` plays one again, with a log.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field, fields

from fountain.limits import NS
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.member import HOLDING_STATES
from fountain.testing import GroupOptions, Link, Listener, MemorySink, Server, World, payload
from fountain.wire.group import MemberState
from tests.world.scene import Fate, Scene

__all__ = ["GroupOptionsDrawn", "GroupPlay"]

MS = NS // 1000
FAULTS_NS = 6 * NS
LINK_HEADERS_SIZE = 86
KEY = bytes(range(32))


@dataclass(kw_only=True)
class ListenerFate(Fate):
    """One listener, who may have been given another key."""

    wrong_key: bool = False


@dataclass
class GroupOptionsDrawn:
    """All that is drawn from a seed."""

    seed: int
    object_size: int = 0
    symbol_size: int = 0
    block_symbol_limit: int = 0
    rate_bps: int = 0
    cc: str = "fixed"
    is_keyed: bool = False
    wait_count: int = 0
    min_rate_bps: int = 0
    server_restarts: list[tuple[int, int]] = field(default_factory=list)  # (killed at, back after)
    listeners: list[ListenerFate] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{item.name} = {getattr(self, item.name)}" for item in fields(self) if item.name != "listeners"]
        lines += [f"listener {index}: {fate}" for index, fate in enumerate(self.listeners)]
        return "\n".join(lines)

    @classmethod
    def drawn(cls, seed: int) -> GroupOptionsDrawn:
        """The options of a seed."""
        draw = random.Random(f"group chaos {seed}")
        options = cls(seed)
        options.symbol_size = draw.choice([16, 64, 256])
        options.block_symbol_limit = draw.choice([1, 5, 10, 16, 40])
        options.object_size = draw.choice([0, 1, draw.randrange(min(30_000, 300 * options.symbol_size))])
        options.rate_bps = int(300_000 * 50 ** draw.random())
        options.cc = "tfmcc" if draw.random() < 0.3 else "fixed"
        options.is_keyed = draw.random() < 0.3
        options.wait_count = draw.choice([0, 1, 1, 2])
        if draw.random() < 0.2:
            options.min_rate_bps = options.rate_bps * 4 // 5
        if draw.random() < 0.25:
            options.server_restarts.append((draw.randrange(3 * NS), draw.randrange(2 * NS)))
        kinds = {kind for kind in ("loss", "burst", "jitter", "copy", "corrupt", "rate", "cut") if draw.random() < 0.4}
        for _ in range(draw.choice([1, 2, 2, 3, 4, 5])):
            fate = ListenerFate(
                join_ns=draw.randrange(3 * NS) if draw.random() < 0.4 else 0,
                out=_draw_link(draw, kinds, options),
                back=_draw_link(draw, kinds, options),
            )
            if "cut" in kinds:
                start = draw.randrange(FAULTS_NS // 2)
                cut = start, start + draw.randrange(NS // 2, 3 * NS)
                fate.out.partitions.append(cut)
                fate.back.partitions.append(cut)
            if draw.random() < 0.2:
                fate.restarts_ns = sorted(draw.randrange(5 * NS) for _ in range(draw.randint(1, 2)))
            if draw.random() < 0.1:
                fate.vanishes_ns = draw.randrange(4 * NS)
            fate.wrong_key = options.is_keyed and draw.random() < 0.1
            options.listeners.append(fate)
        return options


def _draw_link(draw: random.Random, kinds: set[str], options: GroupOptionsDrawn) -> Link:
    link = Link(delay_ns=draw.choice([0, 100_000, draw.randrange(20 * MS), draw.randrange(80 * MS)]))
    most = 0.05 if options.cc == "tfmcc" else 0.3
    if "loss" in kinds:
        link.loss = draw.uniform(0, most)
    if "burst" in kinds:
        link.burst, link.burst_length = draw.uniform(0, most / 6), draw.uniform(2, 10)
    if "jitter" in kinds:
        link.jitter_ns = draw.randrange(1, 30 * MS)
    if "copy" in kinds:
        link.duplicate = draw.uniform(0, 0.3)
    if "corrupt" in kinds:
        link.corrupt = draw.uniform(0, most)
    if "rate" in kinds:
        link.rate_bps = int(options.rate_bps * draw.uniform(0.6, 3))
        link.queue_size = draw.randrange(4_000, 64_000)
    return link


class GroupPlay(Scene):
    """Plays the run of one seed; `run` raises ChaosError when an oracle is contradicted."""

    MODULE = "tests.world.group_chaos"
    FAULTS_NS = FAULTS_NS

    def __init__(self, options: GroupOptionsDrawn, *, log: bool = False) -> None:
        fates = [(f"listener {index}", fate) for index, fate in enumerate(options.listeners)]
        super().__init__(options, World(options.seed), fates, log=log)
        self.options = options
        self.source = self.world.source(
            payload(options.object_size, options.seed),
            symbol_size=options.symbol_size,
            block=options.block_symbol_limit,
        )
        self.listeners: dict[str, Listener] = {}
        self.sinks: dict[str, list[MemorySink]] = {name: [] for name, _ in fates}

    # --- What happens --------------------------------------------------------------------------------------

    def _serve(self) -> Server:
        options = self.options
        settings = GroupSettings(options.wait_count, NS, options.min_rate_bps)
        group = GroupOptions(settings, options.cc, KEY if options.is_keyed else None)
        return self.world.serve(self.source, rate_bps=options.rate_bps, group=group)

    def _is_at_work(self, name: str) -> bool:
        return name in self.listeners and not self.listeners[name].is_done

    def _may_end_early(self) -> bool:
        return False

    def _start(self, name: str) -> None:
        if name in self.sinks and name not in self.listeners:
            self._say(f"{name} starts")
            key = KEY if self.options.is_keyed else None
            if self._fate(name).wrong_key:
                key = bytes(32)
            self.listeners[name] = self.world.listen(name=name, sinks=self.sinks[name], key=key)

    def _remove(self, name: str) -> None:
        listener = self.listeners.pop(name)
        self.sinks[name] = list(listener.sinks.values())
        self.world.kill(listener)

    def _vanish(self, name: str) -> None:
        if name in self.listeners:
            self._say(f"{name} vanishes")
            self._remove(name)
        self.sinks.pop(name, None)

    def _fate(self, name: str) -> ListenerFate:
        return self.options.listeners[int(name.split()[1])]

    # --- Oracles -------------------------------------------------------------------------------------------

    @property
    def _able(self) -> list[Listener]:
        """Those who should have the object in the end."""
        return [listener for name, listener in self.listeners.items() if not self._fate(name).wrong_key]

    def _has_ended(self, listener: Listener) -> bool:
        """Whoever was killed when the object had just been put in its place has nothing more to do."""
        return listener.has_ended or (not listener.feeds and listener.results == [self.source.content])

    def _check_liveness(self) -> None:
        """Once faults stop, everybody finishes, and the server knows."""
        self._clean_links()
        size = self._symbol_count * (self.options.symbol_size + LINK_HEADERS_SIZE)
        limit_ns = 3 * size * 8 * NS // self.options.rate_bps + 20 * NS
        if self.options.cc == "tfmcc":
            limit_ns += 100 * NS  # From a packet in seconds, after most was lost, the rate rises slowly.
        self._say("faults stop")
        is_over = self.world.run(lambda: all(map(self._has_ended, self._able)), limit_ns)
        for listener in self.listeners.values():
            for feed in listener.feeds:
                assert feed.fetch.error is None, f"{listener.name}: {feed.fetch.error}"
                table = feed.fetch.assembly.table if feed.fetch.assembly is not None else None
                assert table is None or len(list(table)) <= table.open_limit, f"{listener.name} has too many open"
        assert is_over, f"not done {limit_ns / NS} s after the last fault"
        for name, listener in self.listeners.items():
            if self._fate(name).wrong_key:
                assert listener.results == [], f"{name} has something without the key"
            else:
                assert listener.results == [self.source.content], f"{name} has not got exactly the object"

    def _check_quiet(self) -> None:
        """Nothing is sent for ever, and nobody is waited for who is not there."""
        self.world.run(lambda: False, 20 * NS)
        assert self._server is not None
        (machine,) = self._server.groups.machines.values()
        if not machine.members:
            return  # It was started again when all had the object; it does not know that nobody is there.
        assert not machine.is_busy, "the server does not come to rest"
        states = {member.state for member in machine.members.values() if not member.is_silent}
        assert states <= HOLDING_STATES | {MemberState.FALLBACK}, f"somebody is taken to be {states}"
        count = machine.sequence
        self.world.run(lambda: False, 5 * NS)
        assert machine.sequence == count, "data is sent to nobody"

    @property
    def _symbol_count(self) -> int:
        manifest_count = -(-len(self.source.manifest_bytes) // self.options.symbol_size)
        return manifest_count + self.source.geometry.symbol_count


if __name__ == "__main__":
    drawn = GroupOptionsDrawn.drawn(int(sys.argv[1], 0))
    print(drawn)
    play = GroupPlay(drawn, log=True)
    play.run()
    print(f"all is well at {play.world!r}")
