"""`fountain-sign`: sign a release of a file or a directory, or check one."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fountain._version import __version__
from fountain.cli.arguments import CommandParser, TextRequested, add_value, parse_path, refuse
from fountain.cli.command import run_program
from fountain.cli.environment import Environment
from fountain.cli.exit_status import ExitStatus
from fountain.cli.options import OPTIONS
from fountain.cli.ssh_keygen import sign_with_ssh_keygen
from fountain.cli.text import escape_controls
from fountain.cli.units import parse_lifetime
from fountain.errors import StorageError, UntrustedError, UsageError
from fountain.wire.signed import SIGNATURE_COUNT_MAX

if TYPE_CHECKING:
    from fountain.trust.release import Release
    from fountain.wire.manifest import Manifest

__all__ = ["main", "sign_parser"]

PROG = "fountain-sign"
EXAMPLES = (
    (f"{PROG} image.iso --product gateway --version 42 --expires 90d", "with ~/.ssh/id_ed25519"),
    (f"{PROG} image.iso --product gateway --version 42 --expires 90d --key release_key", "with another key"),
    (f"{PROG} --verify image.iso.release --signers allowed_signers --product gateway", "before it is installed"),
)
LIFETIME_S_MAX = 3650 * 86_400
_VERSION = re.compile("[0-9]{1,19}")
_FOR_SIGNING = ("signing_key", "release_version", "lifetime_s")


@dataclass(frozen=True)
class _SignOptions:
    path: Path
    product: str
    version: int
    lifetime: timedelta
    keys: tuple[Path, ...]


@dataclass(frozen=True)
class _VerifyOptions:
    release: Path
    signers: Path
    product: str | None


def sign_parser() -> CommandParser:
    """The options of fountain-sign."""
    parser = CommandParser(
        PROG,
        usage=f"{PROG} [OPTIONS] PATH\n       {PROG} --verify PATH.release --signers FILE [OPTIONS]",
        description="Sign PATH as a version of a product: makes PATH.release, PATH.release.sig and PATH.manifest.",
        arguments=(("PATH", "a file or a directory tree, as fountain-serve takes it"),),
        is_last_repeated=False,
        is_first_optional=True,
        examples=EXAMPLES,
    )
    add_value(parser, "product", "product of the release: a-z, 0-9, and . _ - after the first", _parse_product, "P")
    parser.add_argument(
        OPTIONS["release_version"],
        dest="release_version",
        nargs="?",
        metavar="N",
        type=_parse_version,
        default=argparse.SUPPRESS,
        help="number of the release, higher than the last one; without N, show the version of fountain and exit",
    )
    text = "how long the release is valid from now on: 90d, 12h"
    add_value(parser, "lifetime_s", text, parse_lifetime, "TIME")
    text = "an ed25519 key that ssh-keygen made (default ~/.ssh/id_ed25519); a locked key is used through the agent"
    text += "; give it twice for two signatures, while a new key replaces an old one"
    add_value(parser, "signing_key", text, parse_path, "FILE", is_repeated=True)
    add_value(parser, "verify", "check this release, and the files beside it", parse_path, "RELEASE")
    text = "who may sign for which product, as ssh-keygen's allowed_signers"
    add_value(parser, "signers", text, parse_path, "FILE")
    parser.add_common_options(has_version=False)
    return parser


def _parse_product(text: str) -> str:
    from fountain.trust.release import is_product

    if not is_product(text):
        hint = "It has 1 to 63 letters of a-z, digits, and . _ - after the first: gateway, sensor-2."
        raise UsageError(f"{text!r} is not the name of a product.", hint)
    return text


def _parse_version(text: str) -> int:
    from fountain.trust.release import VERSION_MAX

    if _VERSION.fullmatch(text) is None or not 1 <= int(text) <= VERSION_MAX:
        hint = f"It is a whole number from 1 to {VERSION_MAX}: 42."
        raise UsageError(f"`release_version`: {text!r} is not the number of a release.", hint, field="release_version")
    return int(text)


def main(argv: Sequence[str] | None = None, env: Environment | None = None) -> int:
    """Run the command; returns its exit status."""
    environment = Environment.of_process() if env is None else env
    words = sys.argv[1:] if argv is None else argv
    return run_program(PROG, environment, lambda: _run(words, environment))


def _run(argv: Sequence[str], env: Environment) -> ExitStatus:
    given, words = sign_parser().parse(argv)
    if given.get("release_version", 0) is None:
        raise TextRequested(f"{PROG} {__version__}\n")
    if "verify" in given:
        release, signer, lines = _verify(_read_verify(given, words), env)
    else:
        release, signer, lines = _sign(_read_sign(given, words, env), env)
    if given["json"]:
        env.stdout.write_line(json.dumps(release.record(signer)))
    elif not given["quiet"]:
        for line in lines:
            env.stdout.write_line(escape_controls(line))
    return ExitStatus.DONE


def _read_verify(given: Mapping[str, Any], words: Sequence[str]) -> _VerifyOptions:
    if words:
        hint = "`verify` names the record; the signed file or directory must be beside it."
        raise UsageError(f"{words[0]!r} is one argument too many.", hint)
    refuse(given, _FOR_SIGNING, "is for signing, and `verify` signs nothing", "Leave one of them out.")
    if "signers" not in given:
        hint = "Give the file that says who may sign for which product."
        raise UsageError("`verify` needs `signers`.", hint, field="signers")
    return _VerifyOptions(given["verify"], given["signers"], given.get("product"))


def _read_sign(given: Mapping[str, Any], words: Sequence[str], env: Environment) -> _SignOptions:
    if not words:
        raise UsageError("Missing: PATH.", f"{PROG} --help lists arguments and options.")
    refuse(given, ("signers",), "is for `verify`", "Leave it out: the key says who signs.")
    for field in ("product", "release_version", "lifetime_s"):
        if field not in given:
            hint = "A release has a product, a version and an end: `product` gateway `release_version` 42 "
            raise UsageError(f"Missing: `{field}`.", hint + "`lifetime_s` 90d", field=field)
    if not 0 < given["lifetime_s"] <= LIFETIME_S_MAX:
        raise UsageError("`lifetime_s` is from 1h to 3650d.", "90d is usual.", field="lifetime_s")
    keys = given.get("signing_key", ())
    if len(keys) > SIGNATURE_COUNT_MAX:
        raise UsageError(
            "A release has two signatures at most.", "Give `signing_key` once or twice.", field="signing_key"
        )
    if not keys:
        if not env.variables.get("HOME"):
            raise UsageError("Missing: `signing_key`.", "HOME is not set, so there is no usual key.")
        keys = (Path(env.variables["HOME"]) / ".ssh" / "id_ed25519",)
    lifetime = timedelta(seconds=given["lifetime_s"])
    return _SignOptions(Path(words[0]), given["product"], given["release_version"], lifetime, keys)


def _sign(options: _SignOptions, env: Environment) -> tuple[Release, str, list[str]]:
    from fountain.config import CODE_DEFAULT
    from fountain.engine.runtime.loading import check_can_load

    check_can_load()
    from fountain.codes.registry import code_by_name  # These load numpy and the kernels, which --help must not.
    from fountain.engine.runtime.identity_file import read_private_key
    from fountain.geometry import symbol_size_for_mtu
    from fountain.limits import MTU_DEFAULT
    from fountain.storage.files import check_source
    from fountain.storage.release_files import ReleaseFiles
    from fountain.storage.source import open_source
    from fountain.trust.release import TIME_FORMAT, Release, namespace_of
    from fountain.trust.sshsig import armor, dearmor, fingerprint, parse_signature, sign

    check_source(options.path)
    files = ReleaseFiles.beside(options.path)
    files.check_free()
    issued = env.now_utc().replace(microsecond=0)
    expires = issued + options.lifetime
    keys = [read_private_key(path, "signing_key") for path in options.keys]  # Wrong ones before hours of reading.
    symbol_size, code = symbol_size_for_mtu(MTU_DEFAULT), code_by_name(CODE_DEFAULT)
    with open_source(options.path, symbol_size=symbol_size, profile_id=code.profile_id) as source:
        release = Release(options.product, options.version, source.object_id, issued, expires)
        manifest = source.manifest_bytes
    record, namespace, signatures = release.pack(), namespace_of(release.product), []
    for path, key in zip(options.keys, keys):
        if key is None:
            signature = parse_signature(dearmor(sign_with_ssh_keygen(path, record, namespace, env.variables)))
        else:
            signature = sign(key, record, namespace)
        signature.verify(record, namespace)
        signatures.append(signature)
    files.write(record, b"".join(armor(signature.pack()) for signature in signatures), manifest)
    names = [fingerprint(signature.public_key) for signature in signatures]
    lines = [
        f"{files.release}: {release}, expires {expires:{TIME_FORMAT}}",
        f"{files.signature}: signed by the key {' and by '.join(names)}",
        f"{files.manifest}: object {release.object_id.hex()}",
    ]
    return release, names[0], lines


def _verify(options: _VerifyOptions, env: Environment) -> tuple[Release, str, list[str]]:
    from fountain.engine.runtime.loading import check_can_load

    check_can_load()
    from blake3 import blake3

    from fountain.storage.files import read_limited
    from fountain.storage.release_files import ReleaseFiles
    from fountain.trust.release import TIME_FORMAT, check_release
    from fountain.trust.signers import SIGNERS_SIZE_MAX, AllowedSigners
    from fountain.trust.sshsig import dearmor_all, fingerprint, parse_signature
    from fountain.wire.manifest import Manifest, parse

    files = ReleaseFiles.of_release(options.release)
    record, armored, octets = files.read()
    signers = AllowedSigners.parse(read_limited(options.signers, SIGNERS_SIZE_MAX, "signers"))
    errors: list[UntrustedError] = []
    for signature in map(parse_signature, dearmor_all(armored)):  # One good one is enough.
        try:
            release = check_release(record, signature, signers, env.now_utc(), options.product)
            break
        except UntrustedError as error:
            errors.append(error)
    else:
        raise errors[0]
    manifest = parse(octets) if blake3(octets).digest() == release.object_id else None
    if not isinstance(manifest, Manifest):
        raise UntrustedError(f"The manifest {files.manifest} is not the one that {release} was signed with.")
    _check_content(files.path, manifest, release)
    lines = [
        f"{files.path}: {release}, object {release.object_id.hex()}",
        f"signed by the key {fingerprint(signature.public_key)}, expires {release.expires:{TIME_FORMAT}}",
    ]
    return release, fingerprint(signature.public_key), lines


def _check_content(path: Path, manifest: Manifest, release: Release) -> None:
    from fountain.storage.source import open_source
    from fountain.trust.content import check_content

    cut = (manifest.symbol_size, manifest.profile_id, manifest.block_symbol_limit)
    try:
        with open_source(path, symbol_size=cut[0], profile_id=cut[1], block_symbol_limit=cut[2]) as source:
            check_content(source.manifest, manifest)
    except StorageError as error:
        hint = error.hint if error.field != "paths" else "The signed file or directory must be beside its release."
        raise StorageError(error.message, hint, path=error.path) from error
    except UntrustedError as error:
        raise UntrustedError(f"This is not {release}: {error.message}", "Do not install it.") from error
