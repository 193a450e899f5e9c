"""What the user asked for of a scorer, beside its settings."""

from __future__ import annotations

from dataclasses import dataclass

from asr_data.config import ScoringConfig
from asr_data.file_hashes import FileHashes
from asr_data.scoring.spread import Spread


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked for beside the model's own settings.

    Attributes:
        name: of the model.
        reason: why it is read as it is.
        scoring: dtype, device, batch budget.
        pickles: whether weights may come from pickle files.
        hub: whether what the model's files name may be fetched from the Hub.
        reference_hub: the same of its reference, which the user may have named.
        cache: whether a dequantised backbone is kept.
        hashes: how the hashes of its files are found.
        spread: over several devices.
    """

    name: str
    reason: str
    scoring: ScoringConfig
    pickles: bool
    hub: bool
    reference_hub: bool
    cache: bool
    hashes: FileHashes
    spread: Spread | None = None
