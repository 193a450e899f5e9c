"""How ``--help`` and the command reference lay options out: the order of panels, and types in words."""

from __future__ import annotations

import copy
import re
from textwrap import wrap
from typing import Any, Final, Literal, get_args, get_origin

from typer.core import TyperCommand, TyperOption

PANELS: Final = (
    "Arguments",
    "Data",
    "Input",
    "Model",
    "Served models",
    "Judges",
    "Review",
    "Critics",
    "Segments",
    "Masks",
    "Training",
    "Rows",
    "Older spellings",
    "Show",
    "Output",
    "Server",
    "Several machines",
    "Other",
    "Options",
)
"""Panels in the order in which data flows. ``--help`` is in ``Other``, or in ``Options`` where there are no panels."""

_OTHER: Final = PANELS[-2]

_TYPED: Final = 20
"""Columns for what is typed after an option, so that enough is left for the words that explain it."""

_WORDS: Final = {"str": "TEXT", "int": "N", "float": "X", "Path": "PATH"}


class Command(TyperCommand):
    """A command whose help shows its panels in order, and what to type in place of Python's types."""

    _shows_help = False

    def get_params(self, ctx: Any) -> list[Any]:
        """Arguments and options as they are shown."""
        found = laid_out(super().get_params(ctx))
        return list(map(_in_help, found)) if self._shows_help else found

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help, in which no name is cut at 80 columns."""
        self._shows_help = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._shows_help = False


def laid_out(parameters: list[Any]) -> list[Any]:
    """Parameters in the order of their panels, each with what is to be typed after it."""
    options = [parameter for parameter in parameters if isinstance(parameter, TyperOption)]
    in_panels = any(parameter.rich_help_panel for parameter in options)
    for parameter in options:
        if parameter.metavar is None:
            parameter.metavar = shape(parameter)
        if in_panels and not parameter.rich_help_panel:
            parameter.rich_help_panel = _OTHER  # Typer shows its own panel of options before all others
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None  # noqa: ARG005 - its name says what is typed
    return sorted(parameters, key=lambda parameter: PANELS.index(panel_of(parameter)))


def _in_help(parameter: Any) -> Any:
    """A copy whose words are short enough for a column: ``--[no-]x`` of two names, choices and lists with blanks."""
    shown = copy.copy(parameter)
    if parameter.param_type_name == "argument":
        if parameter.nargs != 1 and parameter.metavar:
            shown.metavar = parameter.metavar.removesuffix("…")  # Typer says that there may be several
        return shown
    typed = parameter.metavar.replace("|", " | ")
    shown.metavar = "\n".join(wrap(typed, _TYPED, break_long_words=False, break_on_hyphens=False))
    if isinstance(parameter.show_default, str):
        shown.show_default = re.sub(r",(?=\S)", ", ", parameter.show_default)
    if parameter.secondary_opts:
        shown.opts, shown.secondary_opts = [f"--[no-]{max(parameter.opts, key=len).removeprefix('--')}"], []
        shown.show_default = in_words(parameter.default)
    return shown


def in_words(value: object) -> str:
    """``yes`` or ``no``: what a flag is unless it is typed."""
    return "yes" if value else "no"


def panel_of(parameter: Any) -> str:
    """The panel that an argument or option is shown in."""
    if parameter.param_type_name == "argument":
        return PANELS[0]
    return str(parameter.rich_help_panel or PANELS[-1])


def shape(parameter: Any) -> str:
    """``a|b`` for a choice, ``N``, ``X`` or ``TEXT``; nothing for a flag, after which nothing is typed."""
    if parameter.is_flag:
        return ""
    annotation = parameter.type_descriptor.annotation
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    one = get_args(annotation)[0] if get_origin(annotation) is list else annotation
    return _WORDS[one.__name__]
