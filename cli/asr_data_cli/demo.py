"""``demo``: what right masks look like, what the built-in model makes of the same pair, and how well it does."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr_data.config import FixedBaseline, MaskConfig, OutputConfig, Pivot, ScoringConfig
from asr_data_cli import models
from asr_data_cli import options as opt
from asr_data_cli.console import print_commands, shell_words, standard_error, standard_output
from asr_data_cli.option_groups import ModelOptions
from asr_data_cli.options import OUTPUT
from asr_data_cli.progress import progress
from asr_data_cli.validate import print_problems

if TYPE_CHECKING:
    from asr_data.evaluation.by_group import GroupFindings
    from asr_data.rows import Layout, Source

DEMO_EXAMPLES = ("asr-annotate demo", "asr-annotate demo -o demo --overwrite")

PAIRS_PER_TOPIC: Final = 15
"""All topics but arithmetic and code have no more. All pairs would take a third longer."""

SHOWN: Final = "Interesting. And is it true"
"""Beginning of the question of the pair that is shown; the first pair where it is not there. On this one the built-in
model does as well as on the topic as a whole."""

FROM_MARKS: Final = MaskConfig(segmenter=Pivot(tau=0.5), baseline=FixedBaseline(value=0.5))
"""Segments and masks of marks: 1 is sound, 0 is faulty, and a segment starts where one follows the other."""


def demo(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Directory to write.", rich_help_panel=OUTPUT),
    ] = Path("asr-demo"),
    overwrite: opt.Overwrite = False,
) -> None:
    """Show right masks and those of the built-in model on a sample with marked faults, and how many it finds."""
    from asr_data.evaluation.by_group import findings_by_group
    from asr_data.storage import validate

    console = standard_output()
    source, layout, shown = _sample()
    _check(source, layout, output, overwrite=overwrite)
    _heading(console, 1, "Right masks, made from the marks that come with the sample; no model is run.")
    _show_marked(console, source, layout, shown)
    _heading(console, 2, "The same pair by the built-in reward model, which does not see the marks.")
    _annotate(source, layout, output, overwrite=overwrite)
    _show(console, output, shown, again=True)
    found = findings_by_group(output, "topic", side="rejected")
    _heading(console, 3, f"What it finds: {source.rows} pairs of the sample, every one with marked faults.")
    print_findings(console, found)
    problems = validate(output)
    print_problems(console, output, problems)
    if problems:
        raise typer.Exit(1)
    _print_next(console, output, shown)


def _sample() -> tuple[Source, Layout, int]:
    """The pairs that are scored, how they are read, and the index of the one that is shown."""
    from datasets import Dataset

    from asr_data.rows import detect, first_records, open_source
    from asr_data.sample import sample_rows

    rows = sample_rows(PAIRS_PER_TOPIC)
    source = replace(open_source(Dataset.from_list(rows)), description=f"{len(rows)} pairs of the sample")
    questions = [str(row["prompt"][-1]["content"]) for row in rows]
    shown = next((place for place, question in enumerate(questions) if question.startswith(SHOWN)), 0)
    return source, detect(source.schema, first_records(source)), shown


def _check(source: Source, layout: Layout, output: Path, *, overwrite: bool) -> None:
    """Refuse an output that is there before anything is done."""
    from asr_data import pipeline

    pipeline.check_before_scoring(
        source,
        layout,
        output,
        scoring=ScoringConfig(),
        writing=OutputConfig(),
        mask=MaskConfig(),
        scorer_name=models.scorer_name(ModelOptions()),
        reference=False,
        part=None,
        resume=False,
        overwrite=overwrite,
    )


def _show_marked(console: Console, source: Source, layout: Layout, shown: int) -> None:
    from asr_data import load_scorer, pipeline

    with tempfile.TemporaryDirectory(prefix="asr-data-") as folder:
        marked = Path(folder) / "marked"
        tokenizer = models.named_tokenizer("builtin")
        pipeline.run(source, layout, marked, load_scorer(kind="labels"), tokenizer, mask=FROM_MARKS)
        _show(console, marked, shown)


def _annotate(source: Source, layout: Layout, output: Path, *, overwrite: bool) -> None:
    from asr_data import pipeline

    rows = pipeline.first_rows(source, layout)
    # A bar while it works and nothing afterwards; where there is no terminal, nothing at all.
    with (
        models.opened(ModelOptions(), ScoringConfig(), source.description, None, rows, source.schema) as found,
        progress(transient=True) as reporter,
    ):
        pipeline.run(
            source,
            layout,
            output,
            found.scorer,
            models.policy_tokenizer(None, found.scorer),
            overwrite=overwrite,
            progress=reporter if standard_error().is_terminal else None,
        )


def _heading(console: Console, number: int, text: str) -> None:
    console.print(Text(f"{number}. {text}", style="bold"))


def _show(console: Console, directory: Path, row: int, *, again: bool = False) -> None:
    from asr_data.storage import open_output
    from asr_data.view.gold import gold_reader
    from asr_data.view.model import row_views
    from asr_data.view.reading import rows_by_index
    from asr_data.view.terminal import show_rows

    annotated = open_output(directory)
    show_rows(console, row_views(annotated, rows_by_index(annotated, [row]), gold_reader(annotated)), again=again)


def print_findings(console: Console, found: list[GroupFindings]) -> None:
    """A line a topic, and in words where the model is no better than what reads no text."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("topic")
    for name in ("pairs", "found", "95 % interval", "chance", "position", "word diff"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        low, high = one.found.low, one.found.high
        interval = "–" if low is None or high is None else f"{low:.2f} to {high:.2f}"
        controls = (_number(one.controls.get(name)) for name in ("chance", "position", "diff"))
        table.add_row(one.name, f"{one.found.items}", _number(one.found.value), interval, *controls)
    console.print(table)
    for paragraph in (
        "found: AUROC of the segments of rejected answers: how often faulty text has a lower reward than sound text. "
        "The last three read no content: rewards shuffled within the answer; later is worse; words that the chosen "
        "answer does not have are wrong.",
        _verdict(found),
    ):
        console.print(Text(paragraph))
        console.print()


def _verdict(found: list[GroupFindings]) -> str:
    """What the table says, so that nobody has to conclude it."""
    from asr_data.evaluation.by_group import ALL

    ahead = [one.name for one in found if one.ahead and one.name != ALL]
    behind = [one.name for one in found if not one.ahead and one.name != ALL]
    if ahead and behind:
        where = f"on {', '.join(ahead)}; not on {', '.join(behind)}"
    else:
        where = "on every topic" if ahead else "on no topic"
    return (
        f"The built-in model is ahead of all three {where}. A model of 135 million parameters knows few facts and "
        "runs no code: try things out with it, and bring a reward model of your own for work that counts."
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _print_next(console: Console, output: Path, shown: int) -> None:
    commands = [
        ("this pair again, with the reward of each segment", _command("inspect", output, "--row", shown, "--values")),
        ("every pair, in a browser", _command("report", output, "-o", f"{output}.html")),
        ("your own pairs, your own reward model", "asr-annotate run PAIRS.jsonl --model MODEL -o annotated"),
    ]
    print_commands(console, "Next", commands)


def _command(*words: object) -> str:
    return shell_words("asr-annotate", *words)
