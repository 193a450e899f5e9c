"""Which column plays which role: by known names, or as ``--columns`` says; ambiguity is an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from asr_data.errors import InputError
from asr_data.rows.columns import column_type, is_number, is_span, is_text, item_type
from asr_data.rows.known_columns import (
    CONVERSATIONS,
    KIND_OF_ROLES,
    LABEL_ROLES,
    OPTIONAL_ROLES,
    PROMPT_ROLES,
    RESPONSES,
    ROLES,
    SPAN_COLUMNS,
    SYSTEM_COLUMNS,
    ResponseColumns,
    Role,
)
from asr_data.rows.transcripts import starts_as_transcript
from asr_data.rows.winners import Winner

_FORMS: Final = (
    "prompt=…,chosen=…,rejected=…",
    "chosen=…,rejected=…",
    "prompt=…,completion=…,label=…",
    "prompt=…,completion=…",
    "messages=…,label=…",
    "messages=…",
    "prompt=…,completions=…,scores=…",
    "prompt=…,completions=…,ranks=…",
    "prompt=…,completions=…,verdicts=…",
    "prompt=…,response1=…,response2=…,preference=…",
    "prompt=…,response1=…,response2=…,winner=…",
    "prompt=…,response1=…,response2=…,score1=…,score2=…",
    "format=…   (data with labels)",
)
REMEDY: Final = (
    "say which columns to use with --columns, in one of these forms (instruction=… in place of prompt=… makes the text "
    "a user message):" + "".join(f"\n  {form}" for form in _FORMS)
)
_SURE_PROMPTS: Final = frozenset({"prompt", "instruction"})
"""Columns that hold the prompt whatever the responses begin with."""


def named_roles(schema: pa.Schema, first_records: Sequence[Mapping[str, Any]]) -> dict[Role, str]:
    """Roles of columns that bear a known name.

    Raises:
        InputError: they fit no layout, or more than one.
    """
    known = _fitting(schema, RESPONSES) or _fitting(schema, CONVERSATIONS)
    if len(known) != 1:
        fault = "fit more than one layout" if known else "fit no layout"
        raise InputError(f"the columns {fault}:{seen(schema)}\n{REMEDY}")
    prompt = _prompt_column(schema, known[0], first_records)
    roles: dict[Role, str] = {} if prompt is None else {PROMPT_ROLES[prompt]: prompt}
    roles.update({role: column for column, role in known[0].columns.items()})
    if "instruction" in roles:
        alpaca: tuple[Role, ...] = ("input", "history")
        roles |= {role: role for role in alpaca if role in schema.names}
        if "completion" in roles and item_type(schema.field(roles["completion"]).type) is not None:
            roles["completions"] = roles.pop("completion")
    return {**roles, **_system_column(schema), **_span_columns(schema, roles)}


def known_winners(column: str | None) -> Mapping[str, Winner]:
    """How the data set that has a winner column of this name writes its values; empty where none is known."""
    return next((one.winners for one in RESPONSES if column in one.columns and one.columns[column] == "winner"), {})


def _system_column(schema: pa.Schema) -> dict[Role, str]:
    """The column with system messages; one that is no text is left for the check of types to refuse."""
    found = _first_there(schema, SYSTEM_COLUMNS)
    return {} if found is None else {"system": found}


def _span_columns(schema: pa.Schema, roles: Mapping[Role, str]) -> dict[Role, str]:
    """Columns of error spans that stand beside the responses under a known name; one that is always empty counts too,
    where another one is not.
    """
    there = {
        role: (SPAN_COLUMNS[role], item_type(schema.field(SPAN_COLUMNS[role]).type))
        for side, role in LABEL_ROLES.items()
        if side in roles and SPAN_COLUMNS[role] in schema.names
    }
    if not any(item is not None and is_span(item) for _, item in there.values()):
        return {}
    return {
        role: column
        for role, (column, item) in there.items()
        if item is not None and (is_span(item) or pa.types.is_null(item))
    }


def overruled_roles(
    schema: pa.Schema, first_records: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> dict[Role, str]:
    """Roles as ``--columns`` gives them, and where they make no layout yet, others by known names.

    Raises:
        InputError: an unknown role, a column that is not there or plays two roles, or no layout.
    """
    for role, column in columns.items():
        if role not in ROLES:
            raise InputError(f"--columns names an unknown role {role!r}; roles are {', '.join(ROLES)}, format")
        if column_type(schema, column) is None:
            raise InputError(f"--columns {role}={column}: there is no such column; the columns are:{seen(schema)}")
    given: dict[Role, str] = {role: columns[role] for role in ROLES if role in columns}
    if len(set(given.values())) < len(given):
        raise InputError(f"--columns uses one column for two roles: {dict(given)}")
    if needed_roles(given) in KIND_OF_ROLES:
        return given
    try:
        filled = {**_beside(given, named_roles(schema, first_records)), **given}
    except InputError:
        filled = given
    return filled if needed_roles(filled) in KIND_OF_ROLES else _filled_by_name(schema, given)


def needed_roles(roles: Iterable[Role]) -> frozenset[Role]:
    """The roles that decide the layout."""
    return frozenset("prompt" if role == "instruction" else role for role in roles if role not in OPTIONAL_ROLES)


def seen(schema: pa.Schema) -> str:
    """The columns, their types and what each could be, each on a new line, for messages."""
    if not schema.names:
        return "\n  there are none, since no row could be read"
    width = max(len(name) for name in schema.names)
    return "".join(f"\n  {one.name:<{width}}  {_short(one.type)}: could be {_could_be(one.type)}" for one in schema)


def _could_be(kind: pa.DataType) -> str:
    """The roles that a column of this type could play."""
    item = item_type(kind)
    if is_text(kind):
        return "prompt, instruction, chosen, rejected, completion, label"
    if pa.types.is_boolean(kind):
        return "label"
    if is_number(kind):
        return "label (0 or 1), preference"
    if item is None:
        keys = [field.name for field in kind.fields] if pa.types.is_struct(kind) else []
        return f"by a path, {', '.join(f'….{key}' for key in keys)}" if keys else "nothing"
    if is_text(item):
        return "completions"
    if is_number(item) or pa.types.is_boolean(item):
        return "scores, ranks, chosen_labels, rejected_labels, completion_labels"
    if is_span(item):
        return "chosen_labels, rejected_labels, completion_labels"
    if pa.types.is_struct(item) and {"role", "from"} & {field.name for field in item.fields}:
        return "messages, prompt, chosen, rejected, completion"
    if pa.types.is_struct(item):
        return f"completions or scores, by a path: {', '.join(f'….{field.name}' for field in item.fields)}"
    return "completions" if item_type(item) is not None else "nothing"


def _fitting(schema: pa.Schema, known: Iterable[ResponseColumns]) -> list[ResponseColumns]:
    """What the columns fit, less those that are part of another."""
    there = [
        responses
        for responses in known
        if all(column_type(schema, column) is not None for column in responses.columns)
        and (responses.prompt_may_be_inside or _first_there(schema, responses.prompts))
    ]
    return [one for one in there if not any(one.columns.keys() < other.columns.keys() for other in there)]


def _first_there(schema: pa.Schema, columns: Sequence[str]) -> str | None:
    return next((column for column in columns if column_type(schema, column) is not None), None)


def _prompt_column(
    schema: pa.Schema, responses: ResponseColumns, first_records: Sequence[Mapping[str, Any]]
) -> str | None:
    """Where the prompt is; a column that might be one is none beside responses that are whole conversations."""
    column = _first_there(schema, responses.prompts)
    if responses.prompt_may_be_inside and column not in _SURE_PROMPTS:
        values = [record.get(response) for record in first_records for response in responses.columns]
        if any(_begins_with_the_prompt(value) for value in values):
            return None
    return column


def _begins_with_the_prompt(response: Any) -> bool:
    if isinstance(response, str):
        return starts_as_transcript(response)
    first = response[0] if isinstance(response, list) and response else None
    return isinstance(first, Mapping) and (first.get("role") or first.get("from")) in ("system", "user", "human")


def _beside(given: Mapping[Role, str], roles: Mapping[Role, str]) -> dict[Role, str]:
    """The roles that can stand beside given ones: of other columns, and no second prompt."""
    out: set[Role] = set()
    if {"prompt", "instruction", "messages"} & given.keys():
        out = {"prompt", "instruction", "messages"}
    if {"prompt", "messages"} & given.keys():
        out |= {"input", "history"}
    return {role: column for role, column in roles.items() if column not in given.values() and role not in out}


def _filled_by_name(schema: pa.Schema, given: Mapping[Role, str]) -> dict[Role, str]:
    """The given roles, made whole with columns that have the names of roles."""
    available = _beside(given, {role: role for role in ROLES if role in schema.names})
    needed = needed_roles(given)
    fitting = [roles for roles in KIND_OF_ROLES if needed <= roles <= needed | available.keys()]
    largest = [roles for roles in fitting if not any(roles < other for other in fitting)]
    if len(largest) != 1:
        fault = "fit more than one layout" if largest else "fit no layout"
        raise InputError(f"with --columns {_written(given)} the columns {fault}:{seen(schema)}\n{REMEDY}")
    return {
        **_beside(given, _system_column(schema)),
        **{role: column for role, column in available.items() if role in largest[0]},
        **given,
    }


def _written(columns: Mapping[Role, str]) -> str:
    return ",".join(f"{role}={column}" for role, column in columns.items())


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 80 else text[:77] + "..."
