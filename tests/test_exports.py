"""What the package promises to those who import it or install it: names, commands, and a light start."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fountain
from fountain import _version

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fountain"
HEAVY = ("numpy", "numba", "rich", "cryptography", "blake3")


def modules() -> list[str]:
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if not name.endswith("__main__")]


def scripts() -> dict[str, str]:
    """The console scripts of pyproject.toml, read as text because Python 3.10 has no TOML reader."""
    section = (ROOT / "pyproject.toml").read_text().split("[project.scripts]\n")[1].split("\n[")[0]
    return dict(re.findall(r'^([\w-]+) = "([\w.:]+)"$', section, re.MULTILINE))


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_package_lists_its_names_sorted_and_has_each() -> None:
    assert list(fountain.__all__) == sorted(fountain.__all__)
    for name in fountain.__all__:
        assert getattr(fountain, name) is not None


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        fountain.no_such_name  # noqa: B018 (the attribute access is what is tested)


def test_the_version_is_the_one_in_its_place() -> None:
    assert fountain.__version__ == _version.__version__


@pytest.mark.parametrize("name", modules())
def test_every_exported_name_exists(name: str) -> None:
    module = importlib.import_module(name)
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), f"{name}.{exported}"


@pytest.mark.parametrize(("script", "target"), scripts().items())
def test_every_command_has_its_function(script: str, target: str) -> None:
    module, _, function = target.partition(":")
    assert callable(getattr(importlib.import_module(module), function)), script


def test_importing_the_package_loads_nothing_heavy() -> None:
    names = "fountain.fetch, fountain.Server, fountain.GroupConfig, fountain.Event, fountain.UsageError"
    probe = f"import sys, fountain; {names}; print([name for name in {HEAVY} if name in sys.modules])"
    assert run("-c", probe).stdout.strip() == "[]"


@pytest.mark.parametrize("target", scripts().values())
def test_help_loads_neither_numpy_nor_numba(target: str) -> None:
    module, _, function = target.partition(":")
    probe = (
        f"import sys\nfrom {module} import {function}\nsys.argv = ['command', '--help']\n"
        f"try:\n    status = {function}()\nexcept SystemExit as exit:\n    status = exit.code\n"
        "loaded = [name for name in ('numpy', 'numba') if name in sys.modules]\n"
        "print(file=sys.stderr)\nprint(status, loaded, file=sys.stderr)"
    )
    assert run("-c", probe).stderr.splitlines()[-1] in ("0 []", "None []")


@pytest.mark.parametrize("role", ["serve", "fetch", "sign"])
def test_the_module_has_the_same_commands(role: str) -> None:
    done = run("-m", "fountain", role, "--help")
    assert done.returncode == 0
    assert f"fountain {role}" in done.stdout or f"fountain-{role}" in done.stdout


def test_the_package_ships_its_types() -> None:
    assert (PACKAGE / "py.typed").exists()
