"""Machines of one image behind one address translator are as many as they are, and none ends another's stream."""

from __future__ import annotations

import pytest

from bench.trials import clones


@pytest.mark.slow
@pytest.mark.root("ip", "nft", "unshare", "sysctl")
def test_three_clones_behind_one_translator_are_three_peers() -> None:
    _, exact, status = clones.trial(3, 300_000, translated=True)
    assert (exact, status) == (3, 0)
