"""Runs a listener's end of a signed release again and again, and kills it between two steps each time.

`python -m tests.engine.crash_runs DIRECTORY COUNT` forks a process for each run. A run counts the calls of the system
that change anything, and kills itself before the one that it was given. Then another run takes over, and is killed as
well, at a step that is drawn; the third one goes to its end. What is left must then be what was promised. Prints how
many kills there were.
"""

from __future__ import annotations

import base64
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.config import FetchConfig, GroupConfig, TrustConfig
from fountain.engine.receiving.archive import Archive
from fountain.engine.receiving.place import ObjectPlace
from fountain.engine.receiving.vetting import Vetting
from fountain.events import Fetched, NullObserver
from fountain.storage.destination import object_directory
from fountain.storage.part import Part, PartRules
from fountain.storage.received import ReceivedList, ReceivedState
from fountain.storage.source import FileSource, open_source
from fountain.trust.release import NAMESPACE, Release
from fountain.trust.sshsig import pack_public_key, sign
from fountain.wire.control import OfferBody
from fountain.wire.signed import SignedText
from tests.wire.golden import BODY

VERSION, OLDER = 42, 41
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STEPS = (
    "fsync",
    "replace",
    "rename",
    "mkdir",
    "open",
    "write",
    "pwrite",
    "pwritev",
    "unlink",
    "rmdir",
    "close",
    "ftruncate",
)
PROFILE = b"RQ6330\x00\x01"


class Steps:
    """Counts the calls of the system; the process ends before the one with number `kill_at`."""

    def __init__(self, kill_at: int) -> None:
        self.count = 0
        self._kill_at = kill_at
        for name in STEPS:
            setattr(os, name, self._counted(getattr(os, name)))
        subprocess.Popen.__init__ = self._counted(subprocess.Popen.__init__)  # type: ignore[method-assign]

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **more: Any) -> Any:
            self.count += 1
            if self.count == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*words, **more)

        return counted


class Machine:
    """A box in a directory, and a release that is offered to it."""

    def __init__(self, place: Path, source: FileSource) -> None:
        self.place, self.source = place, source
        self.out, self.state, self.log = place / "out", place / "state", place / "log"
        self.out.mkdir(parents=True)
        self.signers = place / "signers"
        key = base64.b64encode(pack_public_key(KEY.public_key().public_bytes_raw())).decode()
        self.signers.write_text(f"gateway ssh-ed25519 {key}\n")

    def offer(self, version: int) -> OfferBody:
        source, issued = self.source, datetime.now(timezone.utc).replace(microsecond=0)
        text = Release("gateway", version, source.object_id, issued, issued + timedelta(days=90)).pack()
        return replace(
            BODY, object_id=source.object_id, name=source.name, object_size=source.geometry.object_size,
            release=SignedText(text, (sign(KEY, text, NAMESPACE).pack(),)),
        )  # fmt: skip

    def run(self) -> None:
        """What a listener does: go on with the hook that is left, take the release if it is not here, run its hook."""
        is_kept = f'grep -q "^version: $FOUNTAIN_VERSION$" {self.state}/gateway/state'
        hook = f'{is_kept} && echo "$FOUNTAIN_VERSION" >> {self.log}'
        config = FetchConfig(
            group=GroupConfig(address="239.1.1.1"), listen=True, out=self.out, hook=hook,
            trust=TrustConfig(signers=self.signers, product="gateway", state=self.state),
        )  # fmt: skip
        offer, observer = self.offer(VERSION), NullObserver()
        vetting = Vetting(config.trust)
        archive = Archive(config, observer, lambda: None, 0, vetting)
        while archive.is_hook_open(offer.object_id):
            archive.step_hooks(time.monotonic_ns())
        if archive.wants(offer):
            assert vetting.judge(offer, time.monotonic_ns()).is_trusted
            path = self._take(config, offer, vetting, archive)
            archive.add(offer, Fetched(path, offer.name, "", 0, 0, 0, 0, 0, 0, 0), time.monotonic_ns())
        while archive.is_hook_open(offer.object_id):
            archive.step_hooks(time.monotonic_ns())
        archive.close()

    def _take(self, config: FetchConfig, offer: OfferBody, vetting: Vetting, archive: Archive) -> Path:
        warm_up: Any = object()
        place = ObjectPlace(config, NullObserver(), threading.Event(), warm_up, archive.placing, "", vetting)
        destination = object_directory(self.out, offer.object_id) / offer.name

        def placing(digests: Any, path: Path) -> None:
            place._place(offer, digests, path)

        place.part = part = Part.open(
            destination, offer.object_id, offer.name, offer.object_size, overwrite=False,
            rules=PartRules(self.out / offer.name, placing=placing),
        )  # fmt: skip
        if part.manifest is None:
            part.set_manifest(self.source.manifest_bytes)
        geometry = self.source.geometry
        scratch = np.empty(geometry.block_symbols_max * geometry.symbol_size, dtype=np.uint8)
        for index in np.flatnonzero(~part.verified).tolist():
            assert part.write_block(index, self.source.read_block(index, scratch))
        part.finish()
        return part.destination

    def check(self, runs_before: int | None) -> None:
        """What was promised: the version is kept, the hook ran to its end, and not again once it was known to have."""
        received = ReceivedList(self.out)
        assert received.state_of(self.source.object_id) is ReceivedState.DONE, "the hook did not run to its end"
        lines = self.log.read_text().split()
        assert 1 <= len(lines) <= 3, lines
        assert runs_before is None or len(lines) == runs_before, "it ran again after it was done"
        vetting = Vetting(TrustConfig(signers=self.signers, product="gateway", state=self.state))
        judgement = vetting.judge(self.offer(OLDER), time.monotonic_ns())
        assert judgement.error is not None
        assert judgement.error.message == f"gateway {OLDER} is older than {VERSION}."
        assert vetting.judge(self.offer(VERSION), time.monotonic_ns()).is_trusted

    def runs_if_done(self) -> int | None:
        """How often the hook ran, where it is known that it ended well."""
        is_done = ReceivedList(self.out).state_of(self.source.object_id) is ReceivedState.DONE
        return len(self.log.read_text().split()) if is_done else None


def in_a_process(kill_at: int, work: Callable[[], None]) -> int:
    """Do it in a process of its own, which ends before step `kill_at` (0: never); its wait status."""
    number = os.fork()
    if number:
        _, status = os.waitpid(number, 0)
        return status
    status = 1
    try:
        Steps(kill_at)
        work()
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def crash(directory: Path, count: int) -> int:
    """So many runs, at steps that are spread over all; how many kills there were."""
    image = directory / "image.bin"
    image.write_bytes(os.urandom(5_000))
    draw, kill_count = random.Random(7), 0
    with open_source(image, symbol_size=64, block_symbol_limit=20, profile_id=PROFILE) as source:
        last = _step_count(Machine(directory / "probe", source))
        for number in range(count):
            machine = Machine(directory / f"run{number}", source)
            first = 1 + number * last // count
            for kill_at in (first, draw.randrange(1, last)):
                runs = machine.runs_if_done()
                kill_count += os.WIFSIGNALED(in_a_process(kill_at, machine.run))
                if runs is not None:
                    machine.check(runs)
            runs = machine.runs_if_done()
            status = in_a_process(0, machine.run)
            assert os.waitstatus_to_exitcode(status) == 0, f"run {number}, killed at {first}: {status}"
            machine.check(runs)
    return kill_count


def _step_count(machine: Machine) -> int:
    """The steps of a run that nothing cuts off."""
    counted = machine.place / "counted"

    def work() -> None:
        steps = Steps(0)
        machine.run()
        counted.write_text(str(steps.count))

    assert in_a_process(0, work) == 0
    return int(counted.read_text())


if __name__ == "__main__":
    print(crash(Path(sys.argv[1]), int(sys.argv[2])))
