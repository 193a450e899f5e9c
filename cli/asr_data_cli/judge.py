"""``judge``: win rates with language models as judges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr_data.view.escape import visible
from asr_data_cli import options as opt
from asr_data_cli.console import print_facts, print_input, print_warning, standard_output
from asr_data_cli.judge_options import JUDGES, JudgeOptions, RequestOptions
from asr_data_cli.option_groups import InputOptions
from asr_data_cli.progress import progress
from asr_data_cli.settings import Checks

if TYPE_CHECKING:
    from asr_data.judging import JudgeReport

JUDGE_EXAMPLES = (
    "asr-annotate judge answers.jsonl --first tuned --second base -o judged --endpoint http://localhost:8000/v1 "
    "--model MODEL",
    "asr-annotate judge answers.jsonl --first tuned --second base -o judged --judges judges.json --limit 50",
    "asr-annotate judge annotated -o judged --endpoint https://HOST/v1 --model MODEL --price-in 2.5 --price-out 10",
    "asr-annotate judge answers.jsonl --first tuned --second base -o judged --judges judges.json --limit 200",
    "asr-annotate judge answers.jsonl --first tuned --second base -o judged --judges judges.json --votes ann1 "
    "--votes ann2 --votes ann3",
)


def _column(option: str, help_text: str, *, default: str | None = None) -> Any:
    shown = {} if default is None else {"show_default": default}
    return typer.Option(option, metavar="COLUMN", help=help_text, rich_help_panel=opt.INPUT, **shown)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """Which answers are compared, and what people say of them."""

    first: Annotated[str | None, _column("--first", "Answers whose win rate is measured.", default="chosen")] = None
    second: Annotated[str | None, _column("--second", "Answers to compare them with.", default="rejected")] = None
    reference: Annotated[str | None, _column("--reference", "Correct answers to show to the judges.")] = None
    expert: Annotated[str | None, _column("--expert", "An expert's decisions: first, second, tie or empty.")] = None
    votes: Annotated[
        list[str] | None, _column("--votes", "Votes of people: first, second, tie or empty; may be repeated.")
    ] = None
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Number of rows to judge, from the start.", rich_help_panel=opt.INPUT),
    ] = None


def judge(
    source: InputOptions,
    output: opt.Output,
    answers: AnswerOptions,
    panel: JudgeOptions,
    requests: RequestOptions,
    prompt: Annotated[
        Path | None,
        typer.Option(
            "--prompt",
            metavar="FILE",
            help="Prompt with the fields ${prompt}, ${reference_answer}, ${answer_a} and ${answer_b}.",
            rich_help_panel=JUDGES,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Discard earlier verdicts.", rich_help_panel=opt.OUTPUT)
    ] = False,
) -> None:
    """Ask language models which of two answers is better, in both orders, and report the win rate.

    Data is sent to the endpoints named here and nowhere else.
    """
    from asr_data.judging import answers_layout, load_prompt
    from asr_data.judging import judge as ask

    checks = Checks()
    roles = source.roles(checks)
    judges = panel.judges(checks, has_votes=bool(answers.votes))
    request_settings = requests.config(checks)
    checks.finish()
    template = None if prompt is None else load_prompt(prompt, has_reference=answers.reference is not None)
    data = source.open()
    layout = answers_layout(data, answers.first, answers.second, roles)
    console = standard_output()
    print_input(console, data, layout)
    with progress() as reporter:
        done = ask(
            data,
            layout,
            output,
            judges,
            reference=answers.reference,
            expert=answers.expert,
            votes=answers.votes or (),
            prompt=template,
            limit=answers.limit,
            requests=request_settings,
            overwrite=overwrite,
            progress=reporter,
        )
    print_judged(console, done)


def print_judged(console: Console, done: JudgeReport) -> None:
    """Counts, then every figure with its interval."""
    from asr_data.judging.card import lines

    found = done.figures
    facts = {"pairs": f"{found.pairs:,}" + (f", {found.identical:,} with identical answers" if found.identical else "")}
    facts |= {f"  {code}": f"{count:,} rejected" for code, count in sorted(done.rejects.items())}
    decided = ", ".join(f"{count:,} {name}" for name, count in found.decisions.items())
    facts["decided"] = decided + (f" ({found.by_expert:,} by the expert)" if found.by_expert else "")
    missing = sum(one.missing for one in found.judges)
    given = sum(one.verdicts for one in found.judges)
    facts["verdicts"] = f"{given:,}, {missing:,} missing; {done.asked:,} requested by this run"
    tokens = [sum(one.tokens_in for one in found.judges), sum(one.tokens_out for one in found.judges)]
    facts["tokens"] = f"{tokens[0]:,} sent, {tokens[1]:,} received"
    if done.cost is not None:
        facts["cost"] = f"{done.cost:.4f}"
    print_facts(console, {**facts, "output": str(done.path)})
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measured")
    table.add_column("value (95 % interval)", no_wrap=True)
    table.add_column("items", justify="right", no_wrap=True)
    for name, text, count in lines(found):
        table.add_row(Text(visible(name)), text, f"{count:,}")
    console.print(table)
    if missing > given / 10:
        print_warning(
            f"{missing:,} of {given + missing:,} verdicts are missing; the column problem of config verdicts says why"
        )
    undecided = found.decisions["undecided"]
    if undecided:
        console.print(
            f"{undecided:,} pairs are undecided: fill in the column expert of {done.path / 'undecided.csv'} and run "
            "the same command again",
            markup=False,
            soft_wrap=True,
        )
