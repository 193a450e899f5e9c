"""Options that come together, declared once for all commands that take them.

:func:`asr_data_cli.grouping.with_options` gives Typer the options of a group. Those of segments and masks are made from
the fields of ``MaskConfig``, of the segmenters and of the baselines.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import BaseModel

from asr_data.config import BaselineConfig, MaskConfig, OutputConfig, Part, ScoringConfig, SegmenterConfig, WeightConfig
from asr_data.engines import EngineRole, EngineSettings, ServedModel, served_models
from asr_data.pairs import PairConfig
from asr_data.settings import models
from asr_data_cli import options as opt
from asr_data_cli import settings
from asr_data_cli.grouping import parameter
from asr_data_cli.setting_text import (
    baseline_text,
    is_number,
    kind_of,
    metavar,
    option,
    option_fields,
    segmenter_kinds,
    summary,
    value_text,
    weight_shapes,
    weights_text,
)
from asr_data_cli.settings import Checks

if TYPE_CHECKING:
    from asr_data.rows import Source


def field_options(
    kind: type[BaseModel], names: Iterable[str], panel: Callable[[str], str], *, prefix: str = ""
) -> list[inspect.Parameter]:
    """An option for each of these fields, with the field's type, default and description; ``prefix``: of its name."""
    found = []
    for name in names:
        field = kind.model_fields[name]
        shown = typer.Option(option(prefix + name), help=field.description, rich_help_panel=panel(name))
        found.append(parameter(prefix + name, Annotated[field.annotation, shown], field.default))
    return found


@dataclass(frozen=True, slots=True)
class InputOptions:
    """Where the rows are and how to read them."""

    location: opt.InputArgument
    split: opt.Split = None
    name: opt.Name = None
    revision: opt.Revision = None
    file_format: opt.Format = None
    columns: opt.Columns = None

    def open(self) -> Source:
        """The input that they name."""
        from asr_data.rows import open_source

        return open_source(
            self.location, split=self.split, name=self.name, revision=self.revision, file_format=self.file_format
        )

    def roles(self, checks: Checks) -> dict[str, str]:
        """Columns by role."""
        found: dict[str, str] = checks.attempt(lambda: settings.columns(self.columns or ()), {})
        return found


@dataclass(frozen=True, slots=True)
class PairOptions:
    """Which pairs are made of a row with several answers."""

    pairs: opt.Pairs = "best-worst"
    min_gap: opt.MinGap = 0.0

    def config(self, checks: Checks) -> PairConfig:
        """The settings. Errors go to ``checks``."""
        return checks.attempt(lambda: PairConfig(rule=self.pairs, min_gap=self.min_gap), PairConfig())


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The reward model, and the reference whose log-probabilities are written too."""

    model: opt.Model = "builtin"
    kind: opt.Kind = "auto"
    preset: opt.Preset = None
    scorer_config: opt.ScorerSettings = None
    reference: opt.Reference = None
    context: opt.Context = None
    against: opt.Against = None
    sides: opt.Sides = None
    answer: opt.Answer = None
    allow_pickle: opt.AllowPickle = False
    allow_hub: opt.AllowHub = False
    no_cache: opt.NoCache = False
    verify: opt.Verify = False
    logprobs: opt.Logprobs = None
    offload_dir: opt.OffloadDir = None


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How the models are run."""

    dtype: opt.Dtype = "auto"
    device: opt.Device = "auto"
    batch_tokens: opt.BatchTokens = "auto"
    max_length: opt.MaxLength = None
    device_map: opt.DeviceMap = None

    def config(self, checks: Checks) -> ScoringConfig:
        """The settings; errors go to ``checks``."""
        batch: int | Literal["auto"] = checks.attempt(lambda: settings.batch_tokens(self.batch_tokens), "auto")
        devices: Any = checks.attempt(lambda: settings.device_map(self.device_map), None)
        return ScoringConfig(
            dtype=self.dtype,
            device=self.device,
            batch_tokens=batch,
            max_length=self.max_length,
            device_map=devices,
        )


class EngineOptions:
    """Servers that run the models, and an option ``--engine-…`` for each field of ``EngineSettings``."""

    def __init__(self, typed: Mapping[str, Any]) -> None:
        self._typed = typed

    def models(self, checks: Checks) -> Mapping[EngineRole, ServedModel]:
        """Servers by role; none where the models are run here. Errors go to ``checks``."""
        found: Mapping[EngineRole, ServedModel] = checks.attempt(self._models, {})
        return found

    def _models(self) -> Mapping[EngineRole, ServedModel]:
        named = {name: self._typed[f"engine_{name}"] for name in EngineSettings.model_fields}
        asked = settings.from_options(EngineSettings, named)
        return served_models(self._typed["engine"] or (), self._typed["engine_model"] or (), asked)

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """The options."""
        own = [parameter("engine", opt.Engine, None), parameter("engine_model", opt.EngineModel, None)]
        fields = field_options(EngineSettings, EngineSettings.model_fields, lambda _: opt.SERVED, prefix="engine_")
        return [*own, *fields]


class MaskOptions:
    """Segments and masks: ``--segmenter`` and its settings, ``--baseline``, and the rest of ``MaskConfig``."""

    def __init__(self, typed: Mapping[str, Any]) -> None:
        self._typed = typed

    def config(self, checks: Checks) -> MaskConfig:
        """The settings; errors go to ``checks``."""
        return settings.mask_config(self._typed, checks)

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """The options, made from the fields."""
        default = MaskConfig()
        asked = {name: MaskConfig.model_fields[name].description for name in ("segmenter", "baseline", "weights")}
        kinds = Literal[segmenter_kinds()]  # type: ignore[valid-type] # a choice made here
        made: dict[str, tuple[Any, Any, dict[str, Any]]] = {
            "segmenter": (kinds, default.segmenter.kind, {"help": _each(asked["segmenter"], SegmenterConfig)})
        }
        for name, owners in settings.segmenter_options().items():
            made[name] = (str | None, None, _setting(name, owners))
        shape = "|".join(_baseline_shapes())
        usual = f"{baseline_text(default.baseline)}; sequence where the scorer is told the verdict"
        made["baseline"] = (
            str | None,
            None,
            {"help": _each(asked["baseline"], BaselineConfig), "metavar": shape, "show_default": usual},
        )
        made["weights"] = (
            str,
            weights_text(default.weights),
            {"help": _each(asked["weights"], WeightConfig, numbers=False), "metavar": "|".join(weight_shapes())},
        )
        for name, field in MaskConfig.model_fields.items():
            if name not in made:
                made[name] = (field.annotation, field.default, {"help": field.description})
        ordered = sorted(made, key=lambda name: name in _MASKS)
        return [
            parameter(name, Annotated[kind, typer.Option(option(name), rich_help_panel=_panel(name), **more)], default)
            for name in ordered
            for kind, default, more in [made[name]]
        ]


_MASKS = ("baseline", "on_empty", "end_token", "unknown", "weights")
"""Settings of the panel Masks; the others are those of Segments."""


def _panel(name: str) -> str:
    return opt.MASKS if name in _MASKS else opt.SEGMENTS


def _setting(name: str, owners: list[type[BaseModel]]) -> dict[str, Any]:
    """Help, shape and default of a segmenter's setting."""
    helps = [f"{kind_of(one)}: {one.model_fields[name].description}" for one in owners]
    defaults = dict.fromkeys(value_text(one(), name) for one in owners)
    return {
        "help": " ".join(helps),
        "metavar": "|".join(dict.fromkeys(metavar(one, name) for one in owners)),
        "show_default": " or ".join(defaults),
    }


def _each(asked: str | None, union: Any, *, numbers: bool = True) -> str:
    """A line on each member of a union, after what it is for; with ``numbers`` a member may be typed as one."""
    named = {one: "X" if numbers and is_number(one) else kind_of(one) for one in models(union)}
    return " ".join([str(asked), *(f"{name}: {summary(one)}" for one, name in named.items())])


def _baseline_shapes() -> list[str]:
    """``pair``, ``dataset[:mean|median|X]``, … and ``X`` for a number."""
    found: list[str] = []
    for one in models(BaselineConfig):
        shapes = [metavar(one, name) for name in option_fields(one)]
        found += shapes if is_number(one) else ["".join([kind_of(one), *(f"[:{shape}]" for shape in shapes)])]
    return found


@dataclass(frozen=True, slots=True)
class WritingOptions:
    """How the output is written."""

    shard_rows: opt.ShardRows = 10_000
    prefix: opt.Prefix = ""

    def config(self) -> OutputConfig:
        """The settings."""
        return OutputConfig(shard_rows=self.shard_rows, prefix=self.prefix)


@dataclass(frozen=True, slots=True)
class EndOptions:
    """What to do with an output that is there, and with rejected rows."""

    resume: opt.Resume = False
    overwrite: opt.Overwrite = False
    strict: opt.Strict = False

    def check(self, checks: Checks) -> None:
        """Refuse the two answers to an existing output given together."""
        checks.attempt(lambda: settings.write_over(resume=self.resume, overwrite=self.overwrite), None)


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """What chat templates are told."""

    template_date: opt.TemplateDate = None

    def day(self, checks: Checks) -> date | None:
        """The date for templates that ask for one; None for today's."""
        return checks.attempt(lambda: settings.template_date(self.template_date), None)


@dataclass(frozen=True, slots=True)
class RayOptions:
    """The cluster that does the work, and how many workers."""

    address: str
    workers: int | None = None
    gpus: float | None = None


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """How the work is shared among jobs or among the workers of a cluster."""

    num_shards: opt.NumShards = None
    shard_index: opt.ShardIndex = None
    ray: opt.Ray = None
    ray_workers: opt.RayWorkers = None
    gpus_per_worker: opt.GpusPerWorker = None

    def part(self, checks: Checks) -> Part | None:
        """Which share this job does; None for all of it."""
        return checks.attempt(lambda: settings.part(self.num_shards, self.shard_index), None)

    def cluster(self, checks: Checks, location: str) -> RayOptions | None:
        """The Ray cluster, if one was named; its workers cannot read a copy that this process made of its input."""
        from asr_data.rows.fetched import STANDARD_INPUT, is_url

        if self.ray not in (None, "local") and (location == STANDARD_INPUT or is_url(location)):
            checks.note("--ray needs an INPUT that all nodes can read: no standard input and no URL")
        if self.ray is None:
            if self.ray_workers is not None:
                checks.note("--ray-workers says how many workers --ray ADDRESS has; give both")
            if self.gpus_per_worker is not None:
                checks.note("--gpus-per-worker says how many GPUs a worker of --ray ADDRESS has; give both")
            return None
        if self.gpus_per_worker is not None and self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            checks.note(f"--gpus-per-worker is {self.gpus_per_worker:g}: Ray shares one GPU or gives whole ones")
        return RayOptions(self.ray, self.ray_workers, self.gpus_per_worker)
