"""``scorers``: the families of reward models that are known by name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from asr_data_cli.console import print_commands, print_facts, shell_words, standard_output

if TYPE_CHECKING:
    from asr_data.scoring.presets import Preset

SCORERS_EXAMPLES = ("asr-annotate scorers", "asr-annotate scorers qwen2.5-math-prm")


def scorers(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Show one family in full.", show_default=False),
    ] = None,
) -> None:
    """List the known families of reward models, or show one with the command that uses it."""
    from asr_data.scoring.presets import all_presets, find_preset

    if name is None:
        _list(all_presets().values())
    else:
        _show(find_preset(name))


def _list(presets: Iterable[Preset]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("preset", "kind", "gives", "auto", "needs"):
        table.add_column(column, no_wrap=column != "needs")
    for preset in presets:
        recognised = preset.recognised.split()[0].strip(",:")
        table.add_row(preset.name, preset.config.kind, preset.config.form, recognised, preset.needs)
    console = standard_output()
    console.print(table)
    console.print("auto: recognised without --preset. Without any model: --kind labels, --kind diff, --kind rule.")


def _show(preset: Preset) -> None:
    console = standard_output()
    print_facts(
        console,
        {
            "preset": preset.name,
            "family": preset.title,
            "models": ", ".join(preset.models) or "–",
            "source": preset.source,
            "needs": preset.needs,
            "gives": f"{preset.config.form}s",
            "recognised": preset.recognised,
            "settings": json.dumps(preset.config.model_dump(mode="json", exclude_defaults=True), indent=1),
        },
    )
    model = preset.models[0] if preset.models else "MODEL_DIR"
    words = ["asr-annotate", "run", "INPUT", "-o", "annotated", "--model", model, "--preset", preset.name]
    if preset.config.kind == "implicit":
        words += ["--reference", "REFERENCE_DIR"]
    print_commands(console, "Next", [("annotate a data set with it", shell_words(*words))])
