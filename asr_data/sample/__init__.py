"""The preference pairs that ship with the package: small, varied, and with their faults marked.

``pairs.jsonl`` holds 120 pairs in TRL's conversational preference layout, one JSON object per line:

================ ========================================================================================
column           meaning
================ ========================================================================================
``prompt``       messages ``{"role", "content"}``; may begin with a system message, ends with the user's
``chosen``       one assistant message without a known fault
``rejected``     one assistant message that is good except for its planted faults
``topic``        one of ``facts``, ``arithmetic``, ``code``, ``instructions``, ``safety``, ``dialogue``
``language``     ISO 639-1 code of the pair
``fault_spans``  ``{"start", "end", "kind"}`` of every planted fault, in order and never empty: half-open
                 code-point offsets into ``rejected[0]["content"]``
================ ========================================================================================

The kinds of faults, and how their spans were marked, are described in the README next to the file.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from asr_data.errors import InputError

__all__ = ["sample_path", "sample_rows"]


def sample_path() -> Path:
    """Return the path of ``pairs.jsonl`` in the installed package.

    Raises:
        InputError: if the file is missing, or the package is imported from an archive and has no files.
    """
    resource = files(__name__).joinpath("pairs.jsonl")
    if not isinstance(resource, Path) or not resource.is_file():
        raise InputError(f"the sample {str(resource)!r} is not a file: install asr-data unpacked, as pip does")
    return resource


def sample_rows(per_topic: int | None = None) -> list[dict[str, Any]]:
    """The pairs, or at most ``per_topic`` of each topic, spread evenly over it; in the order of the file.

    Raises:
        InputError: see :func:`sample_path`.
    """
    lines = sample_path().read_text(encoding="utf-8").removesuffix("\n").split("\n")
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    if per_topic is None:
        return rows
    places: dict[Any, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.get("topic"), []).append(place)
    chosen: set[int] = set()
    for own in places.values():
        count = min(per_topic, len(own))
        chosen.update(own[number * len(own) // count] for number in range(count))
    return [rows[place] for place in sorted(chosen)]
