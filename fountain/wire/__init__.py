"""Octets to records and back: offsets, not meaning."""
