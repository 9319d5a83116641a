"""Text that came from a network or a file system, made safe to show, and the line that b3sum reads."""

from __future__ import annotations

import unicodedata

__all__ = ["b3sum_line", "escape_controls", "system_words"]

# Control characters move cursors and colour terminals; format characters reverse the reading direction; surrogates are
# octets that are no UTF-8; line and paragraph separators break lines.
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = frozenset({"\u200c", "\u200d"})  # Of category Cf, but needed to spell Persian and Indic names.


def escape_controls(text: str) -> str:
    """`text` with every character that is not just a sign on a line replaced by its escape (`\\x1b`, `\\u202e`)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _ESCAPED_CATEGORIES and character not in _JOINERS
        else character
        for character in text
    )


def b3sum_line(digest: str, path: str) -> str:
    """`digest  path`, as `b3sum --check` reads it.

    A path that would break the line (line feed, carriage return) or the rule itself (backslash) is escaped, and a
    backslash in front of the line says so.
    """
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != path else ""
    return f"{mark}{digest}  {escaped}"


def system_words(error: Exception) -> str:
    """What an error of the system says, without its number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
