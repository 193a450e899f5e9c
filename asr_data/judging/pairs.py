"""The pairs to be judged: two answers to one prompt, from any data set that has two response columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asr_data.errors import ConfigError, InputError, RowRejected
from asr_data.judging.prompt import shown
from asr_data.judging.verdict import Pick
from asr_data.rows import Layout, Source, detect, first_records, normalise
from asr_data.rows.columns import column_type, column_value, is_text
from asr_data.rows.known_columns import PROMPT_ROLES
from asr_data.types import RejectedRow

_BATCH = 1_000
_PROMPTS = ("prompt", "instruction", "context")


def answers_layout(
    source: Source, first: str | None = None, second: str | None = None, columns: Mapping[str, str] | None = None
) -> Layout:
    """The layout of a data set with two columns of answers.

    Args:
        source: the input.
        first, second: the columns; default what the data set itself takes for chosen and rejected.
        columns: role to column, where detection needs help. Where it names no prompt, a column ``prompt``,
            ``instruction`` or ``context`` is the prompt of columns named here.

    Raises:
        InputError: the columns fit no layout.
    """
    roles = dict(columns or {})
    named = {role: column for role, column in (("chosen", first), ("rejected", second)) if column is not None}
    if named and not {"prompt", "instruction", "messages"} & roles.keys():
        prompt = next((name for name in _PROMPTS if name in source.schema.names and name not in named.values()), None)
        roles |= {} if prompt is None else {PROMPT_ROLES[prompt]: prompt}
    return detect(source.schema, first_records(source), {**roles, **named} or None)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, as a judge sees them.

    Attributes:
        index: of the input row.
        prompt: the request; several messages as one text.
        first, second: the answers.
        reference: a correct answer, where there is one.
        expert: what an expert decided, where the data say so.
    """

    index: int
    prompt: str
    first: str
    second: str
    reference: str | None = None
    expert: Pick | None = None

    @property
    def is_identical(self) -> bool:
        """Two answers that do not differ are a tie, and nobody is asked."""
        return self.first == self.second


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of an input, read as often as wanted.

    Attributes:
        source: the input.
        layout: which column is what; its chosen response is ``first``, its rejected one ``second``.
        reference: column with correct answers.
        expert: column with decisions of an expert.
        limit: only the first so many rows.
    """

    source: Source
    layout: Layout
    reference: str | None = None
    expert: str | None = None
    limit: int | None = None

    def check(self) -> None:
        """Raise InputError or ConfigError where the input cannot give pairs."""
        if self.layout.sides != ("chosen", "rejected"):
            raise InputError(
                f"{self.source.description}: has single responses; two are compared: name their columns with --first "
                "and --second"
            )
        for option, column in (("--reference", self.reference), ("--expert", self.expert)):
            if column is None:
                continue
            kind = column_type(self.source.schema, column)
            if kind is None or not is_text(kind):
                found = "there is no such column" if kind is None else f"it holds {kind}, and must hold text"
                names = ", ".join(self.source.schema.names)
                raise ConfigError(f"{option} {column}: {found}; the columns are {names}")

    def __iter__(self) -> Iterator[Pair | RejectedRow]:
        for batch in self.source.batches(_BATCH, 0, self.limit):
            for raw in batch:
                yield raw if isinstance(raw, RejectedRow) else self._pair(*raw)

    def _pair(self, index: int, record: Mapping[str, Any]) -> Pair | RejectedRow:
        try:
            row = normalise(index, record, self.layout)
            first, second = (shown(completion.content) for completion in row.completions)
        except RowRejected as rejected:
            single = _with_one_response(self.layout)
            if rejected.code != "identical_sides" or single is None:
                return RejectedRow(index, rejected.code, rejected.message)
            row = normalise(index, record, single)
            first = second = shown(row.completions[0].content)
        reference = self._text(record, self.reference)
        expert = expert_pick(self._text(record, self.expert), f"row {index}, column {self.expert!r}")
        return Pair(index, shown(row.prompt), first, second, reference, expert)

    def _text(self, record: Mapping[str, Any], column: str | None) -> str | None:
        value = None if column is None else column_value(record, column)
        return value if isinstance(value, str) and value.strip() else None


def expert_pick(text: str | None, place: str) -> Pick | None:
    """An expert's decision; None where there is none yet.

    Raises:
        InputError: it is something else than first, second or tie.
    """
    match (text or "").strip().lower():
        case "":
            return None
        case "first":
            return "first"
        case "second":
            return "second"
        case "tie":
            return "tie"
    raise InputError(f"{place}: an expert's decision is first, second or tie (or empty), not {text!r}")


def _with_one_response(layout: Layout) -> Layout | None:
    """The layout for a pair whose responses are the same; None where the prompt is found by their difference."""
    if layout.kind != "preference":
        return None
    columns = {role: column for role, column in layout.columns.items() if role not in ("chosen", "rejected")}
    return Layout(kind="prompt_completion", columns={**columns, "completion": layout.columns["chosen"]})
