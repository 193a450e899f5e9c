"""Prompts of the user's own: a text with named fields, filled in by plain substitution."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asr_data.endpoints.config import read_text
from asr_data.errors import ConfigError

FIELDS: Final = ("prompt", "reference_answer", "answer_a", "answer_b")
"""``${NAME}`` in a template; upper case, spaces and hyphens make no difference, so ``${Answer A}`` is ``answer_a``."""

_FIELD: Final = re.compile(r"(\$?)\$\{([^{}\n]*)\}?")
_SECTION: Final = re.compile(r"^[ \t]*(SYSTEM|HUMAN|USER) MESSAGE[ \t]*:?[ \t]*$", re.MULTILINE)
_LONGEST: Final = 1_000_000
_NO_REFERENCE: Final = "(none)"


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A prompt with fields.

    Texts are put in as they are, in a single pass: a field's name in an answer is not a field, and nothing in a
    template or a text is run.

    Attributes:
        text: as written in the file.
        system: instructions; None if the text has no line ``SYSTEM MESSAGE``.
        user: what follows the line ``HUMAN MESSAGE``, or the whole text.
    """

    text: str
    system: str | None
    user: str

    @classmethod
    def parse(cls, text: str, *, has_reference: bool) -> PromptTemplate:
        """Check a text and split it into its messages.

        Args:
            text: with ``${prompt}``, ``${answer_a}``, ``${answer_b}`` and, with a reference, ``${reference_answer}``.
                ``$${`` stands for ``${``. Lines ``SYSTEM MESSAGE`` and ``HUMAN MESSAGE`` (or ``USER MESSAGE``) begin
                the two messages; without them, all of it is the user's message.
            has_reference: whether the data set has a column with reference answers.

        Raises:
            ConfigError: a field is missing or unknown, or the messages are not one of each.
        """
        names = [_name(found) for found in _FIELD.finditer(text) if not found.group(1)]
        for name in ("prompt", "answer_a", "answer_b", *(["reference_answer"] if has_reference else [])):
            if name not in names:
                raise ConfigError(f"the field ${{{name}}} is missing")
        if "reference_answer" in names and not has_reference:
            raise ConfigError("the field ${reference_answer} needs a column with reference answers: --reference COLUMN")
        system, user = _messages(text)
        return cls(text, system, user)

    def messages(
        self, request: str, answer_a: str, answer_b: str, reference: str | None = None, *, system_role: bool = True
    ) -> list[dict[str, str]]:
        """The messages of a request for one verdict; arguments as for :func:`asr_data.judging.prompt.messages`."""
        values = {
            "prompt": request,
            "reference_answer": _NO_REFERENCE if reference is None else reference,
            "answer_a": answer_a,
            "answer_b": answer_b,
        }
        user = _filled(self.user, values)
        if self.system is None:
            return [{"role": "user", "content": user}]
        system = _filled(self.system, values)
        if not system_role:
            return [{"role": "user", "content": f"{system}\n\n{user}"}]
        return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def load_prompt(path: Path, *, has_reference: bool) -> PromptTemplate:
    """The template in a file.

    Raises:
        ConfigError: the file cannot be read, or the template is invalid.
    """
    text = read_text(path, _LONGEST, "a prompt")
    try:
        return PromptTemplate.parse(text, has_reference=has_reference)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _name(found: re.Match[str]) -> str:
    if not found.group(0).endswith("}"):
        raise ConfigError(f"{found.group(0)[:40]!r} has no closing brace; write $${{ for a plain ${{")
    name = re.sub(r"[\s_-]+", "_", found.group(2).strip()).lower()
    if name not in FIELDS:
        allowed = ", ".join(f"${{{field}}}" for field in FIELDS)
        raise ConfigError(f"{found.group(0)!r} is not a field; the fields are {allowed}. Write $${{ for a plain ${{")
    return name


def _messages(text: str) -> tuple[str | None, str]:
    """System and user message."""
    headings = list(_SECTION.finditer(text))
    if not headings:
        return None, text.strip()
    kinds = ["system" if heading.group(1) == "SYSTEM" else "user" for heading in headings]
    if sorted(kinds) not in (["user"], ["system", "user"]) or text[: headings[0].start()].strip():
        raise ConfigError("there must be one line SYSTEM MESSAGE and one line HUMAN MESSAGE, and nothing before them")
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    parts = {kind: text[heading.end() : end].strip() for kind, heading, end in zip(kinds, headings, ends, strict=True)}
    return parts.get("system"), parts["user"]


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda found: found.group(0)[1:] if found.group(1) else values[_name(found)], text)
