"""Mistakes that a person could make in the source, and whether the tests find them: `python -m tests.mutants`."""
