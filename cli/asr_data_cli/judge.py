"""``judge``: win rates with language models as judges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr_data.errors import ConfigError
from asr_data.view.escape import visible
from asr_data_cli import options as opt
from asr_data_cli import settings
from asr_data_cli.console import print_facts, print_input, print_warning, standard_output
from asr_data_cli.progress import progress

if TYPE_CHECKING:
    from asr_data.judging import Judge, JudgeReport

JUDGES = "Judges"

JUDGE_EXAMPLES = (
    "asr-annotate judge answers.jsonl --first tuned --second base -o judged --endpoint http://localhost:8000/v1 "
    "--model MODEL",
    "asr-annotate judge answers.jsonl --first tuned --second base -o judged --judges judges.json --limit 50",
    "asr-annotate judge annotated -o judged --endpoint https://HOST/v1 --model MODEL --price-in 2.5 --price-out 10",
    "asr-annotate judge answers.jsonl --first tuned --second base -o judged --judges judges.json --limit 200",
    "asr-annotate judge answers.jsonl --first tuned --second base -o judged --judges judges.json --votes ann1 "
    "--votes ann2 --votes ann3",
)


def judge(
    location: opt.InputArgument,
    output: opt.Output,
    first: Annotated[
        str | None,
        typer.Option(
            "--first",
            metavar="COLUMN",
            help="Answers whose win rate is measured.",
            rich_help_panel=opt.INPUT,
            show_default="chosen",
        ),
    ] = None,
    second: Annotated[
        str | None,
        typer.Option(
            "--second",
            metavar="COLUMN",
            help="Answers to compare them with.",
            rich_help_panel=opt.INPUT,
            show_default="rejected",
        ),
    ] = None,
    split: opt.Split = None,
    name: opt.Name = None,
    revision: opt.Revision = None,
    columns: opt.Columns = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference", metavar="COLUMN", help="Correct answers to show to the judges.", rich_help_panel=opt.INPUT
        ),
    ] = None,
    expert: Annotated[
        str | None,
        typer.Option(
            "--expert",
            metavar="COLUMN",
            help="An expert's decisions: first, second, tie or empty.",
            rich_help_panel=opt.INPUT,
        ),
    ] = None,
    votes: Annotated[
        list[str] | None,
        typer.Option(
            "--votes",
            metavar="COLUMN",
            help="Votes of people: first, second, tie or empty; may be repeated.",
            rich_help_panel=opt.INPUT,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Number of rows to judge, from the start.", rich_help_panel=opt.INPUT),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="URL",
            help="OpenAI-compatible API; the key is read from OPENAI_API_KEY.",
            rich_help_panel=JUDGES,
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="Model at the endpoint; may be repeated.", rich_help_panel=JUDGES),
    ] = None,
    price_in: Annotated[
        float | None,
        typer.Option("--price-in", min=0, help="Price per million tokens sent.", rich_help_panel=JUDGES),
    ] = None,
    price_out: Annotated[
        float | None,
        typer.Option("--price-out", min=0, help="Price per million tokens received.", rich_help_panel=JUDGES),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=1, help="Longest reply.", rich_help_panel=JUDGES, show_default="1024"),
    ] = None,
    judges: Annotated[
        Path | None,
        typer.Option(
            "--judges",
            metavar="FILE",
            help="JSON list of judges with individual endpoints, keys or settings.",
            rich_help_panel=JUDGES,
        ),
    ] = None,
    prompt: Annotated[
        Path | None,
        typer.Option(
            "--prompt",
            metavar="FILE",
            help="Prompt with the fields ${prompt}, ${reference_answer}, ${answer_a} and ${answer_b}.",
            rich_help_panel=JUDGES,
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Number of concurrent requests.", rich_help_panel=JUDGES)
    ] = 8,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=0.001,
            help="Time for one request and its whole answer, in seconds.",
            rich_help_panel=JUDGES,
        ),
    ] = 120.0,
    retries: Annotated[
        int,
        typer.Option(
            "--retries",
            min=0,
            help="Retries of a request that timed out or got status 429 or 5xx, with growing waits.",
            rich_help_panel=JUDGES,
        ),
    ] = 5,
    attempts: Annotated[
        int,
        typer.Option("--attempts", min=1, help="Requests until a reply can be parsed.", rich_help_panel=JUDGES),
    ] = 3,
    on_failure: Annotated[
        Literal["stop", "record"],
        typer.Option(
            "--on-failure",
            help="If a request fails all its retries: leave the run unfinished, or record a missing verdict.",
            rich_help_panel=JUDGES,
        ),
    ] = "stop",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Discard earlier verdicts.", rich_help_panel=opt.OUTPUT)
    ] = False,
) -> None:
    """Ask language models which of two answers is better, in both orders, and report the win rate.

    Data is sent to the endpoints named here and nowhere else.
    """
    from asr_data.judging import answers_layout, load_prompt
    from asr_data.judging import judge as ask
    from asr_data.judging.config import request_settings
    from asr_data.rows import open_source

    roles = settings.columns(columns or ())
    panel = _judges(judges, endpoint, models or [], price_in, price_out, max_tokens, has_votes=bool(votes))
    template = None if prompt is None else load_prompt(prompt, has_reference=reference is not None)
    source = open_source(location, split=split, name=name, revision=revision)
    layout = answers_layout(source, first, second, roles)
    console = standard_output()
    print_input(console, source, layout)
    requests = request_settings(
        concurrency=concurrency, timeout=timeout, retries=retries, attempts=attempts, on_failure=on_failure
    )
    with progress() as reporter:
        done = ask(
            source, layout, output, panel, reference=reference, expert=expert, votes=votes or (), prompt=template,
            limit=limit, requests=requests, overwrite=overwrite, progress=reporter,
        )  # fmt: skip
    print_judged(console, done)


def _judges(
    file: Path | None,
    endpoint: str | None,
    models: list[str],
    price_in: float | None,
    price_out: float | None,
    max_tokens: int | None,
    *,
    has_votes: bool,
) -> tuple[Judge, ...]:
    from pydantic import ValidationError

    from asr_data.judging import Judge, load_judges
    from asr_data.judging.config import problems

    given = {"price_in": price_in, "price_out": price_out, "max_tokens": max_tokens}
    given = {field: value for field, value in given.items() if value is not None}
    if file is not None:
        if endpoint is not None or models or given:
            raise ConfigError("--judges replaces --endpoint, --model, --price-in, --price-out and --max-tokens")
        return load_judges(file)
    if has_votes and endpoint is None and not models and not given:
        return ()
    if endpoint is None or not models:
        raise ConfigError("no judge: pass --endpoint and --model, --judges FILE, or people's votes with --votes")
    try:
        return tuple(Judge.model_validate({"model": model, "endpoint": endpoint, **given}) for model in models)
    except ValidationError as error:
        raise ConfigError(f"--endpoint, --model: {problems(error)}") from None


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
