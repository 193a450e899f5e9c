"""Makes the shipped sample from its source: ``python -m tests.sample.build``, ``--figures`` for its balance.

``source/TOPIC.txt`` holds the pairs of a topic as they were written. A pair begins with ``=== LANGUAGE``; each of its
parts follows a line ``--- NAME``:

============================== =====================================================================================
part                           what it holds
============================== =====================================================================================
``system, user, assistant``    a message of the prompt, in order
``chosen``, ``rejected``       the answers; in ``rejected`` each fault stands between ⟦ and ⟧, and is of the topic's
                               own kind unless it begins with another: ``⟦wrong_fact: …⟧``
``answer``                     arithmetic: lines ``TEXT = EXPRESSION``; ``tests/sample/test_arithmetic.py`` computes
                               the expression and looks for the text, which holds its value, in the chosen answer
``check``                      code: a Python program that ``tests/sample/test_code.py`` runs on both answers
============================== =====================================================================================

Offsets are counted when the brackets are taken out, so nobody counts by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parent / "source"
SAMPLE: Final = Path(__file__).parents[2] / "asr_data" / "sample" / "pairs.jsonl"

TOPICS: Final = {
    "facts": "wrong_fact",
    "arithmetic": "arithmetic",
    "code": "code_bug",
    "instructions": "ignored_instruction",
    "safety": "unsafe_advice",
    "dialogue": "contradiction",
}
"""Topics in the order of the file, and the kind of fault that each has where none is named."""

ROLES: Final = ("system", "user", "assistant")
ONCE: Final = ("chosen", "rejected", "answer", "check")
_MARKED = re.compile(r"⟦(?:(?P<kind>[a-z_]+): )?(?P<text>[^⟦⟧]+)⟧", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Span:
    """A fault: half-open code-point offsets into the rejected answer, and its kind."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair as it was written, its brackets taken out."""

    topic: str
    language: str
    prompt: tuple[tuple[str, str], ...]
    chosen: str
    rejected: str
    faults: tuple[Span, ...]
    answer: str = ""
    check: str = ""

    def line(self) -> str:
        """The pair as a line of ``pairs.jsonl``."""
        record = {
            "prompt": [{"role": role, "content": content} for role, content in self.prompt],
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
            "topic": self.topic,
            "language": self.language,
            "fault_spans": [{"start": one.start, "end": one.end, "kind": one.kind} for one in self.faults],
        }
        return json.dumps(record, ensure_ascii=False) + "\n"


def pairs() -> list[Pair]:
    """Every pair of the source, topic by topic."""
    return [pair for topic in TOPICS for pair in read(topic, (SOURCE / f"{topic}.txt").read_bytes().decode("utf-8"))]


def read(topic: str, text: str) -> Iterator[Pair]:
    """The pairs of a source file.

    Raises:
        ValueError: a part is unknown, twice or missing, or brackets do not match.
    """
    first, *entries = re.split(r"^=== ", text, flags=re.MULTILINE)
    if first.strip():
        raise ValueError(f"{topic}: {first.strip()[:40]!r} stands before the first pair")
    for number, entry in enumerate(entries):
        language, *parts = re.split(r"^--- ", entry, flags=re.MULTILINE)
        prompt: list[tuple[str, str]] = []
        once: dict[str, str] = {}
        for part in parts:
            name, _, content = part.partition("\n")
            if name in ROLES:
                prompt.append((name, content.strip("\n")))
            elif name in ONCE and name not in once:
                once[name] = content.strip("\n")
            else:
                raise ValueError(f"{topic}, pair {number}: {name!r} is unknown or there twice")
        if not prompt or not {"chosen", "rejected"} <= set(once):
            raise ValueError(f"{topic}, pair {number}: a prompt, chosen and rejected are needed")
        rejected, faults = marked(once.pop("rejected"), TOPICS[topic])
        yield Pair(topic, language.strip(), tuple(prompt), once.pop("chosen"), rejected, faults, **once)


def marked(text: str, kind: str) -> tuple[str, tuple[Span, ...]]:
    """``text`` without its brackets, and what stood between them.

    Raises:
        ValueError: brackets do not match.
    """
    plain, faults, position = "", [], 0
    for found in _MARKED.finditer(text):
        plain += text[position : found.start()]
        start = len(plain)
        plain += found["text"]
        faults.append(Span(start, len(plain), found["kind"] or kind))
        position = found.end()
    plain += text[position:]
    if "⟦" in plain or "⟧" in plain:
        raise ValueError(f"brackets do not match in {text[:60]!r}")
    return plain, tuple(faults)


def main() -> None:
    """Write ``pairs.jsonl``, or print the figures of its README."""
    if sys.argv[1:] == ["--figures"]:
        from tests.sample.balance import figures

        print(figures(pairs()))
        return
    SAMPLE.write_bytes("".join(pair.line() for pair in pairs()).encode("utf-8"))


if __name__ == "__main__":
    main()
