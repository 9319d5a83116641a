"""Codes: a block of symbols to encoding symbols and back. Knows equations; never heard of packets, files or time."""
