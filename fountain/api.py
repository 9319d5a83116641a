"""fountain for programs: `fetch` and `serve` return when all is done; `Fetch`, `Server`, `listen` run beside a program.

Each of them runs the engine on a thread of its own until that has come to its end or is closed. What the engine reports
can be iterated over (`events`), or goes to a function (`on_event`). The process belongs to the program: nothing here
handles its signals, writes to its terminal or changes how its garbage is collected.
"""

from __future__ import annotations

import difflib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

from fountain.config import (
    FetchConfig,
    FleetConfig,
    GroupConfig,
    ServeConfig,
    ServeTrustConfig,
    TrustConfig,
    dependent_defaults,
)
from fountain.errors import IncompleteError, PeersMissingError, UsageError
from fountain.events import (
    Event,
    Fetched,
    Observer,
    OnewayProgress,
    PeersProgress,
    Serving,
    Shield,
    TransferProgress,
)
from fountain.storage.destination import check_out
from fountain.storage.files import check_source

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from fountain.engine.serving.serve import ServeSummary

__all__ = ["Fetch", "FetchOptions", "ListenOptions", "Listener", "ServeOptions", "Server", "fetch", "listen", "serve"]

EVENT_COUNT_MAX = 1000  # Events that wait to be asked for. Beyond them the oldest go, but no object that was received.
_INTERNAL = {"host", "group", "listen", "trust"}  # fields that the functions here fill by themselves
_SNAPSHOTS = (OnewayProgress, PeersProgress, TransferProgress)

Result = TypeVar("Result")
AnyPath = str | os.PathLike[str]
OnEvent = Callable[[Event], object]
Engine = Callable[[Observer, threading.Event], Result]


class _KnownOptions(TypedDict, total=False):
    """What is known of a server, and shown to it."""

    object_id: str | None
    server_key: AnyPath | None
    strict: bool
    identity: AnyPath | None
    pair: str | None


class FetchOptions(_KnownOptions, total=False):
    """What `fetch` and `Fetch` take by keyword, as `FetchConfig` has it."""

    out: AnyPath
    port: int
    timeout_s: float
    wait: bool
    overwrite: bool
    open: bool
    loss_test: float
    size_max: int | None
    signers: AnyPath | None
    product: str | None
    state: AnyPath | None
    root_signers: AnyPath | None


class ListenOptions(TypedDict, total=False):
    """What `listen` takes by keyword, as `FetchConfig` has it."""

    out: AnyPath
    timeout_s: float
    overwrite: bool
    loss_test: float
    size_max: int | None
    free_size_min: int | None
    hook: str | None
    signers: AnyPath | None
    product: str | None
    state: AnyPath | None
    root_signers: AnyPath | None
    unsigned: bool


class _ProvedOptions(TypedDict, total=False):
    """What a server proves, and to whom."""

    identity: AnyPath | None
    allow: AnyPath | None
    pair: bool


class ServeOptions(_ProvedOptions, total=False):
    """What `serve` and `Server` take by keyword, as `ServeConfig` has it."""

    bind: str
    port: int
    data_port: int
    rate_bps: int
    mtu: int
    open: bool
    congestion_control: str
    loss_tolerance: float
    expect: int | None
    idle_exit_s: float | None
    peer_count_max: int
    code: str
    fleet: FleetConfig | None
    skip_unportable: bool
    releases: Iterable[AnyPath]


def fetch(
    where: str | GroupConfig, name: str | None = None, *, on_event: OnEvent | None = None,
    **options: Unpack[FetchOptions],
) -> Fetched:  # fmt: skip
    """Fetch one object, and return when it stands verified in its place.

    `where` is the name or address of a server, or a group. `name` is the object's; it may be left out where there is
    only one. The other arguments are those of `Fetch`.

    Raises:
        FountainError: any of its kinds but PeersMissingError. What was received is kept, and the next fetch goes on.
    """
    with Fetch(where, name, on_event=on_event, **options) as running:
        return running.result()


def serve(
    paths: AnyPath | Iterable[AnyPath], *, on_event: OnEvent | None = None, **options: Unpack[ServeOptions]
) -> ServeSummary:
    """Serve until `expect` peers have all that they take, or nobody has come for `idle_exit_s`; or until interrupted.

    The arguments are those of `Server`.

    Raises:
        FountainError: as `Server.start` and `Server.result`.
    """
    with Server(paths, on_event=on_event, **options) as running:
        return running.result()


def listen(group: GroupConfig, *, on_event: OnEvent | None = None, **options: Unpack[ListenOptions]) -> Listener:
    """Listen to a group, and take every object that comes, each once: iterate over what is returned.

    `out` is an existing directory (default: the current one), which remembers what it has had. `overwrite` lets an
    object replace a file of its name. `size_max` is the size in bytes above which no object is taken, `free_size_min`
    how many bytes of the disk stay free (default: a twentieth, 1 GB at most). `hook` is a command that is run for each
    object, again where it fails, even after a restart; a loop over the objects promises no such thing. It needs
    `signers`, or `unsigned`, which runs it for whatever is announced. All other arguments are as in `Fetch`.

    Raises:
        UsageError, StorageError: an argument is wrong, or `out` is no directory.
    """
    return Listener(group, on_event=on_event, **options)


class _Callback:
    """An observer that is a function of the program's."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event

    def handle(self, event: Event) -> None:
        self._on_event(event)


class _Run(Generic[Result]):
    """An engine on its thread: what it has reported and nobody has asked for yet, and how it ended."""

    def __init__(self, engine: Engine[Result], on_event: OnEvent | None) -> None:
        self.changed = threading.Condition()
        self.latest: dict[type[Event], Event] = {}
        self.is_over = False
        self.error: BaseException | None = None
        self.is_raised = False
        self._result: Result | None = None
        self._engine = engine
        self._stop = threading.Event()
        self._waiting: deque[Event] = deque()
        if on_event is not None and not callable(on_event):
            raise UsageError(
                f"What is to be called with events is {on_event!r}.",
                "It takes a function of one event.",
                field="on_event",
            )
        self._watcher = None if on_event is None else Shield(_Callback(on_event))
        self._caller: int | None = None  # The thread of the engine that calls `on_event` now.
        self._thread = threading.Thread(target=self._work, name="fountain", daemon=True)

    def start(self) -> None:
        if self._thread.ident is not None:
            raise UsageError("It was started before.", "Make another one.")
        self._thread.start()

    def end(self) -> None:
        """Stop the engine and wait for its end. A callback, which the engine itself calls, only stops it."""
        self._stop.set()
        if self._thread.ident is not None and threading.get_ident() not in (self._thread.ident, self._caller):
            self._thread.join()

    def handle(self, event: Event) -> None:
        """Keep an event of the engine; a snapshot takes the place of the one before it."""
        with self.changed:
            self.latest[type(event)] = event
            last = self._waiting[-1] if self._waiting else None
            if isinstance(event, _SNAPSHOTS) and _subject(last) == _subject(event):
                self._waiting.pop()
            self._waiting.append(event)
            if len(self._waiting) > EVENT_COUNT_MAX:
                dropped = next((at for at, old in enumerate(self._waiting) if not isinstance(old, Fetched)), None)
                if dropped is not None:
                    del self._waiting[dropped]
            self.changed.notify_all()
        if self._watcher is not None:
            self._caller = threading.get_ident()
            self._watcher.handle(event)
            self._caller = None

    def next_event(self) -> Event | None:
        """The oldest event that waits, as soon as there is one; None after the last."""
        with self.changed:
            self.changed.wait_for(lambda: self._waiting or self.is_over)
            return self._waiting.popleft() if self._waiting else None

    def wait_for(self, is_there: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait until something is there, for as long as that; whether it is. The caller holds `changed`."""
        if timeout_s is not None:
            is_number = isinstance(timeout_s, Real) and not isinstance(timeout_s, bool)
            if not (is_number and timeout_s >= 0):  # NaN is no time either.
                hint = "It takes a number of seconds from 0, or None to wait without limit."
                raise UsageError(f"`timeout_s` is {timeout_s!r}.", hint, field="timeout_s")
            timeout_s = float(min(timeout_s, threading.TIMEOUT_MAX))
        return self.changed.wait_for(is_there, timeout_s)

    def result(self, timeout_s: float | None) -> Result:
        with self.changed:
            if not self.wait_for(lambda: self.is_over, timeout_s):
                raise TimeoutError(f"There is no result after {timeout_s} s.")
        self.raise_error()
        return self._result  # type: ignore[return-value]  # An engine that raised nothing has returned it.

    def raise_error(self) -> None:
        """Raise what ended the engine, if anything did."""
        if self.error is not None:
            self.is_raised = True
            raise self.error

    def _work(self) -> None:
        try:
            self._result = self._engine(self, self._stop)
        except BaseException as error:  # noqa: BLE001  # The program's own threads raise it.
            self.error = error
        with self.changed:
            self.is_over = True
            self.changed.notify_all()


def _subject(event: Event | None) -> tuple[type, str]:
    """What an event is a snapshot of."""
    return type(event), getattr(event, "name", "")


class _Running(Generic[Result]):
    """What a program holds of an engine that runs beside it."""

    def __init__(self, engine: Engine[Result], on_event: OnEvent | None) -> None:
        self._run = _Run(engine, on_event)
        weakref.finalize(self, self._run.end)  # where a program forgets it, and where a program ends

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:  # fmt: skip
        has_failed = self._run.error is not None  # Being closed early is no failure.
        self.close()
        if has_failed and error is None and not self._run.is_raised:
            self._run.raise_error()

    def events(self) -> Iterator[Event]:
        """All events, for one who asks: those that have waited, then each as it comes, until the engine has ended.

        A snapshot (`TransferProgress`, `PeersProgress`, `OnewayProgress`) that waits is replaced by the next one. Of
        more than 1,000 events that wait the oldest are dropped, but none that is `Fetched`.
        """
        while (event := self._run.next_event()) is not None:
            yield event

    def close(self) -> None:
        """Stop, and return when that is done: the other side knows, and what was received is kept. Harmless again."""
        self._run.end()


class Fetch(_Running[Fetched | None]):
    """A fetch of one object that begins at once and runs beside the program; leaving its `with` block ends it.

    `where` is the name or address of a server, or a group. `name` is the object's; it may be left out where there is
    only one. `out` names an existing directory to put the object in, or else the path that it gets (default: the
    current directory). `port` is the server's control port. The fetch gives up when nothing has advanced for
    `timeout_s` seconds, and with `wait` never. `overwrite` replaces a file, or an empty directory, that `name` or `out`
    names. `open` takes data packets that are not encrypted, from a server that sends such. `size_max` is the size in
    bytes above which no object is taken. With `object_id` only the object of that id is taken. With `signers`, a file
    of allowed signers, only releases of `product` that a key in it signed are taken, and none that is older than what
    was here; `state` is the directory that remembers that (default: `$STATE_DIRECTORY`, or `~/.local/state/fountain`).
    A new list of signers is taken when a key in the file `root_signers` signed it as a release of `fountain-signers`.
    `server_key` is the key that the server must prove: SHA256:..., or a file of public keys. Without it that is the key
    which is known of the server, in `~/.config/fountain/known_hosts`; that of a new server is added there, unless the
    fetch is `strict`. To a server that is known the fetch proves the key in the file `identity`. `pair` is the code of
    a server that was started with `pair`. `loss_test` is the share of data packets to throw away, 0 to below 1, as a
    test. `on_event` is called with each event, from a thread of the engine, and must return at once; when it raises,
    that is logged, and it is called no more.

    Raises:
        UsageError, StorageError: an argument is wrong, or `out` is a place that cannot be.
    """

    def __init__(
        self, where: str | GroupConfig, name: str | None = None, *, on_event: OnEvent | None = None,
        **options: Unpack[FetchOptions],
    ) -> None:  # fmt: skip
        _check_names("fetch() and Fetch() have", options, FetchOptions, FetchConfig, TrustConfig)
        config = _fetch_config(where, options, name=name)
        super().__init__(partial(_run_fetch, config), on_event)
        self._run.start()

    def result(self, timeout_s: float | None = None) -> Fetched:
        """The object, when it stands verified in its place.

        Raises:
            FountainError: any of its kinds but PeersMissingError.
            UsageError: `timeout_s` is no number, or below zero.
            TimeoutError: it does not stand after `timeout_s` seconds; the fetch goes on.
        """
        fetched = self._run.result(timeout_s)
        assert fetched is not None, "only a listener ends without an object"
        return fetched


class Listener(_Running[Fetched | None]):
    """The objects that come from a group, as `listen` makes it: iterate over it, until it is closed.

    Each object is a `Fetched`, which waits until the program takes it. `events` gives all events instead: use the
    iteration or `events`, not both.
    Leaving its `with` block closes it.
    """

    def __init__(
        self, group: GroupConfig, *, on_event: OnEvent | None = None, **options: Unpack[ListenOptions]
    ) -> None:  # fmt: skip
        _check_names("listen() has", options, ListenOptions, FetchConfig, TrustConfig)
        config = _fetch_config(group, options, listen=True)
        super().__init__(partial(_run_fetch, config), on_event)
        self._run.start()

    def __iter__(self) -> Iterator[Fetched]:
        for event in self.events():
            if isinstance(event, Fetched):
                yield event
        self._run.raise_error()


class Server(_Running["ServeSummary"]):
    """A server that runs beside the program: `with Server(paths) as server` starts it, and leaving the block ends it.

    `paths` are files and directories, each of which becomes one object with its name. `bind` is the address to serve on
    (default: all). `port` (control) and `data_port` are its UDP ports; 0 is any that is free, and `data_port` is 0
    where `port` is. `rate_bps` caps all data packets together, in bits per second; below it `congestion_control`
    decides, and takes up to `loss_tolerance`, a fraction, for the loss of the link itself. `mtu` is the largest IP
    packet in bytes. `open` leaves data packets unencrypted. The server ends by itself when `expect` peers have all that
    they take, or nobody has come for `idle_exit_s` seconds. More than `peer_count_max` peers at once are refused.
    `code` names what encodes. With a `fleet` the objects go to a group as well. `skip_unportable` leaves out of a
    directory what cannot travel. `releases` are the records of signed releases (`PATH.release`, from
    `fountain-sign`) of some of the paths. The server proves that it has the key in the file `identity`, and serves,
    with a file `allow` of authorized keys, only peers that prove one of those. With `pair` it draws a code, which the
    event `PairCodeDrawn` has, gives the object to the one who knows that, and ends. `on_event` is as in `Fetch`.

    Raises:
        UsageError, StorageError: an argument is wrong, or one of the paths is neither a file nor a directory.
    """

    def __init__(
        self, paths: AnyPath | Iterable[AnyPath], *, on_event: OnEvent | None = None, **options: Unpack[ServeOptions]
    ) -> None:  # fmt: skip
        _check_names("serve() and Server() have", options, ServeOptions)
        values: dict[str, Any] = {**dependent_defaults(options), **options}
        files = {name: values.pop(name, None) for name in ("identity", "allow")}
        trust = ServeTrustConfig(
            releases=_paths("releases", values.pop("releases", ())),
            pair=values.pop("pair", False),
            **{name: None if path is None else _path(name, path) for name, path in files.items()},
        )
        config = ServeConfig(paths=_paths("paths", paths), trust=trust, **values)
        for path in config.paths:
            check_source(path)
        super().__init__(partial(_run_serve, config), on_event)

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Read the files, open the ports, and return when anybody can fetch; it can be called once.

        Raises:
            UsageError: it was started before.
            UsageError, StorageError, TransportError, LocalError: it cannot serve.
            IncompleteError: it was closed meanwhile.
        """
        self._run.start()
        try:
            with self._run.changed:
                self._run.changed.wait_for(lambda: Serving in self._run.latest or self._run.is_over)
        except BaseException:
            self.close()
            raise
        self._run.raise_error()
        if Serving not in self._run.latest:
            raise IncompleteError("The server was closed before it could serve.")

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses of this machine that others can fetch from, the best first."""
        return self._serving.addresses

    @property
    def port(self) -> int:
        """The control port that it has: what a fetch asks."""
        return self._serving.port

    @property
    def data_port(self) -> int:
        """The port that it sends data from."""
        return self._serving.data_port

    def wait(self, peers: int, timeout_s: float | None = None) -> None:
        """Return when so many distinct peers have all that they take; it counts from the start of the server.

        Raises:
            UsageError: `peers` or `timeout_s` is no number, or below zero.
            PeersMissingError: they have it not after `timeout_s` seconds, or at the server's end.
            FountainError: as `result`.
        """
        if not isinstance(peers, int) or isinstance(peers, bool) or peers < 0:
            raise UsageError(f"The number of peers is {peers!r}.", "It takes a whole number from 0.", field="peers")
        with self._run.changed:
            self._run.wait_for(lambda: self._done_count >= peers or self._run.is_over, timeout_s)
            done_count = self._done_count
        if done_count < peers:
            self._run.raise_error()
            raise PeersMissingError(f"{done_count:,} of {peers:,} peers are done.")

    def result(self, timeout_s: float | None = None) -> ServeSummary:
        """How the server ended, once it has.

        Raises:
            FountainError: what ended it: its only object has changed, say.
            UsageError: `timeout_s` is no number, or below zero.
            TimeoutError: it still serves after `timeout_s` seconds.
        """
        return self._run.result(timeout_s)

    @property
    def _serving(self) -> Serving:
        serving = self._run.latest.get(Serving)
        if not isinstance(serving, Serving):
            raise RuntimeError("The server has not started.")
        return serving

    @property
    def _done_count(self) -> int:
        progress = self._run.latest.get(PeersProgress)
        return progress.done_count if isinstance(progress, PeersProgress) else 0


def _check_names(who: str, given: Iterable[str], known: type, *configs: type) -> None:
    """Refuse arguments that are neither `known` nor of one of `configs`, which say themselves what they do not fit."""
    names = list(known.__annotations__)
    others = {field.name for config in configs for field in fields(config)} - _INTERNAL
    for name in given:
        if name not in names and name not in others:
            alike = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
            hint = f"Did you mean `{alike[0]}`?" if alike else f"These are: {', '.join(sorted(names))}."
            raise UsageError(f"{who} no argument {name!r}.", hint, field=name)


def _fetch_config(where: str | GroupConfig, options: Mapping[str, Any], **more: Any) -> FetchConfig:
    values = {**options, **more}
    out = values.get("out")
    if isinstance(out, str | os.PathLike):
        check_out(os.fspath(out), is_for_many="listen" in more)
        values["out"] = Path(out)
    trust = {field.name: values.pop(field.name) for field in fields(TrustConfig) if field.name in values}
    for name in ("signers", "state", "root_signers", "identity"):
        if trust.get(name) is not None:
            trust[name] = _path(name, trust[name])
    if isinstance(trust.get("server_key"), os.PathLike):
        trust["server_key"] = os.fspath(trust["server_key"])
    values["trust"] = TrustConfig(**trust)
    return FetchConfig(host=where, **values) if isinstance(where, str) else FetchConfig(group=where, **values)


def _path(field: str, value: object) -> Path:
    """The path that an argument is; an empty text is none, and does not mean the current directory."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise UsageError(f"`{field}` is {value!r}.", "It takes a path.", field=field)
    if not text:
        raise UsageError(f"`{field}` is empty.", "Is a variable unset? Leave it out, or give a path.", field=field)
    return Path(text)


def _paths(field: str, value: object) -> tuple[Path, ...]:
    """The paths that an argument is: one, or several."""
    if isinstance(value, str | os.PathLike) or not isinstance(value, Iterable):
        return (_path(field, value),)
    return tuple(_path(field, each) for each in value)


# Both load numpy and the kernels when they are called, and not before.


def _run_fetch(config: FetchConfig, observer: Observer, stop: threading.Event) -> Fetched | None:
    from fountain.engine.receiving.fetch import fetch as run
    from fountain.engine.runtime.loading import check_can_load

    check_can_load()
    return run(config, observer, stop)


def _run_serve(config: ServeConfig, observer: Observer, stop: threading.Event) -> ServeSummary:
    from fountain.engine.runtime.loading import check_can_load

    check_can_load()
    from fountain.engine.serving.serve import serve as run

    return run(config, observer, stop)
