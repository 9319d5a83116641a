"""Absurd inputs: `python -m tests.fuzz` runs as many as one likes, `test_fuzz.py` some thousand of each kind."""
