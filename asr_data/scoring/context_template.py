"""Templates of contexts: Jinja in a sandbox, bounded in time and size.

A scorer's settings may come with a model that somebody else made, so a template can reach only the texts that it is
given. It has conditions, loops and some filters; what could grow a long text from a short one, step by step, is left
out: assignments, macros, joining texts with ``~`` or ``+``, most methods.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from asr_data.errors import ConfigError, RowRejected
from asr_data.text.clock import Rendering, TemplateTimeoutError

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

VARIABLES: Final = ("prompt", "other", "others", "verdict", "row", "_shown")
SECONDS: Final = 10.0
"""How long one message may take."""
LONGEST: Final = 2_000_000
"""Characters of one message."""
_FILTERS: Final = frozenset(
    {"capitalize", "count", "d", "default", "first", "float", "int", "join", "last", "length", "list", "lower"}
    | {"reverse", "round", "select", "reject", "sort", "string", "title", "tojson", "trim", "truncate", "unique"}
    | {"upper", "wordcount"}
)
_METHODS: Final = frozenset(
    {"count", "endswith", "find", "get", "index", "items", "keys", "lower", "lstrip", "rstrip", "split", "splitlines"}
    | {"startswith", "strip", "upper", "values"}
)
_REFUSED: Final = (
    *("Assign", "AssignBlock", "Block", "CallBlock", "Concat", "Extends", "FilterBlock", "FromImport", "Import"),
    *("Include", "Macro"),
)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a template uses.

    Attributes:
        columns: of the row, in order.
        needed: columns that it shows outside of any condition.
        variables: of ours, likewise.
    """

    columns: tuple[str, ...]
    needed: frozenset[str]
    variables: frozenset[str]


def check_template_text(text: str) -> None:
    """Compile a template.

    Raises:
        ValueError: it is not a template, or uses an unknown filter.
    """
    from jinja2 import TemplateError, nodes

    try:
        tree = _environment().parse(text)
        _environment().from_string(text)
    except TemplateError as error:
        raise ValueError(f"the template {text[:60]!r} is not valid: {error}") from error
    refused = next(tree.find_all(tuple(getattr(nodes, name) for name in _REFUSED)), None)
    if refused is not None:
        raise ValueError(f"the template {text[:60]!r} uses {type(refused).__name__}, which contexts do not have")


@cache
def needs_of(text: str) -> Needs:
    """What a valid template uses: names that are neither variables of ours nor its own are columns."""
    from jinja2 import meta

    tree = _environment().parse(text)
    free = meta.find_undeclared_variables(tree) - set(_environment().globals)
    columns: dict[str, bool] = {}
    variables: dict[str, bool] = {}
    for name, of_row, needed in _used(tree, False):
        if of_row or name in free:
            found = variables if name in VARIABLES and not of_row else columns
            found[name] = found.get(name, False) or needed
    return Needs(
        tuple(columns),
        frozenset(name for name, needed in columns.items() if needed),
        frozenset(name for name, needed in variables.items() if needed),
    )


def render(text: str, variables: Mapping[str, Any]) -> str:
    """The text of a message.

    Raises:
        RowRejected: ``context_error``: the template fails on this row, or gives too long a text.
        ConfigError: it takes longer than it may.
    """
    template = _compiled(text)
    parts, size = [], 0
    try:
        with Rendering(None, SECONDS):
            for part in template.generate(**variables):
                parts.append(part)
                size += len(part)
                if size > LONGEST:
                    break
    except TemplateTimeoutError:
        raise ConfigError(f"a context's template did not end within {SECONDS:g} seconds: {text[:60]!r}") from None
    except Exception as error:  # a template is a program: it may raise anything
        raise RowRejected("context_error", f"the context's template failed: {type(error).__name__}: {error}") from error
    if size > LONGEST:
        raise RowRejected("too_long", f"the context's template gives more than {LONGEST:,} characters")
    return "".join(parts)


def _used(node: nodes.Node, optional: bool) -> Iterator[tuple[str, bool, bool]]:
    """Names in a tree: each with whether it is a key of ``row``, and whether it is used outside of any condition."""
    from jinja2 import nodes

    if isinstance(node, nodes.Getattr | nodes.Getitem) and getattr(node.node, "name", "") == "row":
        key = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        if isinstance(key, str):
            yield key, True, not optional
            return
    if isinstance(node, nodes.Name) and node.name != "row":
        yield node.name, False, not optional
    inside = optional or isinstance(node, nodes.If | nodes.CondExpr)
    for child in node.iter_child_nodes():
        yield from _used(child, inside)


@cache
def _compiled(text: str) -> Any:
    return _environment().from_string(text)


@cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        """Operators are for numbers, and methods are those that do not lengthen a text."""

        intercepted_binops = frozenset(("+", "*", "**", "%"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            numbers = all(isinstance(side, int | float) and abs(side) < 1e9 for side in (left, right))
            if operator == "**" or not numbers:
                raise SecurityError(f"the operator {operator} is for small numbers only")
            return super().call_binop(context, operator, left, right)

        def is_safe_callable(self, obj: Any) -> bool:
            return getattr(obj, "__name__", "") in (*_METHODS, "range", "safe_range", "loop")

    made = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True)
    made.filters = {name: _bounded(run) for name, run in made.filters.items() if name in _FILTERS}
    made.globals = {"range": made.globals["range"]}
    return made


def _bounded(run: Any) -> Any:
    """A filter whose text may not be longer than a message may."""

    @functools.wraps(run)
    def bounded(*given: Any, **named: Any) -> Any:
        out = run(*given, **named)
        if isinstance(out, str) and len(out) > LONGEST:
            raise ValueError(f"a filter gives more than {LONGEST:,} characters")
        return out

    return bounded
