"""What a server does with signed releases at its start: it serves what was signed, or says what is wrong."""

from __future__ import annotations

import os
import shutil
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.codes.registry import code_by_name
from fountain.config import ServeConfig, ServeTrustConfig
from fountain.engine.serving.releases import read_releases
from fountain.engine.serving.serve import serve
from fountain.errors import FountainError, StorageError, UntrustedError, UsageError
from fountain.events import Event, ObjectServed, PeersProgress, Serving, Warned
from fountain.geometry import symbol_size_for_mtu
from fountain.storage.release_files import ReleaseFiles
from fountain.storage.source import open_source
from fountain.trust.release import NAMESPACE, SIGNERS_NAMESPACE, Release
from fountain.trust.sshsig import armor, sign

NOW = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def publish(
    path: Path, product: str = "gateway", version: int = 42, *keys: Ed25519PrivateKey, issued: datetime | None = None,
    days: int = 90, mtu: int = 1500, namespace: bytes = NAMESPACE,
) -> ReleaseFiles:  # fmt: skip
    """The files of a release of `path`, issued now, signed by `keys`."""
    issued = (datetime.now(timezone.utc) if issued is None else issued).replace(microsecond=0)
    profile = code_by_name("raptorq").profile_id
    with open_source(path, symbol_size=symbol_size_for_mtu(mtu), profile_id=profile) as source:
        release = Release(product, version, source.object_id, issued, issued + timedelta(days=days))
        manifest = source.manifest_bytes
    files = ReleaseFiles.beside(path)
    signatures = [armor(sign(key, release.pack(), namespace).pack()) for key in keys or (KEY,)]
    files.write(release.pack(), b"".join(signatures), manifest)
    return files


class Watcher:
    """Stops the server as soon as it serves."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.served: list[ObjectServed] = []

    def handle(self, event: Event) -> None:
        if isinstance(event, ObjectServed):
            self.served.append(event)
        if isinstance(event, Serving):
            self.stop.set()


def served(path: Path, release: Path, **options: object) -> ObjectServed:
    watcher = Watcher()
    trust = ServeTrustConfig(releases=(release,))
    config = ServeConfig(paths=(path,), trust=trust, bind="127.0.0.1", port=0, data_port=0, **options)  # type: ignore[arg-type]
    serve(config, watcher, watcher.stop)
    (one,) = watcher.served
    return one


def refused(error: type[FountainError], words: str, path: Path, release: Path, **options: object) -> None:
    with pytest.raises(error) as caught:
        served(path, release, **options)
    assert type(caught.value) is error
    assert words in caught.value.message
    assert caught.value.hint


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.bin"
    path.write_bytes(os.urandom(100_000))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    (path / "below").mkdir(parents=True)
    (path / "below" / "file").write_bytes(b"content" * 1000)
    (path / "link").symlink_to("below")
    return path


@pytest.mark.parametrize("name", ["image", "tree"])
def test_what_was_signed_is_served_though_its_times_are_others_now(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:  # fmt: skip
    path: Path = request.getfixturevalue(name)
    files = publish(path)
    copy = tmp_path / "elsewhere" / path.name
    copy.parent.mkdir()
    shutil.copytree(path, copy, symlinks=True, copy_function=shutil.copyfile) if path.is_dir() else shutil.copyfile(
        path, copy
    )
    one = served(copy, files.release)
    assert one.release == "gateway 42"
    assert one.object_id == Release.parse(files.release.read_bytes()).object_id.hex()


def test_symbols_are_those_that_were_signed(image: Path) -> None:
    files = publish(image, mtu=1280)
    assert served(image, files.release).symbol_size == symbol_size_for_mtu(1280)
    refused(UsageError, "which `mtu` does not give", image, files.release, mtu=9000)
    refused(UsageError, "signed for another code than lt", image, files.release, code="lt")


def test_what_changed_since_is_refused(image: Path, tree: Path) -> None:
    files = publish(image)
    image.write_bytes(os.urandom(100_000))
    refused(UntrustedError, "This is not gateway 42: 'image.bin' does not have the contents", image, files.release)
    files = publish(tree)
    (tree / "more").write_bytes(b"")
    refused(UntrustedError, "This is not gateway 42: 'tree' does not hold the files", tree, files.release)


def test_files_that_do_not_belong_together_are_refused(image: Path) -> None:
    files = publish(image)
    signature, record, manifest = files.signature.read_bytes(), files.release.read_bytes(), files.manifest.read_bytes()
    files.release.write_bytes(record.replace(b"42", b"43"))
    refused(UntrustedError, "does not fit the record", image, files.release)
    files.release.write_bytes(record)
    files.manifest.write_bytes(manifest[:-1] + bytes([manifest[-1] ^ 1]))
    refused(UntrustedError, "is not the manifest that gateway 42 was signed with", image, files.release)
    files.manifest.write_bytes(manifest)
    files.signature.write_bytes(signature * 3)
    refused(UntrustedError, "more than 2 signatures", image, files.release)
    files.signature.write_bytes(signature + b"more")
    refused(UntrustedError, "does not have the form", image, files.release)
    files.signature.unlink()
    refused(StorageError, "image.bin.release.sig", image, files.release)


def test_two_signatures_are_carried_and_each_must_fit(image: Path) -> None:
    files = publish(image, "gateway", 42, KEY, OTHER_KEY)
    (one,) = read_releases([files.release], ["image.bin"], datetime.now(timezone.utc)).values()
    assert len(one.text.signatures) == 2
    assert served(image, files.release).release == "gateway 42"
    lines = files.signature.read_bytes()
    files.signature.write_bytes(lines + armor(sign(OTHER_KEY, b"another", NAMESPACE).pack()))
    refused(UntrustedError, "more than 2 signatures", image, files.release)
    files.signature.write_bytes(lines[: len(lines) // 2] + armor(sign(OTHER_KEY, b"another", NAMESPACE).pack()))
    refused(UntrustedError, "does not fit the record", image, files.release)


def test_the_list_of_signers_has_a_namespace_of_its_own(image: Path) -> None:
    publish(image, "fountain-signers", 1, namespace=SIGNERS_NAMESPACE)
    assert served(image, publish(image, "fountain-signers", 1, namespace=SIGNERS_NAMESPACE).release)
    refused(UntrustedError, "is for the namespace", image, publish(image, "fountain-signers", 1).release)
    refused(UntrustedError, "is for the namespace", image, publish(image, namespace=SIGNERS_NAMESPACE).release)


def test_a_release_that_has_expired_is_not_served(image: Path) -> None:
    files = publish(image, issued=NOW - timedelta(days=900))
    refused(UntrustedError, "gateway 42 expired at", image, files.release)
    files = publish(image, issued=datetime.now(timezone.utc) + timedelta(days=2))
    refused(UntrustedError, "was issued in the future", image, files.release)


def test_a_release_that_expires_while_it_is_served_is_named_once(image: Path) -> None:
    files = publish(image, issued=datetime.now(timezone.utc) - timedelta(days=90) + timedelta(seconds=3))
    told: list[Warned] = []

    class Listening(Watcher):
        def handle(self, event: Event) -> None:
            if isinstance(event, Warned):
                told.append(event)
            if isinstance(event, PeersProgress) and datetime.now(timezone.utc) > end:
                self.stop.set()

    end = datetime.now(timezone.utc) + timedelta(seconds=4)
    watcher = Listening()
    trust = ServeTrustConfig(releases=(files.release,))
    config = ServeConfig(paths=(image,), trust=trust, bind="127.0.0.1", port=0, data_port=0)
    serve(config, watcher, watcher.stop)
    assert [event.message for event in told] == ["gateway 42 has expired: no receiver takes it any more."]


def test_a_release_of_something_else_is_refused(image: Path, tree: Path) -> None:
    refused(UsageError, "is the release of tree, which is not served", image, publish(tree).release)
    files = publish(image)
    with pytest.raises(UsageError, match=r"Two releases are of image\.bin"):
        read_releases([files.release, files.release], ["image.bin"], datetime.now(timezone.utc))
    refused(StorageError, "does not end in .release", image, image)


def test_the_manifest_is_sent_as_it_was_signed(image: Path) -> None:
    files = publish(image)
    os.utime(image, ns=(1, 1))
    (one,) = read_releases([files.release], ["image.bin"], datetime.now(timezone.utc)).values()
    profile = code_by_name("raptorq").profile_id
    with open_source(image, symbol_size=one.manifest.symbol_size, profile_id=profile) as source:
        before = source.object_id
        one.adopt_by(source)
        assert source.manifest_bytes == files.manifest.read_bytes()
        assert source.object_id == blake3(source.manifest_bytes).digest() != before
        assert not source._is_touched(0, os.stat(image))
