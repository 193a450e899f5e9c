"""``critique``: faults marked by language models as critics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape

from asr_data.errors import ConfigError
from asr_data.view.escape import visible
from asr_data_cli import options as opt
from asr_data_cli.console import print_commands, print_facts, print_warning, shell_words, standard_output
from asr_data_cli.option_groups import InputOptions
from asr_data_cli.progress import progress
from asr_data_cli.settings import Checks

if TYPE_CHECKING:
    from asr_data.critique import Critic, CritiqueReport, CritiqueSettings, RequestSettings

CRITICS = "Critics"
REVIEW = "Review"

CRITIQUE_EXAMPLES = (
    "asr-annotate critique pairs.jsonl -o critiqued --endpoint http://localhost:8000/v1 --model MODEL --limit 500",
    "asr-annotate critique pairs.jsonl -o critiqued --endpoint https://HOST/v1 --model MODEL --price-in 2.5 "
    "--price-out 10 --budget 5",
    "asr-annotate critique pairs.jsonl -o critiqued --endpoint http://localhost:8000/v1 --model ONE --model TWO "
    "--model THREE --side rejected",
    "asr-annotate critique pairs.jsonl -o critiqued --critics critics.json --rubric rubric.txt",
    "asr-annotate run critiqued -o annotated --kind labels --tokenizer POLICY --baseline 0.5",
    "asr-annotate train-scorer critiqued -o scorer",
)


def _critic(*names: str, help_text: str, **more: Any) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=CRITICS, **more)


@dataclass(frozen=True, slots=True)
class CriticOptions:
    """Who reviews: models at one endpoint, or a file of critics."""

    endpoint: Annotated[
        str | None,
        _critic("--endpoint", help_text="OpenAI-compatible API; the key is read from OPENAI_API_KEY.", metavar="URL"),
    ] = None
    model: Annotated[
        list[str] | None,
        _critic("--model", "--critic", help_text="Model at the endpoint; may be repeated.", metavar="NAME"),
    ] = None
    price_in: Annotated[float | None, _critic("--price-in", help_text="Price per million tokens sent.", min=0)] = None
    price_out: Annotated[
        float | None, _critic("--price-out", help_text="Price per million tokens received.", min=0)
    ] = None
    max_tokens: Annotated[
        int | None, _critic("--max-tokens", help_text="Longest reply, in tokens.", min=1, show_default="4096")
    ] = None
    temperature: Annotated[
        float | None,
        _critic(
            "--temperature",
            help_text="Temperature of sampling.",
            min=0,
            show_default="0, or 0.7 with several samples",
        ),
    ] = None
    file: Annotated[
        Path | None,
        _critic(
            "--critics", help_text="JSON list of critics with individual endpoints, keys or settings.", metavar="FILE"
        ),
    ] = None

    def critics(self, checks: Checks, samples: int) -> tuple[Critic, ...]:
        """The critics; errors go to ``checks``."""
        critics: tuple[Critic, ...] = checks.attempt(lambda: self._critics(samples), ())
        return critics

    def _critics(self, samples: int) -> tuple[Critic, ...]:
        from asr_data.critique import Critic, load_critics

        named = {
            "price_in": self.price_in, "price_out": self.price_out, "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }  # fmt: skip
        given = {name: value for name, value in named.items() if value is not None}
        if self.file is not None:
            if self.endpoint is not None or self.model or given:
                raise ConfigError(
                    "--critics replaces --endpoint, --model, --price-in, --price-out, --max-tokens and --temperature"
                )
            return load_critics(self.file)
        if self.endpoint is None or not self.model:
            raise ConfigError("no critic: pass --endpoint and --model, or --critics FILE")
        if samples > 1:
            given.setdefault("temperature", _WARM)
        return tuple(Critic.model_validate({"model": one, "endpoint": self.endpoint, **given}) for one in self.model)


_WARM = 0.7
"""Temperature of several samples, which would not differ at 0."""


@dataclass(frozen=True, slots=True)
class ReviewOptions:
    """What critics are asked."""

    side: Annotated[
        Literal["both", "rejected", "chosen"],
        typer.Option("--side", help="Responses to review.", rich_help_panel=REVIEW),
    ] = "both"
    better_answer: Annotated[
        bool,
        typer.Option(
            "--better-answer/--no-better-answer",
            help="Show the chosen answer where the rejected one is reviewed.",
            rich_help_panel=REVIEW,
        ),
    ] = True
    rubric: Annotated[
        Path | None,
        typer.Option(
            "--rubric",
            metavar="FILE",
            help="Text that says what counts as a fault.",
            rich_help_panel=REVIEW,
            show_default="facts, reasoning, instructions, safety, language",
        ),
    ] = None
    samples: Annotated[
        int,
        typer.Option(
            "--samples", min=1, help="Critiques that each critic gives; each has a vote.", rich_help_panel=REVIEW
        ),
    ] = 1
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            help="Seed that is sent with requests, counted up by sample.",
            rich_help_panel=REVIEW,
            show_default="none, or 0 with several samples",
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Number of rows to review, from the start.", rich_help_panel=opt.INPUT),
    ] = None
    prefix: opt.Prefix = ""

    def config(self, checks: Checks) -> CritiqueSettings:
        """The settings; errors go to ``checks``."""
        from asr_data.critique import CritiqueSettings, load_rubric

        path = self.rubric
        rubric = None if path is None else checks.attempt(lambda: load_rubric(path), None)
        return CritiqueSettings(
            side=self.side, better_answer=self.better_answer, rubric=rubric, samples=self.samples, seed=self.seed
        )


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """How requests are made."""

    concurrency: Annotated[int, _critic("--concurrency", help_text="Number of concurrent requests.", min=1)] = 8
    timeout: Annotated[float, _critic("--timeout", help_text="Time-out of one request, in seconds.", min=0.001)] = 120.0
    retries: Annotated[
        int,
        _critic(
            "--retries",
            help_text="Retries of a request that timed out or got status 408, 409, 429 or 5xx, with growing waits.",
            min=0,
        ),
    ] = 5
    attempts: Annotated[int, _critic("--attempts", help_text="Requests until a reply can be parsed.", min=1)] = 3
    on_failure: Annotated[
        Literal["stop", "record"],
        _critic(
            "--on-failure",
            help_text="If a request fails all its retries: leave the run unfinished once all others are done, or "
            "record a missing critique.",
        ),
    ] = "stop"
    budget: Annotated[
        float | None,
        _critic(
            "--budget",
            help_text="Most that all critiques may cost, those of earlier runs included; needs prices. The run ends "
            "unfinished once it is spent, and requests under way are still paid for.",
            metavar="AMOUNT",
        ),
    ] = None

    def config(self, checks: Checks) -> RequestSettings:
        """The settings; errors go to ``checks``."""
        from asr_data.critique import RequestSettings
        from asr_data.endpoints.config import request_settings

        return checks.attempt(
            lambda: request_settings(
                concurrency=self.concurrency, timeout=self.timeout, retries=self.retries, attempts=self.attempts,
                on_failure=self.on_failure, budget=self.budget,
            ),
            RequestSettings(),
        )  # fmt: skip


def critique(
    source: InputOptions,
    output: opt.Output,
    review: ReviewOptions,
    panel: CriticOptions,
    requests: RequestOptions,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Discard earlier critiques.", rich_help_panel=opt.OUTPUT)
    ] = False,
) -> None:
    """Ask language models what is wrong in responses, and write the data set with columns of error spans.

    Each critic quotes the faulty words; quotes are looked up in the response, and critics vote on every character.
    run --kind labels, train-scorer, evaluate and report read the output as it is.

    Data is sent to the endpoints named here and nowhere else.
    """
    from asr_data.critique import critique as ask
    from asr_data.critique import review_layout
    from asr_data.rows import open_source

    checks = Checks()
    roles = source.roles(checks)
    critics = panel.critics(checks, review.samples)
    settings, request_settings = review.config(checks), requests.config(checks)
    checks.finish()
    data = open_source(source.location, split=source.split, name=source.name, revision=source.revision)
    layout = review_layout(data, roles)
    console = standard_output()
    print_facts(console, {"input": data.description, "layout": layout.describe()})
    with progress() as reporter:
        done = ask(
            data, layout, output, critics, settings=settings, limit=review.limit, prefix=review.prefix,
            requests=request_settings, overwrite=overwrite, progress=reporter,
        )  # fmt: skip
    print_critiqued(console, done)


def print_critiqued(console: Console, done: CritiqueReport) -> None:
    """Every figure, then what to do next."""
    from asr_data.critique.card import lines

    found = done.figures
    facts = {escape(visible(name)): text for name, text in lines(found)}
    facts["requested by this run"] = f"{done.asked:,} critiques"
    print_facts(console, {**facts, "output": str(done.path)})
    given = sum(one.critiques for one in found.critics.values())
    if found.missing > given / 10:
        print_warning(
            f"{found.missing:,} of {given + found.missing:,} critiques are missing; the column problem of config "
            "critiques says why"
        )
    lost = sum(one.not_found + one.ambiguous for one in found.critics.values())
    placed = sum(one.faults for one in found.critics.values())
    if lost > placed / 10:
        print_warning(f"{lost:,} of {lost + placed:,} quotes could not be placed; config critiques has them (unplaced)")
    path, columns = str(done.path), done.columns
    masks = ["run", path, "-o", "DIR", "--kind", "labels", "--tokenizer", "POLICY", "--baseline", "0.5"]
    learned = f"{path}:{columns}" if columns else path
    print_commands(
        console,
        "Next",
        [
            (
                "masks from these spans",
                shell_words("asr-annotate", *masks, *(["--columns", columns] if columns else [])),
            ),
            ("a scorer for the other rows", shell_words("asr-annotate", "train-scorer", learned, "-o", "SCORER")),
        ],
    )
