"""Every example of docs/reference/api.md runs as it stands. tests/test_docs.py compares its tables with the code."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from tests.pages import page
from tests.system.programs import unused_port

PAGE = "docs/reference/api.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", page(PAGE), re.MULTILINE | re.DOTALL)


def title(example: str) -> str:
    """The words of a page that an example stands under."""
    before = page(PAGE).partition(example)[0]
    return re.findall(r"^#+ (.*)$", before, re.MULTILINE)[-1].replace(" ", "-").lower()


@pytest.mark.parametrize("example", [pytest.param(example, id=title(example)) for example in EXAMPLES])
def test_the_example_runs(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("image.iso").write_bytes(os.urandom(300_000))
    draw = random.SystemRandom()  # Two runs of the tests on one machine do not meet.
    here = example.replace("26330", str(unused_port()))
    here = here.replace("239.63.30.1", f"239.255.{draw.randrange(1, 255)}.{draw.randrange(1, 255)}")
    exec(compile(here, f"{PAGE}, {title(example)}", "exec"), {"__name__": "__main__"})
    if "copy.iso" in example:
        assert Path("copy.iso").read_bytes() == Path("image.iso").read_bytes()
    if "incoming" in example:
        assert Path("incoming/image.iso").read_bytes() == Path("image.iso").read_bytes()
