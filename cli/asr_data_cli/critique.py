"""``critique``: faults marked by language models as critics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from asr_data.critique.config import Critic, CritiqueSettings, SideChoice, load_critics, load_rubric
from asr_data.errors import ConfigError
from asr_data.view.escape import visible
from asr_data_cli import judge_options
from asr_data_cli import options as opt
from asr_data_cli.console import print_commands, print_facts, print_input, print_warning, shell_words, standard_output
from asr_data_cli.option_groups import InputOptions
from asr_data_cli.progress import progress
from asr_data_cli.setting_text import option
from asr_data_cli.settings import Checks, from_options

if TYPE_CHECKING:
    from asr_data.critique import CritiqueReport

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


class RequestOptions(judge_options.RequestOptions):
    """How requests are made, as for judges."""

    panel = CRITICS


_critic = partial(judge_options.model_option, Critic, CRITICS)
_WARM = 0.7
"""Temperature of several samples, which would not differ at 0."""


@dataclass(frozen=True, slots=True)
class CriticOptions:
    """Who reviews: models at one endpoint, or a file of critics."""

    endpoint: Annotated[
        str | None,
        _critic("endpoint", metavar="URL", help="OpenAI-compatible API; the key is read from OPENAI_API_KEY."),
    ] = None
    model: Annotated[
        list[str] | None,
        _critic("model", "--critic", metavar="NAME", help="Model at the endpoint; may be repeated."),
    ] = None
    price_in: Annotated[float | None, _critic("price_in")] = None
    price_out: Annotated[float | None, _critic("price_out")] = None
    max_tokens: Annotated[int | None, _critic("max_tokens")] = None
    temperature: Annotated[
        float | None,
        _critic("temperature", help="Temperature of sampling.", show_default=f"0, or {_WARM} with several samples"),
    ] = None
    file: Annotated[
        Path | None,
        typer.Option(
            "--critics",
            metavar="FILE",
            help="JSON list of critics with individual endpoints, keys or settings.",
            rich_help_panel=CRITICS,
        ),
    ] = None

    def critics(self, checks: Checks, samples: int) -> tuple[Critic, ...]:
        """The critics; errors go to ``checks``."""
        critics: tuple[Critic, ...] = checks.attempt(lambda: self._critics(samples), ())
        return critics

    def _critics(self, samples: int) -> tuple[Critic, ...]:
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
        return tuple(from_options(Critic, {"model": one, "endpoint": self.endpoint, **given}) for one in self.model)


def _review(name: str, *spellings: str, **more: Any) -> Any:
    more.setdefault("help", CritiqueSettings.model_fields[name].description)
    return typer.Option(*(spellings or (option(name),)), rich_help_panel=REVIEW, **more)


@dataclass(frozen=True, slots=True)
class ReviewOptions:
    """What critics are asked."""

    side: Annotated[SideChoice, _review("side")] = "both"
    better_answer: Annotated[bool, _review("better_answer", "--better-answer/--no-better-answer")] = True
    rubric: Annotated[
        Path | None, _review("rubric", metavar="FILE", show_default="facts, reasoning, instructions, safety, language")
    ] = None
    samples: Annotated[int, _review("samples")] = 1
    seed: Annotated[int | None, _review("seed", show_default="none")] = None
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Number of rows to review, from the start.", rich_help_panel=opt.INPUT),
    ] = None

    def config(self, checks: Checks) -> CritiqueSettings:
        """The settings; errors go to ``checks``."""
        path = self.rubric
        rubric = None if path is None else checks.attempt(lambda: load_rubric(path), None)
        given = {
            "side": self.side, "better_answer": self.better_answer, "rubric": rubric, "samples": self.samples,
            "seed": self.seed,
        }  # fmt: skip
        return checks.attempt(lambda: from_options(CritiqueSettings, given), CritiqueSettings())


def critique(
    source: InputOptions,
    output: opt.Output,
    review: ReviewOptions,
    panel: CriticOptions,
    requests: RequestOptions,
    prefix: opt.Prefix = "",
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

    checks = Checks()
    roles = source.roles(checks)
    critics = panel.critics(checks, review.samples)
    settings, request_settings = review.config(checks), requests.config(checks)
    checks.finish()
    data = source.open()
    layout = review_layout(data, roles)
    console = standard_output()
    print_input(console, data, layout)
    with progress() as reporter:
        done = ask(
            data, layout, output, critics, settings=settings, limit=review.limit, prefix=prefix,
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
