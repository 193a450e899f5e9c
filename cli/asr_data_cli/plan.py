"""``plan``, and ``run --dry-run``: what a run would do, before it takes hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from asr_data.config import MaskConfig, OutputConfig, Part, ScoringConfig
from asr_data.pairs import PairConfig
from asr_data.view.escape import visible
from asr_data_cli import config_file, models
from asr_data_cli import options as opt
from asr_data_cli.console import (
    duration,
    print_commands,
    print_facts,
    print_input,
    print_warning,
    shell_words,
    standard_output,
)
from asr_data_cli.option_groups import (
    EndOptions,
    EngineOptions,
    InputOptions,
    MachineOptions,
    MaskOptions,
    ModelOptions,
    PairOptions,
    RayOptions,
    ScoringOptions,
    TemplateOptions,
    WritingOptions,
)
from asr_data_cli.settings import Checks

if TYPE_CHECKING:
    from asr_data.engines import EngineRole, ServedModel
    from asr_data.pipeline.preview import Example, FirstRows, Measurement
    from asr_data.rows import Layout, Source

PLAN_EXAMPLES = (
    "asr-annotate plan pairs.jsonl",
    "asr-annotate plan pairs.jsonl --model MODEL_DIR --tokenizer POLICY_DIR -o annotated --save run.yaml",
    "asr-annotate run --config run.yaml",
)

_SHOWN_TOKENS: Final = 48
"""Of a prompt or a response; what lies between is counted."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What ``run`` and ``plan`` are asked for, once every option is known to be right."""

    source: InputOptions
    output: Path
    model: ModelOptions
    scoring: ScoringConfig
    mask: MaskConfig
    writing: OutputConfig
    end: EndOptions
    columns: Mapping[str, str]
    pairs: PairConfig = PairConfig()  # noqa: RUF009 - frozen
    limit: int | None = None
    where: str | None = None
    tokenizer: str | None = None
    part: Part | None = None
    ray: RayOptions | None = None
    template_date: date | None = None
    config_sha256: str | None = None
    engines: Mapping[EngineRole, ServedModel] = field(default_factory=dict)

    def open(self) -> tuple[Source, Layout]:
        """The input, and how its rows are read."""
        return open_input(self.source, self.columns, self.pairs, self.limit, self.where)


def asked_for(
    source: InputOptions,
    output: Path,
    model: ModelOptions,
    engine: EngineOptions,
    scoring: ScoringOptions,
    mask: MaskOptions,
    writing: WritingOptions,
    end: EndOptions,
    machines: MachineOptions,
    templates: TemplateOptions,
    config: config_file.ConfigOptions,
    *,
    tokenizer: str | None,
    pairs: PairOptions,
    limit: int | None,
    where: str | None,
) -> Asked:
    """What the options say; every one that is wrong is an error at once."""
    checks = Checks()
    asked = Asked(
        source,
        output,
        model,
        scoring.config(checks),
        mask.config(checks),
        writing.config(),
        end,
        source.roles(checks),
        pairs=pairs.config(checks),
        limit=limit,
        where=where,
        engines=engine.models(checks),
        tokenizer=tokenizer,
        part=machines.part(checks),
        ray=machines.cluster(checks, source.location),
        template_date=templates.day(checks),
        config_sha256=config.sha256,
    )
    end.check(checks)
    checks.finish()
    return asked


def open_input(
    options: InputOptions, columns: Mapping[str, str], pairs: PairConfig, limit: int | None, where: str | None = None
) -> tuple[Source, Layout]:
    """An input, and how its rows are read; of the first ``limit`` rows, those that meet ``where``."""
    from asr_data.rows import detect, first_records

    source = options.open()
    layout = detect(source.schema, first_records(source), columns).with_pairs(pairs)
    source = source.first(limit)
    return source if where is None else source.selecting(where), layout


def check_before_scoring(asked: Asked, source: Source, layout: Layout) -> None:
    """What can be refused before a model is loaded."""
    from asr_data import pipeline

    pipeline.check_before_scoring(
        source,
        layout,
        asked.output,
        scoring=asked.scoring,
        writing=asked.writing,
        mask=asked.mask,
        scorer_name=models.scorer_name(asked.model),
        reference=asked.model.logprobs is not None,
        part=asked.part,
        resume=asked.end.resume,
        overwrite=asked.end.overwrite,
    )


def plan(
    invocation: typer.Context,
    source: InputOptions,
    model: ModelOptions,
    engine: EngineOptions,
    scoring: ScoringOptions,
    mask: MaskOptions,
    writing: WritingOptions,
    end: EndOptions,
    machines: MachineOptions,
    templates: TemplateOptions,
    config: config_file.ConfigOptions,
    pairs: PairOptions,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Directory that run would write.", rich_help_panel=opt.OUTPUT
        ),
    ] = Path("annotated"),
    tokenizer: opt.Tokenizer = None,
    limit: opt.Limit = None,
    where: opt.Where = None,
    save: config_file.Save = None,
) -> None:
    """Show what `run` would do with the same options: layout, rejects, tokens, model, memory, time and files.

    A few rows are scored to measure speed; nothing of that is kept, and nothing is written but the file of --save.
    """
    asked = asked_for(
        source,
        output,
        model,
        engine,
        scoring,
        mask,
        writing,
        end,
        machines,
        templates,
        config,
        tokenizer=tokenizer,
        pairs=pairs,
        limit=limit,
        where=where,
    )
    saved = None if save is None else config_file.options_to_save(invocation, save)
    show_plan(asked)
    if saved is not None:
        saved.write()
        again = ["INPUT"] if saved.without_input else []
        if again:
            print_warning(f"INPUT has a user, a password or a query, which are not written to {save}: type it again")
        command = shell_words("asr-annotate", "run", *again, "--config", saved.path)
        print_commands(standard_output(), "Next", [("the run itself", command)])


def show_plan(asked: Asked) -> None:
    """Everything that can be said of a run without making it."""
    from asr_data import pipeline
    from asr_data.pipeline import preview

    console = standard_output()
    source, layout = asked.open()
    print_input(console, source, layout)
    check_before_scoring(asked, source, layout)
    first = pipeline.first_rows(source, layout)
    rows = preview.rows_of(source, asked.writing, asked.part)
    with models.opened(
        asked.model, asked.scoring, asked.source.location, None, first, source.schema, asked.engines
    ) as found:
        policy = models.policy_tokenizer(asked.tokenizer, found.scorer)
        models.print_scorer(console, found.scorer, policy)
        seen = preview.look_at(source, layout, policy)
        _print_first_rows(console, seen, rows)
        measured = preview.measure(found.scorer, seen, rows)
    files = preview.files_of(source, asked.writing, asked.part, reference=asked.model.logprobs is not None)
    print_facts(console, {**_expected(measured, rows, asked), "files": _listed(files, asked)})


def _print_first_rows(console: Console, seen: FirstRows, rows: int) -> None:
    facts = {"first rows": f"{seen.read:,} read, {len(seen.rows):,} can be annotated"}
    if seen.pairs is not None:
        expected = f"about {rows * seen.pairs / seen.read:,.0f} of all {rows:,} rows" if rows > seen.read else ""
        facts["first rows"] = f"{seen.read:,} read"
        facts["pairs"] = "; ".join(
            filter(None, [f"{seen.pairs:,} of these, {len(seen.rows):,} can be annotated", expected])
        )
    facts |= {f"  {code}": f"{count:,} rejected" for code, count in seen.rejects.most_common()}
    print_facts(console, facts)
    if seen.example is not None:
        _print_example(console, seen.example)


def _print_example(console: Console, example: Example) -> None:
    """The tokens of a row, apart by ``·``, and which of them carry the response."""
    pair = "" if example.pair is None else f", pair {example.pair}"
    title = f"row {example.row}{pair}: prompt, tokens 0 to {len(example.prompt)}"
    _print_tokens(console, title, example.prompt)
    for side, one in example.responses.items():
        end = len(example.prompt) + len(one.tokens)
        title = f"{side}, tokens {len(example.prompt)} to {end}; its text is in tokens {one.start} to {one.end}"
        _print_tokens(console, title, one.tokens)


def _print_tokens(console: Console, title: str, tokens: Sequence[str]) -> None:
    half = _SHOWN_TOKENS // 2
    shown = [*map(_on_a_line, tokens)]
    if len(shown) > _SHOWN_TOKENS:
        shown = [*shown[:half], f"… {len(shown) - 2 * half} more …", *shown[-half:]]
    console.print(Text(title, style="bold"))
    console.print(Text("·".join(shown), style="dim"))


def _on_a_line(token: str) -> str:
    return visible(token.replace("\n", "⏎").replace("\t", "⇥"))


def _expected(measured: Measurement | None, rows: int, asked: Asked) -> dict[str, str]:
    if measured is None:
        return {"time": "not measured: none of the first rows can be annotated"}
    of_tokens = f", {measured.tokens / measured.seconds:,.0f} tokens/s" if measured.tokens else ""
    where = " on this machine; the cluster's workers share the work" if asked.ray is not None else ""
    unit = "pairs" if asked.pairs.several else "rows"
    facts = {
        "measured": f"{measured.rows:,} {unit} in {measured.seconds:.1f} s{of_tokens}{where}",
        "time": f"about {duration(measured.expected_seconds)} for {rows:,} rows; batches of a whole file are faster",
        "memory": f"{_size(measured.memory)} so far; a file of {asked.writing.shard_rows:,} rows adds its rows",
    }
    if measured.device_memory is not None:
        facts["GPU memory"] = f"{_size(measured.device_memory)} so far; larger batches take more, up to what is free"
    return facts


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _listed(files: Sequence[str], asked: Asked) -> str:
    kinds: dict[str, list[str]] = {}
    for file in files:
        kinds.setdefault(file.partition("/")[0], []).append(file)
    lines = [names[0] if len(names) == 1 else f"{names[0]} … {Path(names[-1]).name}" for names in kinds.values()]
    last = [f"rejects/{asked.writing.split}.parquet if rows are rejected", "README.md, asr.json"]
    if asked.part is not None:
        last = ["merge makes the rest"]
    return "\n".join([f"in {asked.output}:", *lines, *last])
