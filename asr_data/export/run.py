"""The export: from an annotated directory to one that a trainer reads without code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_data.errors import ConfigError, InputError
from asr_data.export import axolotl, json_lines, llamafactory, ms_swift, trl, verl
from asr_data.export.card import export_card
from asr_data.export.examples import Cutter, Truncate
from asr_data.export.files import write_data
from asr_data.export.formats import FORMATS, WEIGHTED, WITHOUT_WAY_IN, ExportFormat, Facts, Setup, Target
from asr_data.export.notes import Notes
from asr_data.export.output import MANIFEST_NAME, new_directory
from asr_data.storage import AnnotatedDirectory
from asr_data.storage.commit import commit_bytes, file_sha256
from asr_data.text import Tokenizer


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: the directory.
        examples: number of examples.
        longest: tokens of the longest sequence.
        notes: note code to number of responses that were changed.
        left_out: code to number of responses that were left out.
        setup: how the trainer is made to read it.
    """

    path: Path
    examples: int
    longest: int
    notes: dict[str, int]
    left_out: dict[str, int]
    setup: Setup


def export(
    annotated: AnnotatedDirectory,
    target: Target,
    path: Path,
    *,
    tokenizer: Tokenizer | None = None,
    max_length: int | None = None,
    truncate: Truncate = "end",
    overwrite: bool = False,
) -> Exported:
    """Writes the annotated rows as a trainer reads them.

    Args:
        annotated: a masked directory.
        target: the trainer and its kind of training.
        path: the directory to write; made whole or not at all.
        tokenizer: the policy's; only ``axolotl-segments`` needs it.
        max_length: longest prompt plus response; longer ones are cut, and noted.
        truncate: what goes from a sequence that is too long: its ``end``, or the ``start`` of its prompt.
        overwrite: replace an earlier export.

    Raises:
        ConfigError: a format that does not fit the data, or another tokenizer than the masks'.
        InputError: the directory has no masks yet, or nothing is left to export.
        CorruptFileError: a file is not what was written, or ids and masks do not fit.
        OutputExistsError: ``path`` is there already.
    """
    made = _format(annotated, target, tokenizer, max_length)
    with new_directory(path, overwrite=overwrite) as folder:
        with (folder / "notes.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            notes = Notes(file)
            cutter = Cutter(notes, max_length, truncate)
            examples = write_data(folder, made.file, made.schema, made.records(annotated, cutter))
        if not examples:
            reasons = ", ".join(f"{code} {count}" for code, count in sorted(notes.left_out.items()))
            raise InputError(
                f"{annotated.path}: no row can be exported; left out: {reasons or 'none, there are no rows'}"
            )
        content: dict[str, Any] = {
            "format": target,
            "run": annotated.manifest.run_id,
            "max_length": max_length,
            "truncate": truncate,
            "examples": examples,
            "longest": cutter.longest,
            "notes": dict(sorted(notes.added.items())),
            "left_out": dict(sorted(notes.left_out.items())),
        }
        setup = _describe(folder, path, annotated, made, content)
    return Exported(path, examples, cutter.longest, content["notes"], content["left_out"], setup)


def _describe(
    folder: Path, path: Path, annotated: AnnotatedDirectory, made: ExportFormat, content: dict[str, Any]
) -> Setup:
    """Writes the configuration, the card and the list of files."""
    tokenizer = annotated.manifest.tokenizer
    name = "POLICY" if tokenizer is None else tokenizer.name
    content["data"] = _named_by_content(folder, made.file)
    setup = made.setup(Facts(path, content["data"], name, content["longest"]))
    card = export_card(annotated.manifest, setup, content)
    for file, text in {**setup.extra, setup.file: setup.text, "README.md": card}.items():
        commit_bytes(folder / file, text.encode())
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    content["files"] = {file.relative_to(folder).as_posix(): file_sha256(file) for file in files}
    commit_bytes(folder / MANIFEST_NAME, (json.dumps(content, indent=2) + "\n").encode())
    return setup


def _named_by_content(folder: Path, file: str) -> str:
    path = folder / file
    if path.suffix == ".arrow":  # named in the files beside it, and never kept by its name
        return file
    named = path.rename(path.with_stem(f"{path.stem}-{file_sha256(path)[:8]}"))
    return named.relative_to(folder).as_posix()


def _format(
    annotated: AnnotatedDirectory, target: Target, tokenizer: Tokenizer | None, max_length: int | None
) -> ExportFormat:
    if target == "llamafactory-dpo" and annotated.manifest.sides != ("chosen", "rejected"):
        raise ConfigError(f"--to {target} needs pairs; {annotated.path} has single completions")
    if target == "jsonl" and max_length is not None:
        raise ConfigError("--to jsonl writes the columns as they are; it takes no --max-length")
    _check_weights(annotated, target)
    record = annotated.manifest.tokenizer
    if tokenizer is not None and record is not None and tokenizer.fingerprint != record.fingerprint:
        raise ConfigError(f"tokenizer {tokenizer.name!r} is not {record.name!r}, which the masks are for")
    match target:
        case "llamafactory-dpo":
            return llamafactory.dpo()
        case "llamafactory-kto":
            return llamafactory.kto()
        case "llamafactory-sft":
            return llamafactory.sft()
        case "trl-sft":
            return trl.sft()
        case "axolotl-sft":
            return axolotl.sft()
        case "axolotl-segments":
            if tokenizer is None:
                raise ConfigError(f"--to {target} needs the policy's tokenizer: name it with --tokenizer")
            return axolotl.segments(tokenizer)
        case "verl-sft":
            return verl.sft(weights=annotated.manifest.has_weights)
        case "ms-swift-sft":
            return ms_swift.sft(weights=annotated.manifest.has_weights)
        case "jsonl":
            return json_lines.every_column(annotated)
        case _:
            reason = WITHOUT_WAY_IN.get(target)
            why = f"cannot be had: {reason}; allowed are" if reason else "is not one of"
            raise ConfigError(f"--to {target} {why} {', '.join(FORMATS)}")


def _check_weights(annotated: AnnotatedDirectory, target: Target) -> None:
    """Weights of 0 and 1 are masks, which every format has."""
    mask = annotated.manifest.mask
    if mask is None or not mask.has_weights or mask.weights.is_mask or target in WEIGHTED:
        return
    raise ConfigError(
        f"--to {target} has masks and no weights, and {annotated.path} was made with --weights {mask.weights.kind}: "
        f"export to {', '.join(WEIGHTED)}, or mask anew without weights (asr-annotate mask {annotated.path} -o DIR)"
    )
