"""What ``datasets`` says of columns beyond their Arrow types: class names, images, audio.

It travels as JSON in the metadata of Arrow schemas, under the key that ``datasets`` reads and writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa

from asr_data.errors import InputError

METADATA_KEY: Final = b"huggingface"
_IMPLIED: Final = frozenset({"Value", "List", "LargeList", "Sequence"})
"""Features that the Arrow type says, too, unless another one is inside."""


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """Column → feature, as ``datasets`` writes it, of the columns whose Arrow type does not say it all."""
    text = (schema.metadata or {}).get(METADATA_KEY)
    return {} if text is None else dict(_parsed(text))


def with_features(schema: pa.Schema, features: Mapping[str, Any]) -> pa.Schema:
    """The schema with these features as its only metadata; without any where there are none of its columns."""
    names = [name for name in sorted(features) if name in schema.names and not _is_implied(features[name])]
    kept = {name: features[name] for name in names}
    if not kept:
        return schema.remove_metadata()
    text = json.dumps({"info": {"features": kept}}, sort_keys=True)
    return schema.with_metadata({METADATA_KEY: text.encode()})


def joined_features(schemas: Sequence[tuple[str, pa.Schema]]) -> dict[str, Any]:
    """The features of several files.

    Args:
        schemas: ``(file, schema)`` in order.

    Raises:
        InputError: two files disagree on a column, such as on the order of its classes.
    """
    joined: dict[str, tuple[str, Any]] = {}
    for place, schema in schemas:
        features = features_of(schema)
        for name in (field.name for field in schema if not pa.types.is_null(field.type)):
            feature = features.get(name)
            first, before = joined.setdefault(name, (place, feature))
            if before != feature:
                raise InputError(
                    f"column {name!r} has other features in {first} than in {place}: {json.dumps(before)[:200]} and "
                    f"{json.dumps(feature)[:200]}; the files of one split must agree"
                )
    return {name: feature for name, (_, feature) in joined.items() if feature is not None}


def with_card_features(schema: pa.Schema, card: Mapping[str, Any], place: str) -> pa.Schema:
    """The schema with the features of a dataset card, too, where files and card do not contradict each other.

    Raises:
        InputError: they do.
    """
    features = features_of(schema)
    for name, feature in card.items():
        if features.get(name, feature) != feature and not _is_implied(feature):
            raise InputError(f"{place}: the dataset card disagrees with the files about column {name!r}")
    return with_features(schema, {**card, **features})


def known_features(schema: pa.Schema) -> tuple[pa.Schema, list[str]]:
    """The schema without features that ``datasets`` does not know or that are of another type; and a line for each."""
    features = features_of(schema)
    if not features:
        return schema, []
    from datasets import Features

    left_out = []
    for name in sorted(features):
        try:
            kind = Features.from_dict({name: features[name]}).arrow_schema.field(name).type
        except Exception as error:
            left_out.append(f"column {name!r}: its feature is unknown to datasets and is left out: {error}")
            del features[name]
        else:
            if kind != schema.field(name).type and class_names(schema, name) is None:
                left_out.append(f"column {name!r}: its feature is for {kind} and is left out")
                del features[name]
    return with_features(schema, features), left_out


def class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """The class names of a column of integers, in the order of the integers; None where it has none."""
    feature = features_of(schema).get(column) if schema.metadata else None
    is_class = isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel"
    names = feature.get("names") if isinstance(feature, Mapping) and is_class else None
    known = isinstance(names, list) and pa.types.is_integer(schema.field(column).type)
    return [str(name) for name in names] if known and names else None


def read_as(schema: pa.Schema) -> pa.Schema:
    """The types of values in records: class labels are texts (their names), and so is JSON."""
    return pa.schema(
        [
            pa.field(field.name, pa.string()) if _is_text(schema, field) else pa.field(field.name, field.type)
            for field in schema
        ]
    )


def _is_text(schema: pa.Schema, field: pa.Field[Any]) -> bool:
    is_json = isinstance(field.type, pa.BaseExtensionType) and field.type.extension_name == "arrow.json"
    return is_json or class_names(schema, field.name) is not None


@lru_cache(maxsize=16)
def _parsed(text: bytes) -> dict[str, Any]:
    """Anyone can write such metadata: what is not a table of features is ignored."""
    try:
        features = json.loads(text)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {str(name): feature for name, feature in features.items() if not _is_implied(feature)}


def _is_implied(feature: Any) -> bool:
    if isinstance(feature, list):
        return all(map(_is_implied, feature))
    if not isinstance(feature, Mapping):
        return True
    kind = feature.get("_type")
    if isinstance(kind, str):
        return kind in _IMPLIED and _is_implied(feature.get("feature"))
    return all(map(_is_implied, feature.values()))
