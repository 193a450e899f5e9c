"""How rows are to be read: shown, overruled with ``--columns``, refused rather than guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from asr_data.errors import ConfigError, InputError
from asr_data.pairs import PairConfig
from asr_data.rows import labelled
from asr_data.rows.class_labels import split_verdicts, verdicts
from asr_data.rows.columns import column_type, column_value, is_number, is_text, item_type
from asr_data.rows.features import class_names, read_as
from asr_data.rows.json_messages import json_message_columns
from asr_data.rows.known_columns import KIND_OF_ROLES, LABEL_ROLES, ROLES, SYSTEM_COLUMNS, LayoutKind, Role
from asr_data.rows.labels import LabelUnit, label_unit
from asr_data.rows.messages import MESSAGE_KEYS
from asr_data.rows.prompt_forms import PROMPT_FORMS, PromptForm, prompt_form
from asr_data.rows.roles import REMEDY, known_winners, named_roles, needed_roles, overruled_roles, seen
from asr_data.rows.transcripts import starts_as_transcript
from asr_data.rows.winners import Winner, split_winners, winners
from asr_data.types import Side

TextKind: TypeAlias = Literal["text", "messages", "empty"]

_RESPONSE_ROLES: Final[tuple[Role, ...]] = (
    "chosen",
    "rejected",
    "completion",
    "completions",
    "response1",
    "response2",
)
_TEXT_ROLES: Final[tuple[Role, ...]] = ("prompt", "instruction", "messages", *_RESPONSE_ROLES)
_JSON_ROLES: Final[tuple[Role, ...]] = (
    "prompt",
    "messages",
    "chosen",
    "rejected",
    "completion",
    "response1",
    "response2",
)
_MEANING: Final[dict[LayoutKind, str]] = {
    "preference": "preference pairs with a prompt column",
    "preference_implicit_prompt": "preference pairs whose prompt is what both conversations begin with",
    "transcripts": "preference pairs of 'Human:'/'Assistant:' transcripts, prompt inside both",
    "two_responses": "two responses with a preference, below zero for the first",
    "two_responses_winner": "two responses, of which one won",
    "two_responses_scored": "two responses with a score each: the higher is chosen",
    "scored_completions": "several completions with scores, the highest is the best",
    "ranked_completions": "several completions with ranks, the lowest is the best",
    "judged_completions": "several completions with a verdict each, a true one is better",
    "ordered_completions": "two completions each, the first preferred",
    "unpaired": "responses with a verdict each",
    "prompt_completion": "prompts with one completion each, taken as preferred",
    "labelled": "rows with labels",
}

_NUMBERS_ROLE: Final[dict[LayoutKind, Role]] = {
    "scored_completions": "scores",
    "ranked_completions": "ranks",
    "judged_completions": "verdicts",
}


def _is_empty(value: Sized) -> bool:
    """Left out of plans, so that those of an earlier version stay what they are."""
    return not value


class Layout(BaseModel):
    """How rows are to be read.

    Attributes:
        kind: the shape of a row.
        columns: role → input column, or a path such as ``completions.response``.
        tools_column, template_kwargs_column: columns that are passed to the chat template, or None.
        format: name of a format of ``asr_data.rows.labelled``, where the kind is ``labelled``.
        label_units: role of a label column → what its values stand for.
        verdicts: values of the label column, such as class names → whether they mean a preferred response; empty where
            they are true, false, 1 or 0.
        json_columns: columns whose texts are messages as JSON.
        winners: values of the winner column → which response won.
        prompt_form: what a prompt that is a text is, see :mod:`asr_data.rows.prompt_forms`.
        pairs: which pairs are made of a row with several answers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: LayoutKind
    columns: dict[Role, str]
    tools_column: str | None = None
    template_kwargs_column: str | None = None
    format: str | None = None
    label_units: dict[Role, LabelUnit] = {}
    verdicts: Annotated[dict[str, bool], Field(exclude_if=_is_empty)] = {}
    json_columns: Annotated[tuple[str, ...], Field(exclude_if=_is_empty)] = ()
    winners: Annotated[dict[str, Winner], Field(exclude_if=_is_empty)] = {}
    prompt_form: Annotated[PromptForm, Field(exclude_if=lambda form: form == "plain")] = "plain"
    pairs: Annotated[PairConfig, Field(exclude_if=lambda pairs: pairs == PairConfig())] = PairConfig()

    @model_validator(mode="after")
    def _columns_fit_the_kind(self) -> Self:
        """A layout can come from a manifest, which anybody can have written."""
        if self.format is not None:
            if self.format not in labelled.FORMATS:
                raise ValueError(f"no such format: {self.format!r}; allowed are {', '.join(labelled.FORMATS)}")
            return self
        kind = KIND_OF_ROLES.get(needed_roles(self.columns))
        if self.kind != kind and (self.kind, kind) != ("transcripts", "preference_implicit_prompt"):
            roles = ", ".join(self.columns) or "none"
            raise ValueError(f"kind is {self.kind}, but the roles ({roles}) are those of {kind or 'no layout'}")
        return self

    @model_validator(mode="after")
    def _pairs_fit_the_kind(self) -> Self:
        if self.pairs != PairConfig() and self.numbers_role is None:
            raise ValueError(f"pairs says {self.pairs.rule}, but kind {self.kind} has no more than two answers a row")
        return self

    @property
    def sides(self) -> tuple[Side, ...]:
        """The output's column prefixes, in order."""
        if self.format is not None:
            return labelled.FORMATS[self.format].sides
        return ("completion",) if self.kind in ("unpaired", "prompt_completion") else ("chosen", "rejected")

    @property
    def numbers_role(self) -> Role | None:
        """The column that says how good each of several answers is; None where rows have no more than two."""
        return _NUMBERS_ROLE.get(self.kind)

    def with_pairs(self, pairs: PairConfig) -> Layout:
        """The same layout with these pairs.

        Raises:
            ConfigError: rows have no more than two answers, or none that says how good each is.
        """
        if self.numbers_role is None and pairs != PairConfig():
            asked = f"--pairs {pairs.rule}" if pairs.several else f"--min-gap {pairs.min_gap:g}"
            wanted = "is for rows with several answers that have scores, ranks or verdicts, and these rows have none"
            raise ConfigError(f"{asked} {wanted}: {self.describe()}")
        return self.model_copy(update={"pairs": pairs})

    def describe(self) -> str:
        """One line for the user."""
        if self.format is not None:
            return f"{labelled.FORMATS[self.format].title} (format={self.format})"
        mapping = ", ".join(f"{role}={self.columns[role]}" for role in ROLES if role in self.columns)
        read = [f"messages as JSON in {', '.join(self.json_columns)}"] if self.json_columns else []
        read += filter(None, [PROMPT_FORMS[self.prompt_form]])
        for which in ("first", "second"):
            values = [value for value, winner in self.winners.items() if winner == which]
            read += [f"the {which} won: {', '.join(values)}"] if values else []
        for verdict, meaning in ((True, "preferred"), (False, "not preferred")):
            values = [value for value, preferred in self.verdicts.items() if preferred is verdict]
            read += [f"{meaning}: {', '.join(values)}"] if values else []
        read = read if self.numbers_role is None else [self.pairs.describe(), *read]
        return "; ".join([f"{_MEANING[self.kind]} ({mapping})", *read])

    def unread_system(self, schema: pa.Schema) -> str | None:
        """A line about columns of system messages that are not read, or None where there is none."""
        left = [name for name in SYSTEM_COLUMNS if name in schema.names and name not in self.columns.values()]
        return f"not read: {', '.join(left)} (--columns system={left[0]},… would)" if left else None


def detect(
    schema: pa.Schema,
    first_records: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str] | None = None,
) -> Layout:
    """The layout of a data set.

    Without ``columns``, a format with labels comes first, then roles by the columns' names. With ``columns``, a mapping
    that is complete in itself is taken as it is; where roles are missing in it, those that would be found without it
    fill in, then columns with the roles' names.

    Args:
        schema: the input's columns.
        first_records: some records, to tell transcripts from other texts and formats with labels from each other.
        columns: role → column, from ``--columns``; or ``format`` → name of a format with labels.

    Raises:
        InputError: no layout fits, or two do; says what was seen and how to overrule.
    """
    names = {field.name: names for field in schema if (names := class_names(schema, field.name))}
    schema = read_as(schema)
    columns, given = split_verdicts(columns or {})
    columns, winner_values = split_winners(columns)
    format_name = _labelled_format(schema, first_records, columns)
    if format_name is not None:
        return Layout(kind="labelled", columns={}, format=format_name)
    roles = overruled_roles(schema, first_records, columns) if columns else named_roles(schema, first_records)
    json_columns = json_message_columns(
        {role: column for role, column in roles.items() if role in _JSON_ROLES and is_text(_type(schema, column))},
        first_records,
    )
    text_kinds = {
        role: "messages" if column in json_columns else _text_kind(schema, role, column)
        for role, column in roles.items()
        if role in _TEXT_ROLES
    }
    kind = _kind(schema, roles)
    if kind == "preference_implicit_prompt":
        kind = _implicit_kind(roles, text_kinds, first_records, overruled=bool(columns))
    elif "prompt" not in needed_roles(roles) and "text" in text_kinds.values():
        raise InputError(
            f"{_texts_without_prompt(roles, text_kinds)}; where the prompt ends would be a guess; {REMEDY}"
        )
    _check_kinds_agree(roles, text_kinds)
    for role, column in roles.items():
        _check_type(role, column, _type(schema, column))
    layout = Layout(
        kind=kind,
        columns=roles,
        tools_column=_tools_column(schema, roles),
        template_kwargs_column=_extra(schema, "chat_template_kwargs", roles),
        label_units=_label_units(schema, roles),
        verdicts=verdicts(roles.get("label"), names, given),
        json_columns=json_columns,
        winners=winners(roles.get("winner"), known_winners(roles.get("winner")), winner_values),
        prompt_form=prompt_form(roles, text_kinds, first_records),
    )
    _check_labels_have_sides(layout)
    return layout


def _labelled_format(
    schema: pa.Schema, first_records: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None
) -> str | None:
    """The format with labels that was asked for, or that the data has; None where the columns' roles decide."""
    if columns and "format" in columns:
        name = columns["format"]
        if len(columns) > 1:
            raise InputError("--columns format=… stands alone: the format says what its columns are")
        if name not in labelled.FORMATS:
            raise InputError(f"--columns format={name}: no such format; there are {', '.join(labelled.FORMATS)}")
        return name
    matching = [] if columns else labelled.match(schema, first_records)
    if len(matching) > 1:
        raise InputError(
            f"the columns fit more than one format with labels:{seen(schema)}\nchoose one with --columns:"
            + "".join(f"\n  format={name}" for name in matching)
        )
    return matching[0] if matching else None


def _kind(schema: pa.Schema, roles: Mapping[Role, str]) -> LayoutKind:
    kind = KIND_OF_ROLES.get(needed_roles(roles))
    fault = ""
    if kind is None or {"prompt", "instruction"} <= roles.keys():
        fault = "fit no layout"
    elif {"input", "history"} & roles.keys() and "instruction" not in roles:
        fault = "fit no layout: input and history belong to an instruction"
    if kind is None or fault:
        raise InputError(f"the columns {fault}:{seen(schema)}\n{REMEDY}")
    return kind


def _implicit_kind(
    roles: Mapping[Role, str],
    text_kinds: Mapping[Role, TextKind],
    first_records: Sequence[Mapping[str, Any]],
    overruled: bool,
) -> LayoutKind:
    """Whether chosen and rejected without a prompt column are conversations or transcripts."""
    if set(text_kinds.values()) <= {"messages"}:
        return "preference_implicit_prompt"
    texts = [column_value(record, roles[role]) for record in first_records for role in ("chosen", "rejected")]
    marked = [starts_as_transcript(text) for text in texts if isinstance(text, str) and text]
    if marked and (any(marked) if overruled else all(marked)):
        return "transcripts"
    raise InputError(
        f"the columns {roles['chosen']!r} and {roles['rejected']!r} hold texts, there is no prompt column, "
        f"and {sum(not mark for mark in marked)} of the first {len(marked)} texts do not begin with a "
        f"'\\n\\nHuman:' turn; where the prompt ends would be a guess; {REMEDY}"
    )


def _texts_without_prompt(roles: Mapping[Role, str], text_kinds: Mapping[Role, TextKind]) -> str:
    columns = " and ".join(repr(roles[role]) for role, kind in text_kinds.items() if kind == "text")
    return f"the columns {columns} hold texts, and no column a prompt; where the prompt ends would be a guess; {REMEDY}"


# --- checks of types -------------------------------------------------------------------------------------


def _check_kinds_agree(roles: Mapping[Role, str], text_kinds: Mapping[Role, TextKind]) -> None:
    """Responses are all texts or all messages."""
    responses = {text_kinds[role] for role in roles if role in _RESPONSE_ROLES} - {"empty"}
    if len(responses) > 1:
        found = ", ".join(f"{roles[role]} holds {kind}" for role, kind in text_kinds.items())
        raise InputError(f"both responses must be texts, or both messages; here {found}")


def _label_units(schema: pa.Schema, roles: Mapping[Role, str]) -> dict[Role, LabelUnit]:
    """What the label columns hold. One that is empty in every row holds what the other one holds."""
    columns = {role: column for role, column in roles.items() if role in LABEL_ROLES.values()}
    types = {role: _type(schema, column) for role, column in columns.items()}
    empty = {role for role, kind in types.items() if (item := item_type(kind)) is not None and pa.types.is_null(item)}
    full = [role for role in columns if role not in empty] or list(columns)
    units = {role: label_unit(types[role], columns[role]) for role in full}
    return {role: units.get(role, units[full[0]]) for role in columns}


def _check_labels_have_sides(layout: Layout) -> None:
    for side, role in LABEL_ROLES.items():
        if role in layout.columns and side not in layout.sides:
            raise InputError(f"--columns {role}={layout.columns[role]}: there is no {side} response to label")


def _text_kind(schema: pa.Schema, role: Role, column: str) -> TextKind:
    """What a column of prompts or responses holds.

    Raises:
        InputError: neither texts nor messages, or not what the role needs.
    """
    whole = kind = _type(schema, column)
    if role == "completions" and not pa.types.is_null(whole):
        kind = item_type(whole) or whole
        if kind is whole or pa.types.is_struct(kind):
            raise InputError(f"column {column!r} is {whole}; completions are a list of texts, or of lists of messages")
    if is_text(kind) and role != "messages":
        return "text"
    item = item_type(kind) or kind
    if pa.types.is_null(item):
        return "empty"
    if not pa.types.is_struct(item) or role == "instruction":
        wanted = {"instruction": "texts", "messages": "messages"}.get(role, "texts, or messages with role and content")
        raise InputError(f"column {column!r} is {whole}; it must hold {wanted}")
    keys = [field.name for field in item.fields]
    if not any(known <= set(keys) for known in MESSAGE_KEYS):
        raise InputError(
            f"column {column!r} holds messages with the keys {', '.join(keys)}; role and content are needed, or from "
            "and value, or input and output"
        )
    return "messages"


def _is_flag(kind: pa.DataType) -> bool:
    return bool(pa.types.is_boolean(kind) or pa.types.is_integer(kind) or is_text(kind))


def _is_winner(kind: pa.DataType) -> bool:
    return _is_flag(kind) or bool(pa.types.is_floating(kind))


def _is_score(kind: pa.DataType) -> bool:
    return is_number(kind) or is_text(kind)


def _is_list_of(holds: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    def is_list(kind: pa.DataType) -> bool:
        item = item_type(kind)
        return item is not None and (pa.types.is_null(item) or holds(item))

    return is_list


_TYPES: Final[dict[Role, tuple[Callable[[pa.DataType], bool], str]]] = {
    "label": (_is_flag, "a label is true or false"),
    "scores": (_is_list_of(is_number), "scores are a list of numbers"),
    "ranks": (_is_list_of(is_number), "ranks are a list of numbers"),
    "verdicts": (_is_list_of(_is_flag), "verdicts are a list of true and false"),
    "winner": (_is_winner, "a winner is a name or a number"),
    "score1": (_is_score, "a score is a number"),
    "score2": (_is_score, "a score is a number"),
    "preference": (is_number, "a preference is a number, below zero for the first response"),
    "input": (is_text, "an input is a text"),
    "system": (is_text, "a system prompt is a text"),
    "history": (_is_list_of(_is_list_of(is_text)), "a history is a list of pairs of texts"),
}


def _check_type(role: Role, column: str, kind: pa.DataType) -> None:
    if role not in _TYPES or (pa.types.is_null(kind) and role != "label"):
        return
    allowed, rule = _TYPES[role]
    if not allowed(kind):
        raise InputError(f"column {column!r} is {kind}; {rule}; {REMEDY}")


def _type(schema: pa.Schema, column: str) -> pa.DataType:
    kind = column_type(schema, column)
    if kind is None:
        raise InputError(f"there is no column {column!r}; the columns are:{seen(schema)}")
    return kind


def _tools_column(schema: pa.Schema, roles: Mapping[Role, str]) -> str | None:
    """The column ``tools``, or the one beside OpenAI's ``input.messages``."""
    beside = f"{roles.get('prompt', '').rpartition('.')[0]}.tools"
    return beside if column_type(schema, beside) is not None else _extra(schema, "tools", roles)


def _extra(schema: pa.Schema, column: str, roles: Mapping[Role, str]) -> str | None:
    return column if column in schema.names and column not in roles.values() else None
