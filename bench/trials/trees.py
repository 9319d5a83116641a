"""Trees as they are: real commands carry each of them over loopback, and what arrives is compared entry by entry.

    python -m bench.trials.trees [--quick] [--only NAME] [--directory FOLDER]

The trees: `/etc`, dpkg's data base, the packages of this Python, a checked-out git repository of 10,000 files, an image
of 100 GB with 10 MB of data, and a million small files. Of each arrival `diff -r --no-dereference` must be empty, and
kinds, modes, times, sizes, targets and hard links must be equal. The figures are the memory of both commands, what went
over the wire in both directions, what the copy takes on the disk, and the seconds from the first start to the last end.
Needs root, and `ip` for a namespace of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UMASK = 0o022
PATIENCE_S = 3_600.0
PROBE_S = 0.2
SPARSE_EXTENT_SIZE = 1 << 16

MEMORY_SIZE_MAX = 400 << 20
Make = Callable[[Path, bool], Path]


@dataclass(frozen=True)
class Result:
    """What one transfer took; sizes in octets."""

    seconds: float
    serve_memory_size: int
    fetch_memory_size: int
    wire_size: int
    disk_size: int
    differences: list[str]


def make_git(place: Path, is_quick: bool) -> Path:
    """A repository that was committed and checked out, with its own files."""
    root = place / "repository"
    rng = random.Random(1)
    for number in range(1_000 if is_quick else 10_000):
        path = root / f"d{number % 97}" / f"e{number % 11}" / f"file-{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randrange(3_000)))
    (root / "latest").symlink_to("d1/e1")
    os.chmod(root / "d0" / "e0" / "file-0.py", 0o755)
    identity = ["-c", "user.name=trial", "-c", "user.email=trial@example.org", "-c", "gc.auto=0"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "all"], ["checkout", "-q", "HEAD"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    return root


def make_sparse(place: Path, is_quick: bool) -> Path:
    """10 MB of data in extents all over an image of 100 GB."""
    path, rng = place / "image", random.Random(2)
    size = 1 << 30 if is_quick else 100_000_000_000
    count = 10_000_000 // SPARSE_EXTENT_SIZE
    with path.open("wb") as stream:
        stream.truncate(size)
        for number in range(count):
            stream.seek(size // count * number // SPARSE_EXTENT_SIZE * SPARSE_EXTENT_SIZE)
            stream.write(rng.randbytes(SPARSE_EXTENT_SIZE))
        os.fsync(stream.fileno())
    return path


def make_million(place: Path, is_quick: bool) -> Path:
    """Small files, a thousand in each directory, with modes and times of their own."""
    root, rng = place / "million", random.Random(3)
    root.mkdir()
    content = rng.randbytes(1 << 16)
    for number in range(20 if is_quick else 1_000):
        directory = os.path.join(root, f"directory-{number:03}")
        os.mkdir(directory)
        for inner in range(1_000):
            name = os.path.join(directory, f"file-{number:03}-{inner:03}.txt")
            at, size = rng.randrange(1 << 15), rng.randrange(1_200)
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(descriptor, content[at : at + size])
            os.fchmod(descriptor, (0o644, 0o600, 0o755)[inner % 3])
            os.utime(descriptor, ns=(0, 1_700_000_000_000_000_000 + number * 1_000_003 + inner))
            os.close(descriptor)
    return root


def standing(path: str) -> Make:
    """A tree of this machine."""
    return lambda _place, _is_quick: Path(path)


CASES: dict[str, Make] = {
    "etc": standing("/etc"),
    "dpkg": standing("/var/lib/dpkg"),
    "python": standing(sysconfig.get_paths()["purelib"]),
    "git": make_git,
    "sparse": make_sparse,
    "million": make_million,
}


def main() -> int:
    """Play the trees; 1 when one of them did not arrive as it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller ones: 20,000 files, 1 GB, 1,000 files of git")
    parser.add_argument("--only", choices=CASES, help="only this tree")
    parser.add_argument("--directory", type=Path, default=None, help="where to work (default: a temporary directory)")
    options = parser.parse_args()
    os.umask(UMASK)
    has_failed = False
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="trees-") as folder, namespace() as name:
        for case, make in CASES.items():
            if options.only not in (None, case):
                continue
            place = Path(folder) / case
            place.mkdir()
            result = transfer(make(place, options.quick), place / "fetched", name)
            print(
                f"{case:8} {result.seconds:7.1f} s, memory {result.serve_memory_size / 2**20:4.0f} and "
                f"{result.fetch_memory_size / 2**20:4.0f} MiB, wire {result.wire_size / 1e6:8.2f} MB, "
                f"disk {result.disk_size / 1e6:8.2f} MB, {len(result.differences)} differences",
                flush=True,
            )
            for difference in result.differences[:20]:
                print(f"    {difference}")
            has_failed |= bool(result.differences)
            has_failed |= max(result.serve_memory_size, result.fetch_memory_size) > MEMORY_SIZE_MAX
            shutil.rmtree(place)
    return int(has_failed)


@contextmanager
def namespace() -> Iterator[str]:
    """A network namespace with a loopback interface of its own."""
    name = f"trees-{os.getpid():x}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def transfer(source: Path, destination: Path, name: str) -> Result:
    """Serve `source`, fetch it to `destination`, and compare the two."""
    before, start = wire_size(name), time.monotonic()
    serve = launch(name, "fountain-serve", "--bind", "127.0.0.1", "--expect", "1", "--rate", "4G", str(source))
    fetch = launch(name, "fountain-fetch", "--wait", "-o", str(destination), "127.0.0.1")
    memory = [wait(process) for process in (fetch, serve)]
    seconds = time.monotonic() - start
    disk = subprocess.run(["du", "-s", "-B1", str(destination)], check=True, capture_output=True, text=True).stdout
    wire = wire_size(name) - before
    return Result(seconds, memory[1], memory[0], wire, int(disk.split()[0]), differences(source, destination))


def launch(name: str, *command: str) -> subprocess.Popen[bytes]:
    """One of the commands, in the namespace."""
    words = ["ip", "netns", "exec", name, sys.executable, "-m", "fountain", command[0].removeprefix("fountain-")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([*words, "--quiet", *command[1:]], cwd=ROOT, stdout=subprocess.DEVNULL, env=environment)


def wait(process: subprocess.Popen[bytes]) -> int:
    """The most octets of memory that the process had, once it has ended well."""
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        process_id, code, usage = os.wait4(process.pid, os.WNOHANG)
        if process_id:
            if code:
                raise SystemExit(f"{process.args!r} ended with {code}")
            return usage.ru_maxrss * 1024
        time.sleep(PROBE_S)
    process.kill()
    raise SystemExit(f"{process.args!r} did not end")


def wire_size(name: str) -> int:
    """Octets that went over the loopback interface of the namespace, with their headers."""
    path = "/sys/class/net/lo/statistics/tx_bytes"
    done = subprocess.run(["ip", "netns", "exec", name, "cat", path], check=True, capture_output=True, text=True)
    return int(done.stdout)


def differences(source: Path, copy: Path) -> list[str]:
    """What is not the same in both, in words."""
    if source.is_file():
        compare = ["cmp", str(source), str(copy)] if source.stat().st_size < 1 << 33 else None
        found = [] if compare is None else subprocess.run(compare, capture_output=True, text=True, check=False).stdout
        return [*([found] if found else []), *sparse_differences(source, copy), *entry_differences(source, copy)]
    compare = ["diff", "-r", "--no-dereference", str(source), str(copy)]
    lines = subprocess.run(compare, capture_output=True, check=False).stdout.decode(errors="replace").splitlines()
    waiting, found_entries = [b""], list[str]()
    while waiting:
        path = waiting.pop()
        one, other = os.path.join(os.fsencode(source), path), os.path.join(os.fsencode(copy), path)
        found_entries += entry_differences(one, other)
        if stat.S_ISDIR(os.lstat(one).st_mode):
            names, copied = sorted(os.listdir(one)), sorted(os.listdir(other))
            if names != copied:
                found_entries.append(f"{path!r} holds other names")
            waiting += [os.path.join(path, child) for child in names if child in set(copied)]
    return [*lines, *found_entries]


def sparse_differences(source: Path, copy: Path) -> list[str]:
    """Data that differs, hole by hole: comparing all zeros of a large image would take minutes."""
    size = source.stat().st_size
    with source.open("rb") as one, copy.open("rb") as other:
        for first, second in ((one, other), (other, one)):
            at = 0
            while at < size:
                try:
                    at = os.lseek(first.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break
                end = os.lseek(first.fileno(), at, os.SEEK_HOLE)
                if os.pread(first.fileno(), end - at, at) != os.pread(second.fileno(), end - at, at):
                    return [f"{copy} differs at {at}"]
                at = end
    return []


def entry_differences(one: Path | bytes, other: Path | bytes) -> list[str]:
    """What lstat says of two entries and is not the same."""
    first, second = os.lstat(one), os.lstat(other)
    fields = ["st_mode", "st_mtime_ns"]
    if not stat.S_ISDIR(first.st_mode):
        fields += ["st_size", "st_nlink"]
    if stat.S_ISLNK(first.st_mode):
        fields.remove("st_mode")
    changed = [field for field in fields if getattr(first, field) != getattr(second, field)]
    return [f"{one!r}: {field} {getattr(first, field)} {getattr(second, field)}" for field in changed]


if __name__ == "__main__":
    raise SystemExit(main())
