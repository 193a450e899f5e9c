"""From annotated rows to what a model and a loss take, for a plain training loop. Everything is unshifted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

Side: TypeAlias = Literal["chosen", "rejected", "completion"]

_FLOATS = {"weight": "weights", "ref_logp": "reference_logps"}
"""Optional columns ``S_…`` of numbers, and what they are called in a batch."""


def collate(
    rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
    side: Side | Sequence[Side] = ("chosen", "rejected"),
    *,
    pad_id: int = 0,
    prefix: str = "",
    max_length: int | None = None,
    pad_to_multiple_of: int = 1,
) -> dict[str, Tensor]:
    """Annotated rows as one batch, padded on the right: prompt, response, and what the response is trained on.

    Entry t of every tensor is about token t of ``input_ids``, as in the columns; :func:`token_logps` gives
    log-probabilities in the same places, so that a loop shifts nothing.

    Args:
        rows: rows of the data set (lists, arrays or tensors), or a slice of it, which holds a list for each column.
        side: one response column, or several, whose responses then stand one after the other: the batch of a pair is
            all chosen responses, then all rejected ones, and ``tensor.chunk(2)`` separates them.
        pad_id: id that fills ``input_ids``; it is attended to nowhere and trained on nowhere.
        prefix: what ``--prefix`` was.
        max_length: longer rows (prompt and response) are cut after this many tokens; default: no row is cut.
        pad_to_multiple_of: the batch's time is rounded up to a multiple of this.

    Returns:
        ``[rows · sides, time]`` each: ``input_ids`` and ``attention_mask`` int64; ``valid`` bool, true at the
        response's tokens; ``mask`` bool, true where a token is trained on (never at the first token, which nothing
        predicts). Where the rows have the column, ``weights`` (from ``S_weight``), and where all have it,
        ``reference_logps`` (from ``S_ref_logp``), float32, 0 outside of the response.

    Raises:
        ValueError: no rows, a missing column, a null, a wrong type or length, or weights that some responses lack or
            that are negative, not finite, above 0 where the mask is false, or 0 everywhere although it keeps something;
            naming the row.
    """
    sides = (side,) if isinstance(side, str) else tuple(side)
    listed = list(_each_row(rows) if isinstance(rows, Mapping) else rows)
    if not listed or not sides:
        raise ValueError("a batch needs at least one row and one side")
    if pad_to_multiple_of < 1 or (max_length is not None and max_length < 1):
        raise ValueError(f"max_length {max_length}, pad_to_multiple_of {pad_to_multiple_of}: both are at least 1")
    parts = [_parts(row, one, prefix, f"row {at}") for one in sides for at, row in enumerate(listed)]
    optional = [name for name in _FLOATS.values() if all(name in part for part in parts)]
    if "weights" not in optional and any("weights" in part for part in parts):
        at = next(at for at, part in enumerate(parts) if "weights" not in part)
        column = f"{prefix}{sides[at // len(listed)]}_weight"
        raise ValueError(
            f"row {at % len(listed)}: column {column} is missing or null, and other responses have weights"
        )
    cut = slice(max_length)
    longest = max(len(part["input_ids"][cut]) for part in parts)
    time = -(-longest // pad_to_multiple_of) * pad_to_multiple_of
    batch = {
        "input_ids": torch.full((len(parts), time), pad_id, dtype=torch.int64),
        "attention_mask": torch.zeros(len(parts), time, dtype=torch.int64),
        "valid": torch.zeros(len(parts), time, dtype=torch.bool),
        "mask": torch.zeros(len(parts), time, dtype=torch.bool),
        **{name: torch.zeros(len(parts), time) for name in optional},
    }
    for at, part in enumerate(parts):
        for name, values in batch.items():
            values[at, : len(part["input_ids"][cut])] = part[name][cut]
    batch["mask"][:, 0] = False
    if "weights" in batch:
        batch["weights"] = batch["weights"].where(batch["mask"], torch.zeros(()))
    return batch


def token_logps(logits: Tensor, input_ids: Tensor) -> Tensor:
    """Each token's own log-probability, in the token's place.

    Args:
        logits: float ``[batch, time, vocabulary]``; position t predicts token t + 1.
        input_ids: int64 ``[batch, time]``.

    Returns:
        float32 (float64 for float64) ``[batch, time]``, nats; 0 for the first token, which nothing predicts.

    Raises:
        ValueError: shapes that do not fit.
    """
    if logits.dim() != 3 or logits.shape[:2] != input_ids.shape:
        raise ValueError(f"logits {list(logits.shape)} and input_ids {list(input_ids.shape)} do not match")
    predicting = logits[:, :-1] if logits.dtype == torch.float64 else logits[:, :-1].float()
    logps = predicting.gather(2, input_ids[:, 1:, None])[..., 0] - predicting.logsumexp(dim=2)
    return torch.cat([logps.new_zeros(len(logps), 1), logps], dim=1)


def _each_row(columns: Mapping[str, Sequence[Any]]) -> Iterator[Mapping[str, Any]]:
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _parts(row: Mapping[str, Any], side: str, prefix: str, where: str) -> dict[str, Tensor]:
    """One response with its prompt, unpadded."""
    prompt = _column(row, f"{prefix}prompt_ids", where)
    ids = _column(row, f"{prefix}{side}_ids", where)
    for name, values in (("prompt_ids", prompt), (f"{side}_ids", ids)):
        if len(values) and (values.is_floating_point() or values.dtype == torch.bool or int(values.min()) < 0):
            raise ValueError(f"{where}: {prefix}{name} must hold token ids, whole numbers >= 0")
    mask = _column(row, f"{prefix}{side}_mask", where)
    if len(mask) and mask.dtype != torch.bool:
        raise ValueError(f"{where}: {prefix}{side}_mask is {mask.dtype}; a mask is bool, true: train on this token")
    columns: dict[str, tuple[str, Tensor, float]] = {"mask": (f"{side}_mask", mask.bool(), False)}
    for column, name in _FLOATS.items():
        if row.get(f"{prefix}{side}_{column}") is not None:
            values = _column(row, f"{prefix}{side}_{column}", where).float()
            columns[name] = (f"{side}_{column}", values, 0.0)
    out = {"input_ids": torch.cat([prompt.long(), ids.long()])}
    out["attention_mask"] = torch.ones_like(out["input_ids"])
    out["valid"] = torch.arange(len(out["input_ids"])) >= len(prompt)
    for name, (column, values, fill) in columns.items():
        if len(values) != len(ids):
            raise ValueError(f"{where}: {len(values)} entries in {prefix}{column}, {len(ids)} ids")
        out[name] = torch.cat([values.new_full((len(prompt),), fill), values])
    if "weights" in columns:
        _check_weights(columns["weights"][1], mask, f"{where}: column {prefix}{side}_weight")
    return out


def _check_weights(weights: Tensor, mask: Tensor, where: str) -> None:
    """Finite, at least 0, 0 where the mask is false, and not all 0 where it keeps something."""
    for wrong, what in (
        (~weights.isfinite() | (weights < 0), "weights are finite and at least 0"),
        (~mask & (weights > 0), "the mask is false there, so it must be 0"),
    ):
        if bool(wrong.any()):
            at = int(wrong.nonzero()[0])
            raise ValueError(f"{where} is {float(weights[at]):g} at token {at}; {what}")
    if bool(mask.any()) and not bool(weights.any()):
        raise ValueError(f"{where} is 0 at every token, and the mask keeps some")


def _column(row: Mapping[str, Any], name: str, where: str) -> Tensor:
    if row.get(name) is None:
        state = "is null" if name in row else f"is missing; there are {', '.join(map(str, row))}"
        raise ValueError(f"{where}: column {name} {state}")
    try:
        values = torch.as_tensor(row[name]).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{where}: column {name} is not a list of numbers: {error}") from error
    if values.dim() != 1:
        raise ValueError(f"{where}: column {name} has shape {list(values.shape)}; it must be one list")
    return values
