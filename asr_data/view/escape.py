"""Text from a data set, made safe and visible for a terminal.

A terminal obeys what it is sent: an escape sequence in a response could recolour, move, hide or retitle,
and a bidirectional override shows text in a different order from the one the model reads. Here such characters
appear as ``<U+001B>``. Newline and tab stay; joiners stay because emoji are made of them.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\xad\u200b\u2060\ufeff"  # invisible: soft hyphen, zero-width space, word joiner, byte-order mark
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks, overrides and isolates of direction
    "\u2028\u2029"  # line and paragraph separator, which some terminals break at
    "\ud800-\udfff"  # lone surrogates, which no encoding can write
    "\U000e0000-\U000e007f"  # tags: an invisible copy of ASCII
    "]"
)


def visible(text: str) -> str:
    """``text`` with every control, invisible and direction-changing character written as ``<U+XXXX>``."""
    return _UNSAFE.sub(lambda match: f"<U+{ord(match.group()):04X}>", text)
