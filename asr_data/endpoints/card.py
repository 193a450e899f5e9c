"""The header of the cards of outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from asr_data.storage import FileRecord


def card_header(files: Mapping[str, FileRecord], schemas: Mapping[str, pa.Schema], tags: Sequence[str]) -> str:
    """The YAML header of a data set's card, which names its configs, so that ``datasets`` infers nothing.

    Args:
        files: config to file.
        schemas: config to schema.
        tags: of the card.
    """
    from datasets import Features
    from huggingface_hub import DatasetCardData

    configs = [
        {"config_name": name, "data_files": [{"split": "train", "path": record.path}]} for name, record in files.items()
    ]
    info = [
        {
            "config_name": name,
            "features": Features.from_arrow_schema(schemas[name])._to_yaml_list(),
            "splits": [{"name": "train", "num_bytes": record.bytes, "num_examples": record.rows}],
            "download_size": record.bytes,
            "dataset_size": record.bytes,
        }
        for name, record in files.items()
    ]
    header: dict[str, Any] = {
        "tags": ["asr-data", *tags],
        "configs": configs,
        "dataset_info": info,
    }
    return f"{DatasetCardData(**header).to_yaml()}\n"
