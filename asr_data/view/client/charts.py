"""The page's charts, in Vega-Lite: compiled here to Vega, drawn in the browser when they come into view.

Colours stand in the style sheet: Vega names the group of each layer, and a rule of CSS outweighs the attributes that it
sets. So charts follow light and dark without being drawn again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from asr_data.errors import MissingDependencyError
from asr_data.types import Side

CURVE_HEIGHT: Final = 64
DISTRIBUTION_HEIGHT: Final = 130

_DRAW: Final = """
globalThis.drawChart = (element, spec) => vegaEmbed(element, spec, {
  mode: "vega", ast: true, renderer: "svg", actions: false, tooltip: false, hover: false, defaultStyle: false,
});
"""
"""``ast`` interprets expressions. Vega would otherwise compile them from text, which the page's policy forbids."""

_CONFIG: Final[dict[str, Any]] = {
    "background": None,
    "font": "inherit",
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "grid": True,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelPadding": 6,
    },
}


_SIGNALS: Final = {"cursor": -1, "count": 1, "low": 0, "high": 1}


@cache
def chart_library() -> str:
    """The JavaScript that draws: Vega and what it needs, as one script that can stand inside a page.

    Raises:
        MissingDependencyError: vl-convert is not installed.
    """
    # What stands inside a script element must neither end it nor open a comment. Only in JavaScript's texts and
    # patterns could these stand, and there a backslash before / or ! changes nothing.
    library = str(_vl_convert().javascript_bundle(_DRAW))
    return re.sub(r"<(/script|!--)", r"<\\\1", library, flags=re.IGNORECASE)


@cache
def curve_chart() -> dict[str, Any]:
    """The reward curve of one response, without data.

    Data sets: ``tokens`` (t, r), ``segments`` (a, z, r, kept: from, to, segment reward) and ``level`` (b, low, high).
    The signals ``count``, ``low`` and ``high`` say what the axes cover, and ``cursor`` the token that is marked, −1 for
    none.
    """
    across = {"domain": [-0.5, {"expr": "count - 0.5"}], "nice": False}
    x = {"type": "quantitative", "axis": None, "scale": across}
    y = {
        "type": "quantitative",
        "axis": {"tickCount": 3, "title": None, "grid": False, "minExtent": 34, "maxExtent": 34},
        "scale": {"domain": [{"expr": "low"}, {"expr": "high"}], "nice": False, "padding": 4},
    }
    layers = [
        _layer("band", "level", "rect", y={"field": "low", **y}, y2={"field": "high"}),
        _layer("baseline", "level", "rule", y={"field": "b", **y}),
        _layer("reward", "tokens", _line("step"), x={"field": "t", **x}, y={"field": "r", **y}),
        *(
            {**_segment_layer(name, x, y), "transform": [{"filter": f"datum.kept === {kept}"}]}
            for name, kept in (("kept", "true"), ("dropped", "false"))
        ),
        {
            **_layer("cursor", "tokens", "rule", x={"field": "t", **x}),
            "transform": [{"filter": "datum.t === cursor"}],
        },
    ]
    return _vega(
        {
            "height": CURVE_HEIGHT,
            "width": 400,
            "padding": {"left": 0, "right": 4, "top": 4, "bottom": 4},
            "autosize": {"type": "fit-x", "contains": "padding"},
            "params": [{"name": name, "value": value} for name, value in _SIGNALS.items()],
            "datasets": {"tokens": [], "segments": [], "level": []},
            "layer": layers,
        }
    )


@cache
def distribution_chart(title: str, x_format: str, sides: Sequence[Side]) -> dict[str, Any]:
    """Shares of each side over bins, without data: the data set ``bins`` (side, x, share).

    Args:
        title: of the horizontal axis.
        x_format: how numbers on it are written, in d3's language.
        sides: those that there are.
    """
    return _vega(
        {
            "height": DISTRIBUTION_HEIGHT,
            "width": 400,
            "padding": {"left": 0, "right": 8, "top": 6, "bottom": 0},
            "autosize": {"type": "fit-x", "contains": "padding"},
            "datasets": {"bins": []},
            "layer": [
                {
                    **_layer(
                        side,
                        "bins",
                        _line("step-after"),
                        x={
                            "field": "x",
                            "type": "quantitative",
                            "title": title,
                            "axis": {"format": x_format, "tickCount": 6, "grid": False},
                            "scale": {"nice": False, "zero": False},
                        },
                        y={
                            "field": "share",
                            "type": "quantitative",
                            "title": None,
                            "axis": {"format": ".0%", "tickCount": 4, "minExtent": 34},
                        },
                    ),
                    "transform": [{"filter": f"datum.side === '{side}'"}],
                }
                for side in sides
            ],
        }
    )


def _segment_layer(name: str, x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    return _layer(name, "segments", "rule", x={"field": "a", **x}, x2={"field": "z"}, y={"field": "r", **y})


def _layer(name: str, data: str, mark: str | dict[str, Any], **encoding: Any) -> dict[str, Any]:
    return {"name": name, "data": {"name": data}, "mark": mark, "encoding": encoding}


def _line(interpolate: str) -> dict[str, Any]:
    return {"type": "line", "interpolate": interpolate, "invalid": "break-paths-show-domains"}


def _vega(chart: dict[str, Any]) -> dict[str, Any]:
    return dict(_vl_convert().vegalite_to_vega({**chart, "config": _CONFIG}))


def _vl_convert() -> Any:
    try:
        import vl_convert
    except ImportError as error:
        raise MissingDependencyError("vl-convert-python", "the report", "pip install 'asr-data[report]'") from error
    return vl_convert
