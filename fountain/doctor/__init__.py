"""Checks of this machine and of the way to a host, and the report on a code."""
