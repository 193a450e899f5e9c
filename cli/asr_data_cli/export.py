"""``export``: an annotated directory as a trainer reads it, and how the trainer is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asr_data.errors import ConfigError
from asr_data_cli import options as opt
from asr_data_cli.console import print_facts, standard_output

if TYPE_CHECKING:
    from asr_data.storage import Manifest
    from asr_data.text import Tokenizer

EXPORT_EXAMPLES = (
    "asr-annotate export annotated --to llamafactory-dpo -o for-llamafactory",
    "asr-annotate export annotated --to trl-sft -o for-trl --max-length 2048",
    "asr-annotate export annotated --to axolotl-segments -o for-axolotl --tokenizer POLICY_DIR",
)

TargetName = Literal[
    "llamafactory-dpo",
    "llamafactory-kto",
    "llamafactory-sft",
    "trl-sft",
    "axolotl-sft",
    "axolotl-segments",
    "verl-sft",
    "ms-swift-sft",
    "jsonl",
]
"""``asr_data.export.Target``, which is not imported to keep the start of the program fast; a test compares."""


def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An annotated directory.", show_default=False)],
    target: Annotated[
        TargetName,
        typer.Option("--to", help="The trainer, and what it trains.", rich_help_panel=opt.OUTPUT, show_default=False),
    ],
    output: opt.Output,
    max_length: Annotated[
        int | None,
        typer.Option(
            "--max-length",
            min=2,
            help="Longest prompt plus response, in tokens; longer ones are cut.",
            rich_help_panel=opt.OUTPUT,
            show_default="no limit",
        ),
    ] = None,
    truncate: Annotated[
        Literal["end", "start"],
        typer.Option(
            "--truncate",
            help="What is cut off: the end of the response, or the start of the prompt.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = "end",
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            help="axolotl-segments: the policy's tokenizer, a directory, a Hub id or builtin.",
            rich_help_panel=opt.INPUT,
            show_default="the one that the masks were made with",
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
) -> None:
    """Write an annotated directory in a trainer's format, with a configuration for it."""
    from asr_data.export import export as write
    from asr_data.storage import open_output

    annotated = open_output(directory)
    policy = policy_tokenizer(annotated.manifest, tokenizer) if target == "axolotl-segments" or tokenizer else None
    done = write(
        annotated,
        target,
        output,
        tokenizer=policy,
        max_length=max_length,
        truncate=truncate,
        overwrite=overwrite,
    )
    console = standard_output()
    facts = {"examples": f"{done.examples:,}", "longest": f"{done.longest:,} tokens"}
    facts |= {f"  {code}": f"{count:,} noted" for code, count in done.notes.items()}
    facts |= {f"  {code}": f"{count:,} left out" for code, count in done.left_out.items()}
    print_facts(console, {**facts, "output": str(done.path), "configuration": str(done.path / done.setup.file)})
    console.print(f"\n{done.setup.text}", markup=False, soft_wrap=True)
    console.print(done.setup.command, markup=False, soft_wrap=True)


def policy_tokenizer(manifest: Manifest, name: str | None) -> Tokenizer:
    """The tokenizer that was named, or else the one that the masks were made with."""
    typed = name is not None
    if name is None:
        if manifest.tokenizer is None:
            raise ConfigError("name the policy's tokenizer with --tokenizer")
        name = manifest.tokenizer.name
    if name in ("builtin", manifest.scorer.name):
        from asr_data.scoring.load import load_scorer_tokenizer

        return load_scorer_tokenizer(name, hub=typed)
    from asr_data.text import load_tokenizer

    return load_tokenizer(name, hub=typed)
