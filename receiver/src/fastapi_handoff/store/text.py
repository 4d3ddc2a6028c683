"""Text as a database keeps it."""

import re

# NUL is refused by PostgreSQL, a lone surrogate (JSON can spell one: "\ud800") is no Unicode text at all.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """Replace each character that cannot be stored by U+FFFD, so that no input can make a row impossible to write."""
    if text.isascii() and "\x00" not in text:
        return text
    return UNSTORABLE.sub(REPLACEMENT, text)
