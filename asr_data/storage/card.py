"""``README.md`` of an output directory: a dataset card that ``datasets`` and the Hub understand."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Final

import pyarrow as pa

from asr_data.errors import InputError
from asr_data.storage.commit import FileRecord
from asr_data.storage.manifest import Manifest
from asr_data_schemas import NOTE_CODES, REJECT_CODES

_TAGS: Final = ("asr-data", "preference", "rlhf", "dpo")
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()#+!|~$:@-])")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def dataset_card(manifest: Manifest, data_schema: pa.Schema) -> str:
    """The text of ``README.md``.

    Its YAML header declares the configs that have rows, with their files, features and row counts, so that
    ``datasets.load_dataset`` infers nothing and opens each. Values that come from the data set are escaped.

    Args:
        manifest: what the directory holds.
        data_schema: schema of the files in ``data/``, input columns first.
    """
    from huggingface_hub import DatasetCardData

    header = DatasetCardData(**_header(manifest, data_schema)).to_yaml()
    settings = manifest.model_dump(mode="json", include={"scoring", "mask", "output"}, exclude_none=True)
    return _template().render(
        header=header,
        manifest=manifest,
        added=manifest.added_columns(),
        side=manifest.sides[0],
        settings=json.dumps(settings, indent=2),
        note_codes=NOTE_CODES,
        reject_codes=REJECT_CODES,
    )


def check_features(columns: pa.Schema) -> None:
    """Refuses columns that a card cannot describe.

    Args:
        columns: of the input.

    Raises:
        InputError: names the column and its type.
    """
    from datasets import Features

    for field in columns:
        try:
            Features.from_arrow_schema(pa.schema([field]))._to_yaml_list()
        except (ValueError, TypeError, KeyError, NotImplementedError, AttributeError) as error:
            raise InputError(
                f"column {field.name!r} has type {field.type}, for which datasets has no feature, so that the output "
                "could not be opened with load_dataset: drop the column, or cast it first"
            ) from error


def escaped(value: object) -> str:
    """``value`` as one line of Markdown text: no markup, no HTML, no link, no control character."""
    text = _UNPRINTABLE.sub(" ", str(value)).strip()
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", text)


@cache
def _template() -> Any:
    # autoescape is for HTML; this is Markdown, and every value from outside goes through ``escaped``.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("asr_data.storage", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )
    environment.filters["escaped"] = escaped
    return environment.get_template("card.md.jinja")


def _header(manifest: Manifest, data_schema: pa.Schema) -> dict[str, Any]:
    split, schemas = manifest.output.split, manifest.schemas()
    found = {
        "default": (manifest.files_of("data"), data_schema),
        "scores": (manifest.files_of("scores"), schemas["scores"]),
        "logprobs": (manifest.files_of("logprobs"), schemas["logprobs"]),
        "rejects": (manifest.files_of("rejects"), schemas["rejects"]),
    }
    # datasets (5.2) cannot open a split without rows: what the card lists opens.
    configs = {name: config for name, config in found.items() if any(record.rows for record in config[0])}
    header: dict[str, Any] = {}
    if manifest.input.license is not None:
        header["license"] = manifest.input.license
    header["tags"] = list(_TAGS)
    header["configs"] = [
        {
            "config_name": name,
            "data_files": [{"split": split, "path": [record.path for record in files]}],
        }
        for name, (files, _) in configs.items()
    ]
    header["dataset_info"] = [_info(name, split, files, schema) for name, (files, schema) in configs.items()]
    return header


def _info(name: str, split: str, files: tuple[FileRecord, ...], schema: pa.Schema) -> dict[str, Any]:
    from datasets import Features

    size = sum(record.bytes for record in files)
    # datasets wants num_bytes but compares only num_examples; the files' size stands for the Arrow size.
    rows = sum(record.rows for record in files)
    return {
        "config_name": name,
        "features": Features.from_arrow_schema(schema)._to_yaml_list(),
        "splits": [{"name": split, "num_bytes": size, "num_examples": rows}],
        "download_size": size,
        "dataset_size": size,
    }
