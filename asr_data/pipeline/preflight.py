"""Checks that need no model, made before one is loaded and not after everything was scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

import asr_data_schemas
from asr_data.config import MaskConfig, OutputConfig, Part, ScoringConfig
from asr_data.errors import ConfigError, StorageError
from asr_data.masks.weights import NO_REFERENCE
from asr_data.pipeline.plan import input_record, versions
from asr_data.rows import Layout, Source
from asr_data.storage.card import check_features
from asr_data.storage.columns import check_collisions
from asr_data.storage.output import OutputDirectory


def check_before_scoring(
    source: Source,
    layout: Layout,
    output: Path,
    *,
    scoring: ScoringConfig,
    writing: OutputConfig,
    mask: MaskConfig | None = None,
    scorer_name: str | None = None,
    reference: bool = False,
    part: Part | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Check the output directory, the columns and the dataset card of a run whose models are not loaded yet.

    Args:
        source: the input.
        layout: how its rows are read.
        output: the directory to write.
        scoring: how the model will be run.
        writing: how the files will be written.
        mask: segments and masks; None where none are asked for.
        scorer_name: the name that the scorer will have; None where it is not known yet.
        reference: whether log-probabilities are asked for.
        part: the part to do; None for all.
        resume: see :meth:`asr_data.storage.output.OutputDirectory.create`.
        overwrite: likewise.

    Raises:
        ConfigError: an added column takes the name of an input column, options exclude each other, or weights need a
            reference.
        InputError: a column that a dataset card cannot describe.
        StorageError: input and output contain each other, or the output directory is taken.
    """
    check_apart(source, output)
    check_columns(source, layout, writing.prefix, reference=reference, weights=mask is not None and mask.has_weights)
    if mask is not None:
        check_weights(mask, reference=reference)
    known: dict[str, JsonValue] = {
        "input": input_record(source, layout).model_dump(mode="json"),
        "layout": layout.model_dump(mode="json"),
        "scoring": scoring.model_dump(mode="json"),
        "output": writing.model_dump(mode="json"),
        "versions": {**versions()},
        "mask": None if mask is None else _chosen(mask),
        **({} if scorer_name is None else {"scorer": {"name": scorer_name}}),
    }
    OutputDirectory.refuse_other(output, known, resume=resume, overwrite=overwrite, part=part)


def _chosen(mask: MaskConfig) -> dict[str, JsonValue]:
    """The settings, without a baseline that nobody chose: the scorer decides on it."""
    return mask.model_dump(mode="json", exclude=set() if "baseline" in mask.model_fields_set else {"baseline"})


def check_weights(mask: MaskConfig, *, reference: bool) -> None:
    """Refuse weights by a reference's log-probabilities where none are asked for.

    Raises:
        ConfigError: names the setting and what is missing.
    """
    if mask.weights.needs_reference and not reference:
        raise ConfigError(NO_REFERENCE)


def check_columns(source: Source, layout: Layout, prefix: str, *, reference: bool, weights: bool = False) -> None:
    """Refuse added columns that take the name of an input column, and types that a dataset card cannot describe.

    The columns of masks are among them even where only scores are asked for: masking takes the prefix of scoring. So is
    ``asr_pair``, even where each row is one pair.

    Raises:
        ConfigError: a name is taken.
        InputError: a type cannot be described.
    """
    # A column asr_pair of the input would be taken for ours by all that reads rows.
    added = asr_data_schemas.data_schema(layout.sides, prefix, reference=reference, weights=weights, pairs=True)
    check_collisions(source.schema.names, added.names)
    check_features(source.schema)


def check_apart(source: Source, output: Path) -> None:
    """Refuse an input inside the output, which overwriting would remove, and an output inside the input.

    Raises:
        StorageError: names both.
    """
    files = [path for path, _ in source.files]
    check_directories_apart([*([] if source.directory is None else [source.directory]), *files], output)


def check_directories_apart(inputs: Sequence[Path], output: Path) -> None:
    """The same for inputs that are files or directories.

    Raises:
        StorageError: names both.
    """
    try:
        out = output.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise StorageError(f"{output}: cannot be a directory: {error}") from error
    for path in inputs:
        if path.resolve() == out:
            raise StorageError(f"{output} is the input; name another directory with -o")
        if path.resolve().is_relative_to(out):
            raise StorageError(
                f"{path}: the input is inside the output directory {output}; name another directory with -o"
            )
        if path.is_dir() and out.is_relative_to(path.resolve()):
            raise StorageError(
                f"{output}: the output is inside the input directory {path}; name another directory with -o"
            )
