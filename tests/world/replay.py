"""Plays one chaotic run again, with a log: `python -m tests.world.replay SEED`."""

from __future__ import annotations

import sys

from tests.world.chaos import Options, Play

if __name__ == "__main__":
    options = Options.drawn(int(sys.argv[1], 0))
    print(options)
    play = Play(options, log=True)
    play.run()
    print(f"all is well at {play.world!r}")
