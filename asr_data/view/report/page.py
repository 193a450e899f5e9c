"""The report: one HTML file with everything in it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from asr_data.errors import ConfigError, OutputExistsError, StorageError
from asr_data.storage import AnnotatedDirectory, Manifest
from asr_data.storage.commit import commit_bytes
from asr_data.text import Tokenizer
from asr_data.types import Side
from asr_data.view.client import content_policy, environment, own_file, script, style
from asr_data.view.client.charts import chart_library, curve_chart, distribution_chart
from asr_data.view.client.rows import colour_spread, page_rows
from asr_data.view.escape import visible
from asr_data.view.gold import gold_reader
from asr_data.view.model import row_views
from asr_data.view.reading import AnnotatedRow, require_segments, require_showable, rows_by_index, showable_sample
from asr_data.view.report.figures import ReportFigures, SideFigures, figures_of, reward_bins, segment_bins, share_bins
from asr_data_schemas import NOTE_CODES, REJECT_CODES

DEFAULT_ROWS: Final = 500
SHOWN_REJECTS: Final = 100


@dataclass(frozen=True, slots=True)
class Report:
    """A written report: its path, the rows shown, the rows there are, and its size in bytes."""

    path: Path
    rows: int
    of: int
    size: int


def write_report(
    annotated: AnnotatedDirectory,
    path: Path,
    *,
    tokenizer: Tokenizer | None,
    rows: Sequence[int] | None = None,
    sample: int = DEFAULT_ROWS,
    seed: int = 0,
    gold: str | None = None,
    overwrite: bool = False,
) -> Report:
    """Write a report on an annotated directory: figures over all of it, and rows to look at.

    Args:
        annotated: the directory.
        path: the HTML file.
        tokenizer: the one that the masks are for, which knows the text of each token; None tints whole segments.
        rows: ``asr_row`` of the rows to show; None draws a sample.
        sample: how many rows are drawn; all where there are no more.
        seed: of the sample.
        gold: gold labels to underline, as :func:`asr_data.view.gold.gold_reader` takes them.
        overwrite: replace a file that is there.

    Raises:
        ConfigError: the tokenizer is not that of the masks, or ``gold`` is invalid.
        MissingDependencyError: the extra ``report`` is not installed.
        InputError: there are no segments yet, or no such row, or one that was asked for is too long to be shown.
        OutputExistsError: the file is there.
        StorageError: it cannot be written.
    """
    require_segments(annotated)
    record = annotated.manifest.tokenizer
    if tokenizer is not None and record is not None and tokenizer.fingerprint != record.fingerprint:
        raise ConfigError(f"tokenizer {tokenizer.name!r} is not {record.name!r}, which the masks are for")
    if tokenizer is not None:
        tokenizer.date = annotated.manifest.plan.template_date
    if path.is_dir() or (path.exists() and not overwrite):
        raise OutputExistsError(f"{path} is there already; --overwrite replaces a file")
    library = chart_library()
    reader = gold_reader(annotated, gold)
    left_out = 0
    if rows is None:
        chosen, left_out = showable_sample(annotated, sample, seed)
    else:
        chosen = rows_by_index(annotated, rows)
        require_showable(chosen)
    views = row_views(annotated, chosen, reader)
    prefix = annotated.manifest.prefix
    data = {
        "unit": "segment" if tokenizer is None else "token",
        "sides": annotated.manifest.sides,
        "spread": colour_spread(views, chosen, prefix),
        "centre": _centre(chosen, annotated.manifest),
        "rows": page_rows(views, chosen, tokenizer, prefix),
    }
    how = "chosen by their number" if rows is not None else f"drawn at random (seed {seed})"
    how += f", without {left_out:,} that are too long to be shown" if left_out else ""
    figures = figures_of(annotated)
    content = _render(annotated, figures, data, _how_many(len(chosen), annotated.manifest, how), library)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        commit_bytes(path, content.encode())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {os.strerror(error.errno or 0)}") from error
    return Report(path, len(chosen), annotated.manifest.counts.annotated, path.stat().st_size)


def _centre(rows: Sequence[AnnotatedRow], manifest: Manifest) -> float:
    """What stands in for baselines that are not known: the middle sequence reward of these rows."""
    names = [f"{manifest.prefix}{side}_reward" for side in manifest.sides]
    known = sorted(one.columns[name] for one in rows for name in names if one.columns[name] is not None)
    return float(known[len(known) // 2]) if known else 0.0


def _how_many(shown: int, manifest: Manifest, how: str) -> str:
    total = manifest.counts.annotated
    if shown == total:
        return f"All {total:,} annotated rows."
    return f"{shown:,} of {total:,} annotated rows, {how}. Figures above are of all rows."


# --- the page --------------------------------------------------------------------------------------------


def _render(
    annotated: AnnotatedDirectory, figures: ReportFigures, data: Mapping[str, Any], shown: str, library: str
) -> str:
    from markupsafe import Markup

    manifest = annotated.manifest
    overview = _charts(figures)
    charts = {
        "curve": curve_chart(),
        "overview": {chart["name"]: {"chart": chart["chart"], "bins": chart["bins"]} for chart in overview},
    }
    look, scripts = style(), [library, script("rows.js"), own_file("asr_data.view.report", "page.js")]
    rejects = list(islice(annotated.rejects(), SHOWN_REJECTS))
    return str(
        environment("asr_data.view.report")
        .get_template("page.html.jinja")
        .render(
            policy=content_policy(scripts, [look]),
            # The only values that are not escaped: files of ours and the library.
            style=Markup(look),  # noqa: S704
            scripts=[Markup(one) for one in scripts],  # noqa: S704
            title=visible(Path(manifest.input.description).name or manifest.input.description),
            manifest=manifest,
            headline=_headline(manifest, figures),
            sides=_side_rows(manifest, figures),
            charts=overview,
            errors={name: f"{value:.4g}" for name, value in figures.errors.per_token().items()},
            codes=_code_tables(manifest),
            rejects=rejects,
            rejects_left=manifest.counts.rejected - len(rejects),
            facts=_facts(manifest),
            settings=_settings(manifest),
            shown=shown,
            band=manifest.mask is not None and manifest.mask.segmenter.kind == "schmitt",
            unit=data["unit"],
            data={**data, "charts": charts},
        )
    )


# --- what the overview says ------------------------------------------------------------------------------


def _headline(manifest: Manifest, figures: ReportFigures) -> list[tuple[str, str, str]]:
    counts = manifest.counts
    sides = figures.sides.items()
    return [
        ("Rows", f"{counts.rows:,}", ""),
        ("Annotated", f"{counts.annotated:,}", f"{counts.rejected:,} rejected"),
        *((f"Kept of {side}", _share(one.kept_tokens, one.tokens), "of tokens") for side, one in sides),
        *_weight_lines(manifest, figures),
        ("Segments", _per(sum(o.segments for _, o in sides), sum(o.responses for _, o in sides)), "per response"),
        ("Noise σ", f"{manifest.statistics['sigma']:.3g}" if "sigma" in manifest.statistics else "–", "of rewards"),
    ]


def _weight_lines(manifest: Manifest, figures: ReportFigures) -> list[tuple[str, str, str]]:
    """Mean weight of the kept tokens of each side, where the rows have weights."""
    if manifest.mask is None or not manifest.mask.has_weights:
        return []
    sums = {side: manifest.statistics.get(f"{side}_weight_sum", 0.0) for side in figures.sides}
    kind = manifest.mask.weights.kind
    return [
        (f"Weight of {side}", f"{sums[side] / one.kept_tokens:.3f}" if one.kept_tokens else "–", f"mean, by {kind}")
        for side, one in figures.sides.items()
    ]


def _side_rows(manifest: Manifest, figures: ReportFigures) -> list[dict[str, str]]:
    return [_side_row(side, one, manifest) for side, one in figures.sides.items()]


def _side_row(side: Side, one: SideFigures, manifest: Manifest) -> dict[str, str]:
    known = one.responses - manifest.statistics.get(f"{side}_unknown_responses", 0.0)
    total = manifest.statistics.get(f"{side}_reward_sum")
    return {
        "side": side,
        "responses": f"{one.responses:,}",
        "tokens": f"{one.tokens:,}",
        "kept_tokens": _share(one.kept_tokens, one.tokens),
        "segments": f"{one.segments:,}",
        "per_response": _per(one.segments, one.responses),
        "kept_segments": _share(one.kept_segments, one.segments),
        "mean_reward": "–" if total is None or not known else f"{total / known:.3f}",
    }


def _charts(figures: ReportFigures) -> list[dict[str, Any]]:
    sides = figures.sides
    token = reward_bins({side: one.token_rewards for side, one in sides.items()})
    segment = reward_bins({side: one.segment_rewards for side, one in sides.items()})
    described = [
        ("tokens", "Token rewards", "share of tokens", "reward", "~g", token),
        ("segments", "Segment rewards", "share of segments", "reward", "~g", segment),
        ("kept", "Kept", "share of responses", "share of the response’s tokens", ".0%", share_bins(sides)),
        ("number", "Segments", "share of responses", "segments per response", "~d", segment_bins(sides)),
    ]
    return [
        {
            "name": name,
            "title": title,
            "remark": remark,
            "chart": distribution_chart(axis, x_format, tuple(sides)),
            "bins": bins,
        }
        for name, title, remark, axis, x_format, bins in described
    ]


def _code_tables(manifest: Manifest) -> list[dict[str, Any]]:
    counts = manifest.counts
    tables = (
        ("Notes", "No row has a note.", counts.notes, NOTE_CODES),
        ("Rejects", "No row was rejected.", counts.rejects, REJECT_CODES),
    )
    return [
        {
            "title": title,
            "none": none,
            "rows": [
                (code, f"{number:,}", codes.get(code.partition(":")[0], "")) for code, number in sorted(found.items())
            ],
        }
        for title, none, found, codes in tables
    ]


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    tokenizer = manifest.tokenizer
    return [
        ("Input", manifest.input.description),
        ("Input, hash", manifest.input.fingerprint),
        ("Scorer", f"{manifest.scorer.name} ({manifest.scorer.kind}, gives {manifest.scorer.form}s)"),
        ("Scorer, hash", manifest.scorer.fingerprint),
        *([] if tokenizer is None else [("Tokenizer", tokenizer.name), ("Tokenizer, hash", tokenizer.fingerprint)]),
        ("Run", manifest.run_id),
        ("Versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
    ]


def _settings(manifest: Manifest) -> str:
    settings = manifest.model_dump(mode="json", include={"mask", "scoring", "output"}, exclude_none=True)
    return json.dumps({**settings, "scorer": manifest.scorer.settings}, indent=2, ensure_ascii=False)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _per(part: int, whole: int) -> str:
    return f"{part / whole:.1f}" if whole else "–"
