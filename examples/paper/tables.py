"""The measurements as markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asr_data.config import MaskConfig
from asr_data.evaluation.sweep import Setting
from asr_data.statistics.bootstrap import Estimate, Measure
from asr_data_cli.setting_text import mask_text
from examples.paper.experiment import CHOSEN, PLAIN, SEGMENTERS, Scored, variances


def finding(scored: Sequence[Scored]) -> str:
    """AUROC of segment rewards within a response, by segmenter."""
    rows = [
        [name, *(_figure(one.judging.estimate(one.by_name[name].measures["segment_auroc"])) for one in scored)]
        for name in SEGMENTERS
    ]
    return _table(["AUROC of segment rewards", *(one.title for one in scored)], rows)


def masking(scored: Sequence[Scored]) -> str:
    """Balanced accuracy of the masks within a response, at the response's own mean."""
    rows = [
        [name, *(_figure(one.judging.estimate(one.by_name[name].measures["balanced_accuracy"])) for one in scored)]
        for name in SEGMENTERS
    ]
    return _table(["balanced accuracy of masks", *(one.title for one in scored)], rows)


def differences(scored: Sequence[Scored], measure: str) -> str:
    """Adaptive segmenters minus tokens and minus steps, paired."""
    rows = []
    for name in SEGMENTERS:
        if name not in PLAIN:
            for plain in ("token", "step"):
                made = [[one.by_name[key].measures[measure] for key in (name, plain)] for one in scored]
                cells = [_signed(one.judging.difference(*two)) for one, two in zip(scored, made, strict=True)]
                rows.append([f"{name} − {plain}", *cells])
    return _table(["", *(one.title for one in scored)], rows)


def chosen(scored: Sequence[Scored], by: str = "balanced_accuracy") -> tuple[str, MaskConfig]:
    """Settings chosen on one part of the prompts, judged on the other; and the best for all data together."""
    rows = []
    for one in scored:
        settings = _on_values(one.everything)
        best = max(settings, key=lambda s, one=one: _on_choosing(one, s.measures[by]))  # type: ignore[misc]
        rows.append(_against(one, best, by, "chosen here"))
    places = range(len(_on_values(scored[0].everything)))
    together = max(places, key=lambda p: sum(_on_choosing(s, _on_values(s.everything)[p].measures[by]) for s in scored))
    for one in scored:
        rows.append(_against(one, _on_values(one.everything)[together], by, "chosen for all"))
    header = ["", "settings", "judged", "− token", "− step", "− schmitt, δ = σ, pair"]
    return _table(header, rows), _on_values(scored[0].everything)[together].mask


def _on_values(settings: Sequence[Setting]) -> list[Setting]:
    """What reads values, which every scorer here has."""
    return [s for s in settings if s.mask.reward == "value"]


def _on_choosing(one: Scored, measure: Measure) -> float:
    value = None if one.choosing is None else one.choosing.of(measure).value()
    return -1.0 if value is None else value


def _against(one: Scored, setting: Setting, by: str, how: str) -> list[str]:
    plain = [one.by_name[name] for name in ("token", "step")]
    default = next(s for s in one.everything if s.mask == _FIRST)
    cells = [_signed(one.judging.difference(setting.measures[by], other.measures[by])) for other in (*plain, default)]
    words = mask_text(setting.mask).replace(" --reward value --segment-reward mean", "")
    return [f"{one.title}, {how}", f"`{words}`", _figure(one.judging.estimate(setting.measures[by])), *cells]


_FIRST = MaskConfig.model_validate({"segmenter": {"kind": "schmitt"}, "baseline": {"kind": "pair"}})
"""The default settings before this experiment."""


def baselines(scored: Sequence[Scored]) -> str:
    """Baselines and segment rewards at the chosen segmenter, and increments at every one."""
    names = {segmenter: name for name, segmenter in SEGMENTERS.items()}
    rows = []
    for mask in (setting.mask for setting in scored[0].everything):
        if mask.segmenter != SEGMENTERS[CHOSEN] and mask.reward == "value":
            continue
        rest = mask_text(mask).split(" --baseline ")[1].replace("--", "")
        words = f"{names[mask.segmenter]}: {rest}"
        cells = [
            _plain(one.judging.of(setting.measures["balanced_accuracy"]).value())
            for one in scored
            for setting in one.everything
            if setting.mask == mask
        ]
        rows.append([words, *cells, *["–"] * (len(scored) - len(cells))])
    return _table(["balanced accuracy of masks", *(one.title for one in scored)], rows)


def errors(scored: Sequence[Scored]) -> str:
    """Eq. 12–14 per token: the first two are the same for every segmenter."""
    rows = []
    for title, key in (("one reward per response (eq. 12)", "err_seq"), ("one reward per token (eq. 13)", "err_tok")):
        values = [one.judging.of(one.by_name["own"].measures[key]).value() for one in scored]
        rows.append([title, *(cell for value in values for cell in ("", _plain(value, 4)))])
    for name in SEGMENTERS:
        cells = []
        for one in scored:
            measures = one.by_name[name].measures
            cells += [_plain(one.judging.of(measures["segments"]).value(), 1)]
            cells += [_plain(one.judging.of(measures["err_seg"]).value(), 4)]
        rows.append([f"{name} (eq. 14)", *cells])
    return _table(["", *(f"{one.title}: {column}" for one in scored for column in ("segments", "error"))], rows)


def pairs(scored: Sequence[Scored]) -> str:
    """Pairs right by the whole response, the mean over steps and the last step (paper, Figure 2)."""
    rows = []
    for one in scored:
        own = one.by_name["own"].measures
        cells = [_figure(one.judging.estimate(own[f"pairs_{how}"])) for how in ("outcome", "mean_step", "last_step")]
        gap = _signed(one.judging.difference(own["pairs_mean_step"], own["pairs_last_step"]))
        rows.append([one.title, f"{own['pairs_outcome'].whole[one.judging.responses].sum():.0f}", *cells, gap])
    return _table(["", "pairs", "whole response", "mean over steps", "last step", "mean − last"], rows)


def spread(scored: Sequence[Scored]) -> str:
    """Variance of rewards by unit (paper, Figure 3)."""
    found = [variances(one) for one in scored]
    rows = [[name, *(f"{each[name]:.4g}" for each in found)] for name in found[0]]  # the scorers' scales differ
    return _table(["variance of the rewards of each", *(one.title for one in scored)], rows)


def _figure(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None:
        return "–"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _signed(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None:
        return "–"
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def _plain(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
