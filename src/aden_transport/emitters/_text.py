"""Strings from outside, made safe for a terminal or a log line."""

from __future__ import annotations

import re

__all__ = ["LIMIT", "clean"]

LIMIT = 256
"""Characters that are shown of one string."""

# ECMA-48: OSC and its kin run to BEL or ST, CSI to its final byte; then the two-byte escapes.
_ANSI = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|$)"
    r"|\x1b[ -/]*[0-~]?"
)


def clean(value: object, limit: int = LIMIT) -> str:
    """`value` as one printable line of at most `limit` characters.

    ANSI sequences, control characters, bidi marks and surrogates are gone; line ends are blanks.
    """
    text = value if isinstance(value, str) else str(value)
    if not (text.isascii() and text.isprintable()):
        # Cut first, so that a hostile megabyte costs no more than a few lines.
        text = _ANSI.sub("", text[: limit * 16])
        text = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
