"""The models that a command runs, opened here or on a Ray cluster's workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from rich.console import Console

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError
from asr_data_cli.console import print_facts, print_warning, standard_error
from asr_data_cli.option_groups import ModelOptions, RayOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from asr_data.engines import EngineRole, ServedModel
    from asr_data.pipeline.logprobs import LogProbabilities
    from asr_data.pipeline.shard_jobs import ShardPool
    from asr_data.scoring import Scorer
    from asr_data.scoring.config import ScorerConfig
    from asr_data.text import Tokenizer
    from asr_data.types import Row


_WITHOUT_MODEL: Final = ("labels", "rule", "diff")
"""Kinds that run on no GPU and are loaded at once."""


@dataclass(frozen=True, slots=True)
class Models:
    """The scorer and the reference; where ``pool`` is given they only say who they are, and it has the models."""

    scorer: Scorer
    reference: LogProbabilities | None
    pool: ShardPool | None = None


@contextmanager
def opened(
    options: ModelOptions,
    scoring: ScoringConfig,
    location: str,
    ray: RayOptions | None,
    first_rows: Sequence[Row],
    schema: pa.Schema,
    engines: Mapping[EngineRole, ServedModel] = MappingProxyType({}),
) -> Iterator[Models]:
    """Load the models, here or on Ray's workers, which end with the block.

    ``schema``: the columns of the rows. ``engines``: the servers of models that are not loaded.
    """
    scorer = _scorer_loader(options, scoring, location, first_rows, schema, engines)
    reference = _reference_loader(options, scoring, engines)
    if ray is None:
        from asr_data.scoring.allocator import settle_memory

        settle_memory()
        _print_loading(options)
        yield Models(scorer(), None if reference is None else reference())
        return
    from asr_data.pipeline.ray_pool import Loaders, RayPool

    if ray.gpus is not None and ray.gpus > 1 and scoring.device_map is None:
        raise ConfigError(f"--gpus-per-worker {ray.gpus:g}: a model uses one GPU unless --device-map spreads it")
    needs_no_gpu = scoring.device == "cpu" or options.kind in _WITHOUT_MODEL
    gpus = 0.0 if needs_no_gpu and reference is None else ray.gpus
    loaders = Loaders(scorer, reference)
    with RayPool(ray.address, loaders, workers=ray.workers, gpus=gpus, tell=print_warning) as pool:
        yield Models(pool.scorer, pool.reference, pool)


def scorer_name(options: ModelOptions) -> str | None:
    """The name that the scorer will have; None where settings of the user's own decide."""
    if options.scorer_config is not None:
        return None
    return options.kind if options.kind in ("labels", "diff") else options.model


def _print_loading(options: ModelOptions) -> None:
    """Say what is being waited for: a large model takes minutes, the built-in one some seconds the first time."""
    names = [] if options.kind in _WITHOUT_MODEL else [options.model]
    names += [name for name in (options.reference, options.logprobs) if name is not None]
    if names:
        standard_error().print(f"loading {', '.join(names)} …", style="dim", markup=False, soft_wrap=True)


def _scorer_loader(
    options: ModelOptions,
    scoring: ScoringConfig,
    location: str,
    first_rows: Sequence[Row],
    schema: pa.Schema,
    engines: Mapping[EngineRole, ServedModel],
) -> Callable[[], Scorer]:
    from asr_data import load_scorer

    config = options.scorer_config
    return partial(
        load_scorer,
        options.model,
        options.kind,
        preset=options.preset,
        config=None if config is None else _scorer_settings(config, location),
        reference=options.reference,
        scoring=scoring,
        allow_pickle=options.allow_pickle,
        allow_hub=options.allow_hub,
        cache=not options.no_cache,
        verify=options.verify,
        offload_folder=options.offload_dir,
        first_rows=first_rows,
        schema=schema,
        context=options.context,
        against=options.against,
        sides=options.sides,
        answer=options.answer,
        engines={role: served for role, served in engines.items() if role != "logprobs"},
    )


def _scorer_settings(path: Path, location: str) -> ScorerConfig:
    """Settings from a file of the user's own: what comes with a data set does not say how a model is read."""
    from asr_data.scoring.config import read_config

    data = Path(location)
    if data.is_dir() and path.resolve().is_relative_to(data.resolve()):
        raise ConfigError(f"--scorer-config {path} lies in the data set {location}; take settings of your own")
    return read_config(path)


def _reference_loader(
    options: ModelOptions, scoring: ScoringConfig, engines: Mapping[EngineRole, ServedModel]
) -> Callable[[], LogProbabilities] | None:
    engine = engines.get("logprobs")
    if options.logprobs is None:
        if engine is not None:
            raise ConfigError("--engine logprobs=URL: no model's log-probabilities are asked for; see --logprobs")
        return None
    from asr_data.scoring.reference import load_reference

    return partial(
        load_reference,
        options.logprobs,
        scoring,
        cache=not options.no_cache,
        verify=options.verify,
        offload_folder=options.offload_dir,
        engine=engine,
    )


def policy_tokenizer(name: str | None, scorer: Scorer) -> Tokenizer:
    """The tokenizer asked for, else the scorer's own.

    Raises:
        ConfigError: there is none.
    """
    if name is not None:
        return named_tokenizer(name)
    if scorer.tokenizer is None:
        raise ConfigError(
            f"{scorer.info.name!r} has no tokenizer of its own: name the policy's with --tokenizer (builtin is the "
            "built-in model's)"
        )
    return scorer.tokenizer


def named_tokenizer(name: str) -> Tokenizer:
    """A tokenizer by directory, Hub id or ``builtin``."""
    from asr_data.text import load_tokenizer

    return load_tokenizer(name)


def print_scorer(console: Console, scorer: Scorer, policy: Tokenizer | None) -> None:
    """Say which model was found, and how it is read."""
    from asr_data.scoring.protocol import Measured

    info = scorer.info
    facts = {"model": f"{info.name} ({info.kind}, gives {info.form}s)"}
    if "recognised" in info.settings:
        facts["read as"] = str(info.settings["recognised"])
    if "partner" in info.settings:
        sides = info.settings["partner"].items()
        facts["partner"] = "; ".join(f"{side}: {how}" for side, how in sides)
    if info.name == "builtin" and info.kind == "token_head":
        from asr_data.scoring.measured import builtin_worth

        facts["worth"] = builtin_worth()
    for name in ("engine", "reference_engine"):
        if name in info.settings:
            served = info.settings[name]
            facts[name.replace("_", " ")] = f"{served['server']}, model {served['model']}, asked for {served['asked']}"
    if isinstance(scorer, Measured) and scorer.measured:
        facts["agreement"] = agreement_text(scorer.measured)
    if policy is not None:
        facts["tokenizer"] = policy.name
    print_facts(console, facts)


def agreement_text(measured: Mapping[str, float]) -> str:
    """How far the server's readings of the first rows are from those that they were compared with."""
    largest, relative = measured["engine_largest_difference"], measured["engine_relative_difference"]
    readings, whom = int(measured["engine_compared_readings"]), measured["engine_compared_with_files"]
    what = "the model's files, run here" if whom else "the server's own, asked one by one"
    return f"within {largest:.3g}, {relative:.2%} of the spread, of {what}; {readings:,} readings of the first rows"


def print_mid_response(console: Console, path: Path, scorer: Scorer) -> None:
    """For a sequence head: how it ranks pairs at the end and in mid-response, and a warning where that is chance."""
    if scorer.info.kind != "seq_head":
        return
    from asr_data.evaluation.mid_response import check_mid_response

    found = check_mid_response(path)
    if found is None:
        return
    middle = found.in_middle
    value = f"{middle.value:.1%} ({middle.low:.1%} to {middle.high:.1%}) in the middle, {found.at_end:.1%} at the end"
    print_facts(console, {"pairs right": f"{value}; {found.pairs:,} pairs"})
    if found.warning is not None:
        print_warning(found.warning)
