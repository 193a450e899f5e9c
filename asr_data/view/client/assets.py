"""Files that stand inside a page, and the Content-Security-Policy that lets them run and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from asr_data.view.escape import visible


@cache
def own_file(package: str, name: str) -> str:
    """The text of a file that is part of this package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def script(name: str) -> str:
    """A script that pages share: ``rows.js`` draws responses, with their segments, values and curves."""
    return own_file("asr_data.view.client", name)


def style() -> str:
    """The style sheet of all pages."""
    return own_file("asr_data.view.client", "page.css")


def content_policy(scripts: Sequence[str], styles: Sequence[str], *, own: str | None = None) -> str:
    """A Content-Security-Policy under which these scripts and styles run, and nothing else does or is fetched.

    Args:
        scripts: texts of the script elements.
        styles: texts of the style elements.
        own: the server that scripts may ask, and that scripts of files of their own may come from; None for nothing.
    """
    run = [*([] if own is None else [own]), *map(_hash, scripts)]
    return (
        f"default-src 'none'; script-src {' '.join(run)}; style-src {' '.join(map(_hash, styles))}; "
        f"img-src data:; base-uri 'none'; form-action 'none'" + ("" if own is None else f"; connect-src {own}")
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def environment(package: str) -> Any:
    """Templates of a package and of this one; every value is escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("asr_data.view.client", ".")]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    made.filters["visible"] = visible
    # jinja's tojson writes <, >, & and ' as escapes, so that no text can end the script element.
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
    return made
