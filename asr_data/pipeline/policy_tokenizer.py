"""The policy tokenizer that a finished directory was made with."""

from __future__ import annotations

from asr_data.errors import ConfigError
from asr_data.storage.manifest import Manifest
from asr_data.text.tokenizer import Tokenizer, load_tokenizer


def recorded_tokenizer(manifest: Manifest) -> Tokenizer:
    """The policy tokenizer that a directory was made with, or its scorer's own.

    Raises:
        ConfigError: there is none, or its name now leads to a different one.
    """
    record = manifest.tokenizer
    if record is None:
        raise ConfigError("this scorer has no tokenizer of its own; name the policy's with --tokenizer")
    # The name was typed by whoever made the directory, who may be a stranger.
    if record.name in (manifest.scorer.name, "builtin"):
        from asr_data.scoring.load import load_scorer_tokenizer

        tokenizer = load_scorer_tokenizer(record.name, hub=False)
    else:
        tokenizer = load_tokenizer(record.name, hub=False)
    if tokenizer.fingerprint != record.fingerprint:
        raise ConfigError(f"tokenizer {record.name!r} is not the one used before; name that one with --tokenizer")
    tokenizer.date = manifest.plan.template_date
    return tokenizer
