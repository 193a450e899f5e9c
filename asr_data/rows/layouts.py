"""Which columns play which role: shown, overruled with ``--columns``, refused rather than guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from asr_data.errors import InputError
from asr_data.rows.transcripts import starts_as_transcript
from asr_data.types import Side

LayoutKind: TypeAlias = Literal[
    "preference", "preference_implicit_prompt", "transcripts", "unpaired", "prompt_completion"
]
TextKind: TypeAlias = Literal["text", "messages", "empty"]
Role: TypeAlias = Literal["prompt", "chosen", "rejected", "completion", "label"]

_ROLES: Final[tuple[Role, ...]] = get_args(Role)
_KIND_OF_ROLES: Final[dict[frozenset[Role], LayoutKind]] = {
    frozenset({"prompt", "chosen", "rejected"}): "preference",
    frozenset({"chosen", "rejected"}): "preference_implicit_prompt",
    frozenset({"prompt", "completion", "label"}): "unpaired",
    frozenset({"prompt", "completion"}): "prompt_completion",
}
_MEANING: Final[dict[LayoutKind, str]] = {
    "preference": "preference pairs with a prompt column",
    "preference_implicit_prompt": "preference pairs whose prompt is what both conversations begin with",
    "transcripts": "preference pairs of 'Human:'/'Assistant:' transcripts, prompt inside both",
    "unpaired": "responses with a verdict each",
    "prompt_completion": "prompts with one completion each, taken as preferred",
}
_REMEDY: Final = (
    "say which columns to use with --columns, in one of these forms: prompt=…,chosen=…,rejected=… · "
    "chosen=…,rejected=… · prompt=…,completion=…,label=… · prompt=…,completion=…"
)


class Layout(BaseModel):
    """How rows are to be read.

    Attributes:
        kind: the shape of a row.
        columns: role → input column.
        tools_column, template_kwargs_column: columns that are passed to the chat template, or None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: LayoutKind
    columns: dict[Role, str]
    tools_column: str | None = None
    template_kwargs_column: str | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """The output's column prefixes, in order."""
        return ("completion",) if "completion" in self.columns else ("chosen", "rejected")

    def describe(self) -> str:
        """One line for the user."""
        mapping = ", ".join(f"{role}={self.columns[role]}" for role in _ROLES if role in self.columns)
        return f"{_MEANING[self.kind]} ({mapping})"


def detect(
    schema: pa.Schema,
    first_records: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str] | None = None,
) -> Layout:
    """The layout of a data set.

    Without ``columns``, roles are the columns of the same names. With ``columns``, a mapping that is complete
    in itself is taken as it is; where roles are missing in it, columns with the roles' names fill in.

    Args:
        schema: the input's columns.
        first_records: some records, to tell transcripts from other texts.
        columns: role → column, from ``--columns``.

    Raises:
        InputError: no layout fits, or two do; says what was seen and how to overrule.
    """
    roles = _overruled_roles(schema, columns) if columns else _named_roles(schema)
    kind = _KIND_OF_ROLES.get(frozenset(roles))
    if kind is None:
        fault = "fit more than one layout" if len(roles) > 3 else "fit no layout"
        raise InputError(f"the columns {fault}; {_seen(schema)}; {_REMEDY}")
    text_kinds: dict[Role, TextKind] = {
        role: _text_kind(schema, column) for role, column in roles.items() if role != "label"
    }
    if kind == "preference_implicit_prompt":
        kind = _implicit_kind(roles, text_kinds, first_records, overruled=bool(columns))
    _check_kinds_agree(roles, text_kinds)
    if "label" in roles:
        _check_label(schema, roles["label"], overruled=bool(columns))
    return Layout(
        kind=kind,
        columns=roles,
        tools_column="tools" if _is_extra(schema, "tools", roles) else None,
        template_kwargs_column=("chat_template_kwargs" if _is_extra(schema, "chat_template_kwargs", roles) else None),
    )


def _named_roles(schema: pa.Schema) -> dict[Role, str]:
    """Roles of columns that bear a role's name, less those that cannot be meant."""
    roles: dict[Role, str] = {role: role for role in _ROLES if role in schema.names}
    if "completion" not in roles:
        roles.pop("label", None)  # of the pair as a whole, and not ours
    return roles


def _overruled_roles(schema: pa.Schema, columns: Mapping[str, str]) -> dict[Role, str]:
    for role, column in columns.items():
        if role not in _ROLES:
            raise InputError(f"--columns names an unknown role {role!r}; roles are {', '.join(_ROLES)}")
        if column not in schema.names:
            raise InputError(f"--columns {role}={column}: there is no such column; {_seen(schema)}")
    given: dict[Role, str] = {role: columns[role] for role in _ROLES if role in columns}
    if len(set(given.values())) < len(given):
        raise InputError(f"--columns uses one column for two roles: {dict(given)}")
    if frozenset(given) in _KIND_OF_ROLES:
        return given
    wanted: set[Role] = {"prompt", "chosen", "rejected"}
    if given.keys() & {"completion", "label"} or not {"chosen", "rejected"} & {*given, *schema.names}:
        wanted = {"prompt", "completion", "label"}
    taken = set(given.values())
    fill: dict[Role, str] = {role: role for role in _named_roles(schema) if role in wanted and role not in taken}
    return {**fill, **given}


def _implicit_kind(
    roles: Mapping[Role, str],
    text_kinds: Mapping[Role, TextKind],
    first_records: Sequence[Mapping[str, Any]],
    overruled: bool,
) -> LayoutKind:
    """Whether chosen and rejected without a prompt column are conversations or transcripts."""
    if set(text_kinds.values()) <= {"messages"}:
        return "preference_implicit_prompt"
    texts = [record.get(roles[role]) for record in first_records for role in ("chosen", "rejected")]
    marked = [starts_as_transcript(text) for text in texts if isinstance(text, str) and text]
    if marked and (any(marked) if overruled else all(marked)):
        return "transcripts"
    raise InputError(
        f"the columns {roles['chosen']!r} and {roles['rejected']!r} hold texts, there is no prompt column, "
        f"and {sum(not mark for mark in marked)} of the first {len(marked)} texts do not begin with a "
        f"'\\n\\nHuman:' turn; where the prompt ends would be a guess; {_REMEDY}"
    )


def _check_kinds_agree(roles: Mapping[Role, str], text_kinds: Mapping[Role, TextKind]) -> None:
    """Responses are all texts or all messages; a message prompt needs message responses."""
    responses = {text_kinds[role] for role in roles if role in ("chosen", "rejected", "completion")} - {"empty"}
    seen = ", ".join(f"{roles[role]} holds {kind}" for role, kind in text_kinds.items())
    if len(responses) > 1:
        raise InputError(f"both responses must be texts, or both messages; here {seen}")
    if text_kinds.get("prompt") == "messages" and responses == {"text"}:
        raise InputError(f"a prompt of messages needs responses of messages; here {seen}")


def _check_label(schema: pa.Schema, column: str, overruled: bool) -> None:
    kind = schema.field(column).type
    allowed = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or _is_string(kind)
    if not allowed:
        remedy = "a label is true or false" if overruled else f"a label is true or false; {_REMEDY}"
        raise InputError(f"column {column!r} is {kind}; {remedy}")


def _text_kind(schema: pa.Schema, column: str) -> TextKind:
    """What a column of prompts or responses holds.

    Raises:
        InputError: neither texts nor messages.
    """
    kind = schema.field(column).type
    if pa.types.is_null(kind):
        return "empty"
    if _is_string(kind):
        return "text"
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    item = kind.value_type if is_list else kind
    if is_list and pa.types.is_null(item):
        return "empty"
    if pa.types.is_struct(item):
        keys = [field.name for field in item.fields]
        if {"role", "content"} <= set(keys):
            return "messages"
        raise InputError(
            f"column {column!r} holds messages with the keys {', '.join(keys)}; role and content are needed"
        )
    raise InputError(f"column {column!r} is {kind}; it must hold texts, or messages with role and content")


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_extra(schema: pa.Schema, column: str, roles: Mapping[Role, str]) -> bool:
    return column in schema.names and column not in roles.values()


def _seen(schema: pa.Schema) -> str:
    columns = ", ".join(f"{field.name}: {_short(field.type)}" for field in schema)
    return f"the columns are {columns}" if columns else "there are no columns, since no row could be read"


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 80 else text[:77] + "..."
