"""Who published what: release records, SSH signatures, and files of allowed signers.

Everything here works on octets and on numbers that come in from outside: no file is opened, no clock is read.
"""

from __future__ import annotations

__all__: list[str] = []
