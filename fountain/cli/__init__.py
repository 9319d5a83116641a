"""The command line: argv -> config -> engine -> exit status; the only importer of argparse and rich."""

from __future__ import annotations

__all__: list[str] = []
