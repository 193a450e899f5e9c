"""Pairs to judge: two answers to one prompt, from any data set with two response columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from asr_data.endpoints.replies import as_text
from asr_data.errors import ConfigError, InputError, RowRejected
from asr_data.judging.verdict import Pick
from asr_data.rows import Layout, Source, detect, first_records, normalise, stored_pair
from asr_data.rows.columns import column_type, column_value, is_text
from asr_data.rows.input_guard import InputGuard
from asr_data.rows.known_columns import PROMPT_ROLES
from asr_data.types import RejectedRow

_BATCH = 1_000
_VOTES: Final[Mapping[str, Pick]] = {
    "first": "first", "a": "first", "second": "second", "b": "second", "tie": "tie", "c": "tie",
}  # fmt: skip
_PROMPTS = ("prompt", "instruction", "context")


def answers_layout(
    source: Source, first: str | None = None, second: str | None = None, columns: Mapping[str, str] | None = None
) -> Layout:
    """The layout of a data set with two columns of answers.

    Args:
        source: the input.
        first, second: the columns; default the data set's chosen and rejected responses.
        columns: role to column, where detection needs help. If it names no prompt, the prompt of ``first`` and
            ``second`` is the column ``prompt``, ``instruction`` or ``context``.

    Raises:
        InputError: the columns match no layout.
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
        prompt: the request; several messages are joined into one text.
        first, second: the answers.
        reference: a correct answer, if there is one.
        expert: an expert's decision from the data, if there is one.
        votes: of people, one for each column of votes; None where a cell is empty.
    """

    index: int
    prompt: str
    first: str
    second: str
    reference: str | None = None
    expert: Pick | None = None
    votes: tuple[Pick | None, ...] = ()

    @property
    def is_identical(self) -> bool:
        """Identical answers are a tie and are not sent to the judges."""
        return self.first == self.second


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of an input; can be iterated several times.

    Attributes:
        source: the input.
        layout: roles of the columns; the chosen response is ``first``, the rejected response ``second``.
        reference: column with correct answers.
        expert: column with an expert's decisions.
        votes: columns with votes of people.
        limit: number of rows to read, from the start.
    """

    source: Source
    layout: Layout
    reference: str | None = None
    expert: str | None = None
    votes: tuple[str, ...] = ()
    limit: int | None = None

    def check(self) -> None:
        """Raise InputError or ConfigError if the input cannot provide pairs."""
        if self.layout.sides != ("chosen", "rejected"):
            raise InputError(
                f"{self.source.description}: has one response per row, and judging needs two; name their columns with "
                "--first and --second"
            )
        named = [
            ("--reference", self.reference),
            ("--expert", self.expert),
            *(("--votes", name) for name in self.votes),
        ]
        for option, column in named:
            if column is None:
                continue
            kind = column_type(self.source.schema, column)
            if kind is None or not is_text(kind):
                found = "no such column" if kind is None else f"its type is {kind}; it must be text"
                names = ", ".join(self.source.schema.names)
                raise ConfigError(f"{option} {column}: {found}; the columns are {names}")

    def __iter__(self) -> Iterator[Pair | RejectedRow]:
        for batch in InputGuard(self.source).watched(self.source.batches(_BATCH, 0, self.limit)):
            for raw in batch:
                yield raw if isinstance(raw, RejectedRow) else self._pair(*raw)

    def _pair(self, index: int, record: Mapping[str, Any]) -> Pair | RejectedRow:
        try:
            row = normalise(index, record, self.layout, stored_pair(record, self.layout))
            first, second = (as_text(completion.content) for completion in row.completions)
        except RowRejected as rejected:
            single = _with_one_response(self.layout)
            if rejected.code != "identical_sides" or single is None:
                return RejectedRow(index, rejected.code, rejected.message)
            row = normalise(index, record, single)
            first = second = as_text(row.completions[0].content)
        reference = self._text(record, self.reference)
        expert = expert_pick(self._text(record, self.expert), f"row {index}, column {self.expert!r}")
        votes = tuple(vote_pick(self._text(record, name), f"row {index}, column {name!r}") for name in self.votes)
        return Pair(index, as_text(row.prompt), first, second, reference, expert, votes)

    def _text(self, record: Mapping[str, Any], column: str | None) -> str | None:
        value = None if column is None else column_value(record, column)
        return value if isinstance(value, str) and value.strip() else None


def expert_pick(text: str | None, place: str) -> Pick | None:
    """An expert's decision; None if the cell is empty.

    Raises:
        InputError: it is not first, second or tie.
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


def vote_pick(text: str | None, place: str) -> Pick | None:
    """A person's vote; None if the cell is empty.

    Raises:
        InputError: it is not one of the allowed words.
    """
    vote = None if text is None else _VOTES.get(text.strip().strip("[]").casefold())
    if text is not None and vote is None:
        raise InputError(f"{place}: a vote is first (or A), second (or B), tie (or C), or empty, not {text!r}")
    return vote


def _with_one_response(layout: Layout) -> Layout | None:
    """The layout for a pair of identical responses; None if the prompt is what both have in common."""
    if layout.kind != "preference":
        return None
    columns = {role: column for role, column in layout.columns.items() if role not in ("chosen", "rejected")}
    one = {**columns, "completion": layout.columns["chosen"]}
    return Layout.model_validate({**layout.model_dump(), "kind": "prompt_completion", "columns": one})
