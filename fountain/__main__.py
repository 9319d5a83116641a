"""`python -m fountain serve|fetch`: the two commands without an installed script."""

from __future__ import annotations

import sys

from fountain.cli.start import module

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(module())
