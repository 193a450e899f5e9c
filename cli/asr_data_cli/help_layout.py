"""How ``--help`` and the command reference lay options out: the order of panels, and types in words."""

from __future__ import annotations

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

_WORDS: Final = {"str": "TEXT", "int": "N", "float": "X", "Path": "PATH"}


class Command(TyperCommand):
    """A command whose help shows its panels in order, and what to type in place of Python's types."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Arguments and options as they are shown."""
        return laid_out(super().get_params(ctx))


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
