"""A stage for one command: streams in memory, clock and signals in the test's hand, an engine that follows a script."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, TextIO

from fountain.cli.display import LiveDisplay
from fountain.cli.environment import Environment
from fountain.cli.fetch import main as fetch_main
from fountain.cli.serve import main as serve_main
from fountain.cli.streams import OutputStream
from fountain.config import FetchConfig, ServeConfig
from fountain.events import (
    AirTime,
    Announced,
    AskedToLeave,
    DigestComputed,
    EndReason,
    Event,
    Fetched,
    GroupOpened,
    GroupSummary,
    HookFinished,
    HookReported,
    InterfaceChanged,
    LeaveReason,
    LeftOut,
    Listed,
    Listening,
    ObjectServed,
    Observer,
    Offered,
    OnewayProgress,
    PairCodeDrawn,
    PairCodeProved,
    PairCodeRefused,
    PeerFinished,
    PeerGone,
    PeerJoined,
    PeerReason,
    PeerRefused,
    PeerSnapshot,
    PeersProgress,
    PeerState,
    Preparing,
    ReceiverOutcome,
    ReceiverResult,
    Reconnecting,
    Resumed,
    Searching,
    ServerProved,
    Serving,
    Stopped,
    TransferProgress,
    TransferState,
    Waiting,
    Warned,
)
from fountain.protocol.session.client_events import Interruption
from fountain.wire.control import RefusalReason

DIGEST = "ab" * 32
ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Outcome:
    done_count: int = 0
    expected_count: int | None = None
    results: tuple[ReceiverResult, ...] = ()


class Result(NamedTuple):
    status: int
    out: str
    err: str


class Left(BaseException):
    """The process would have ended here, without another word."""


def peer(address: str = "10.0.0.2:40000", **changes: object) -> PeerSnapshot:
    fields: dict[str, object] = {
        "session_id": "aa",
        "address": address,
        "host": "",
        "name": "image.iso",
        "fraction": 0.375,
        "rate_bps": 412e6,
        "loss": 0.103,
        "state": PeerState.STREAMING,
        "eta_s": 80.0,
        "sent_count": 1000,
    }
    return PeerSnapshot(**{**fields, **changes})  # type: ignore[arg-type]


def transfer(
    fraction: float, *, state: TransferState = TransferState.RECEIVING, eta_s: float | None = 80.0
) -> TransferProgress:
    return TransferProgress(
        symbol_count=round(fraction * 1000),
        symbol_total=1000,
        verified_size=0,
        total_size=1_408_000,
        rate_bps=412e6,
        loss=0.101,
        eta_s=eta_s,
        state=state,
        received_count=1,
        duplicate_count=2,
        damaged_count=3,
        rejected_count=5,
        kernel_drop_count=4,
    )


def offered(name: str = "image.iso") -> Offered:
    return Offered(name, DIGEST, 2_000_000_000, 1418, "10.0.0.1", Path(name), sealed=True)


def digested(path: str = "image.iso") -> DigestComputed:
    return DigestComputed(DIGEST, Path(path), 2_000_000_000)


def fetched(path: str = "image.iso") -> Fetched:
    return Fetched(Path(path), path, DIGEST, 2_000_000_000, 31.2, 513e6, 1_500_000, 3, 1418, 0.101)


def served(name: str = "image.iso", file_count: int = 1) -> ObjectServed:
    return ObjectServed(name, Path(name), DIGEST, 2_000_000_000, file_count, 1418, 1408)


def serving(
    *addresses: str, port: int = 6330, data_port: int = 6331, is_open: bool = False, is_keyed: bool = False
) -> Serving:
    return Serving(addresses or ("192.168.1.5",), port, data_port, is_open, 1_000_000_000, is_keyed)


def group_opened(*names: str, is_keyed: bool = False, is_oneway: bool = False) -> GroupOpened:
    return GroupOpened("239.63.30.1", "eth0", 6332, names or ("image.iso",), is_keyed, is_oneway, 100_000_000)


def receiver_result(host: str = "pc1", **changes: object) -> ReceiverResult:
    fields: dict[str, object] = {
        "session_id": f"id of {host}",
        "address": "10.0.0.2:40000",
        "host": host,
        "name": "image.iso",
        "state": ReceiverOutcome.DONE,
        "fraction": 1.0,
        "duration_s": 12.0,
        "loss": 0.1,
        "reason": None,
    }
    return ReceiverResult(**{**fields, **changes})  # type: ignore[arg-type]


ONE_OF_EACH: tuple[Event, ...] = (
    Preparing("compiling kernels, first run only"),
    Preparing("reading image.iso", 5, 10),
    Preparing("listing photos", entry_count=5),
    LeftOut("photos", 2, ("photos/pipe: a named pipe",)),
    LeftOut("photos", 1),
    Warned("A part of another object is left.", "Remove it."),
    Stopped(EndReason.IDLE),
    served(),
    serving(),
    PeerJoined("aa", "10.0.0.2:40000", "laptop", "image.iso", 0.25, 7, 9),
    PeersProgress((peer(), peer("10.0.0.3:40000", state=PeerState.DONE, fraction=1.0, eta_s=None)), 412e6),
    PeersProgress((), 0.0),
    PeerFinished("aa", "10.0.0.2:40000", "laptop", "image.iso", 12.0, 1000, 0.1),
    PeerGone("aa", "10.0.0.2:40000", "", "image.iso", 0.5, PeerReason.IDLE),
    PeerRefused("10.0.0.4:40000", RefusalReason.SERVER_FULL),
    Searching("10.0.0.1", 6330),
    ServerProved("10.0.0.1", 6330, "SHA256:" + "A" * 43, is_new=True, kept_in="/home/u/.config/fountain/known_hosts"),
    ServerProved("10.0.0.1", 6330, "SHA256:" + "A" * 43, is_new=False, kept_in=""),
    PairCodeDrawn("54-knight-koala-ladder"),
    PairCodeRefused("10.0.0.4:40000", 2),
    PairCodeRefused("10.0.0.4:40000", 0),
    PairCodeProved("10.0.0.1", 6330),
    Listed((("image.iso", 5), ("photos", 7))),
    offered(),
    Resumed(500, 1000),
    transfer(0.5),
    transfer(1.0, state=TransferState.FINISHING, eta_s=None),
    Reconnecting(Interruption.SILENCE),
    digested(),
    fetched(),
    group_opened(),
    Waiting("waiting for receivers", 3, 8, 27.0),
    Waiting("waiting for receivers", 0, 1, None),
    AirTime("image.iso", 9.1, 0.05, 0.999, 2),
    OnewayProgress("image.iso", 1, 2, 4.0, 9.1, 100e6),
    OnewayProgress("image.iso", 3, None, 40.0, None, 100e6),
    HookReported("aa", "10.0.0.2:40000", "laptop", "image.iso", is_success=True),
    GroupSummary(
        (receiver_result(), receiver_result("pc2", state=ReceiverOutcome.SILENT, fraction=0.5, duration_s=None))
    ),
    Listening("239.63.30.1", "eth0", 6332),
    InterfaceChanged("eth0", is_usable=False, reason="The interface eth0 is gone."),
    InterfaceChanged("eth0", is_usable=True, reason=""),
    Announced("image.iso", DIGEST, 2_000_000_000, "10.0.0.1", 100_000_000, is_oneway=False),
    AskedToLeave(LeaveReason.HOLDS_BACK, 1494),
    HookFinished("reboot", Path("image.iso"), 1),
)

Engine = Callable[[Observer, threading.Event], object]


def script(*events: Event) -> Engine:
    """An engine that reports `events` and ends well."""

    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        for event in events:
            observer.handle(event)
        return Outcome()

    return engine


def failing(error: Exception, *events: Event) -> Engine:
    """An engine that reports `events` and fails."""

    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        script(*events)(observer, stop)
        raise error

    return engine


class Stage:
    """Runs commands in-process and shows what they did."""

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        on_terminal: bool = False,
        stdout_on_terminal: bool = False,
        width: int = 80,
        variables: dict[str, str] | None = None,
        stdin: TextIO | None = None,
        platform: str = "linux",
    ) -> None:
        self.engine = engine or script()
        self.configs: list[ServeConfig | FetchConfig] = []
        self.now_s = 1000.0
        self.interrupt: Callable[[], None] = lambda: None
        self.caught: list[str] = []
        self.stdout = io.StringIO()
        self.stderr = io.StringIO()
        self.env = Environment(
            stdout=OutputStream(self.stdout),
            stderr=OutputStream(self.stderr),
            stdout_is_terminal=stdout_on_terminal,
            stderr_is_terminal=on_terminal,
            terminal_width=width,
            stdin=stdin or io.StringIO(),
            variables=variables or {},
            platform=platform,
            serve=self._serve,
            fetch=self._fetch,
            catch_interrupts=self._catch_interrupts,
            leave=self._leave,
            now_s=lambda: self.now_s,
            now_utc=lambda: datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc),
        )

    def serve(self, *argv: str) -> Result:
        return self._result(serve_main(argv, self.env))

    def fetch(self, *argv: str) -> Result:
        return self._result(fetch_main(argv, self.env))

    @property
    def shown(self) -> str:
        """What stderr got, without colours and cursor moves."""
        return ESCAPE_SEQUENCE.sub("", self.stderr.getvalue())

    @property
    def cursor_is_visible(self) -> bool:
        text = self.stderr.getvalue()
        return text.rfind("\x1b[?25h") >= text.rfind("\x1b[?25l")

    def _result(self, status: int) -> Result:
        return Result(status, self.stdout.getvalue(), self.stderr.getvalue())

    def _serve(self, config: ServeConfig, observer: Observer, stop: threading.Event) -> Outcome:
        self.configs.append(config)
        outcome = self.engine(observer, stop)
        assert isinstance(outcome, Outcome)
        return outcome

    def _fetch(self, config: FetchConfig, observer: Observer, stop: threading.Event) -> object:
        self.configs.append(config)
        return self.engine(observer, stop)

    @contextmanager
    def _catch_interrupts(self, handle: Callable[[], None]) -> Iterator[None]:
        self.caught.append("caught")
        self.interrupt = handle
        try:
            yield
        finally:
            self.caught.append("restored")

    def _leave(self, status: int) -> object:
        self.caught.append(f"left {status}")
        raise Left


def last_region(stage: Stage, *events: Event) -> list[str]:
    """The lines that the live region shows after `events`."""
    display = LiveDisplay(stage.env)
    for event in events:
        display.handle(event)
    before = len(stage.stderr.getvalue())
    display.handle(events[-1])
    text = stage.stderr.getvalue()[before:]
    display.close()
    again = Stage()
    again.stderr.write(text)
    return [line.rstrip() for line in again.shown.replace("\r", "").split("\n") if line.strip()]
