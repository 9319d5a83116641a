"""Codes by name and by profile, built in or from somebody else's package."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from fountain.codes import registry
from fountain.codes.raptorq import RaptorQ
from fountain.codes.registry import available, code_by_name, code_by_profile
from fountain.errors import UsageError

FOREIGN = """
from fountain.codes.raptorq import RaptorQ

class Foreign(RaptorQ):
    name = "{name}"
    profile_id = {profile!r}
"""


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_codes", dict(registry._codes))


def install(folder: Path, name: str, module: str, source: str) -> None:
    """A distribution as pip would leave it: a module, and metadata that registers it."""
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[fountain.codes]\n{name} = {module}:Foreign\n")


def test_raptorq_is_found_by_name_and_by_profile() -> None:
    code = code_by_name("raptorq")
    assert code.name == "raptorq"
    assert code_by_profile(code.profile_id) is code
    assert "raptorq" in available()


def test_the_profile_of_raptorq_is_frozen() -> None:
    assert RaptorQ.profile_id.hex() == "8e5264b3b3ba43b7"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no code called 'morse'") as caught:
        code_by_name("morse")
    assert "raptorq" in caught.value.hint


def test_an_unknown_profile_is_none() -> None:
    assert code_by_profile(b"\0" * 8) is None


def test_a_foreign_package_adds_a_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "foreign", "foreign_code", FOREIGN.format(name="foreign", profile=b"12345678"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "foreign" in available()
    assert code_by_profile(b"12345678") is code_by_name("foreign")


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError('broken on purpose')",
        FOREIGN.format(name="other", profile=b"12345678"),
        FOREIGN.format(name="broken", profile=b"1234"),
    ],
    ids=["raises", "other name", "short profile"],
)
def test_a_broken_package_is_an_error_only_for_who_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, request: pytest.FixtureRequest
) -> None:
    module = "broken_" + request.node.callspec.id.replace(" ", "_")
    install(tmp_path, "broken", module, source)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "broken" in available()
    assert code_by_name("raptorq").name == "raptorq"
    assert code_by_profile(b"\1" * 8) is None
    with pytest.raises(UsageError, match=f"'broken'.*{module}") as caught:
        code_by_name("broken")
    assert caught.value.hint


def test_nobody_can_replace_the_built_in_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "raptorq", "impostor", FOREIGN.format(name="raptorq", profile=b"12345678"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert code_by_profile(b"12345678") is None
    assert code_by_name("raptorq").profile_id == RaptorQ.profile_id
    assert metadata.entry_points(group="fountain.codes")
