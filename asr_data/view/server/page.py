"""The page as it is sent: markup, styles and scripts in one answer, and the policy that lets them run."""

from __future__ import annotations

from typing import Any, Final

from asr_data.view.client import content_policy, environment, own_file, script, style
from asr_data.view.escape import visible
from asr_data.view.server.session import Session

PACKAGE: Final = "asr_data.view.server"
SCRIPTS: Final = ("ask.js", "look.js", "settings.js", "words.js", "label.js")
"""Our own scripts, in the order in which they run."""


def render(session: Session) -> tuple[str, str]:
    """The page, and its Content-Security-Policy. What draws the curves is asked for when the first rows are there."""
    from markupsafe import Markup

    styles = [style(), own_file(PACKAGE, "view.css")]
    scripts = [script("rows.js"), *(own_file(PACKAGE, name) for name in SCRIPTS)]
    policy = content_policy(scripts, styles, own="'self'") + "; frame-ancestors 'none'"
    first = session.viewed[0].annotated.manifest
    facts: dict[str, Any] = session.facts()
    page = (
        environment(PACKAGE)
        .get_template("page.html.jinja")
        .render(
            # The only values that are not escaped: files of ours and the library.
            styles=[Markup(one) for one in styles],  # noqa: S704
            scripts=[Markup(one) for one in scripts],  # noqa: S704
            title=visible(first.input.description.rstrip("/").rpartition("/")[2] or first.input.description),
            manifest=first,
            names=[visible(one.name) for one in session.viewed],
            unit=facts["frames"][0]["unit"] if facts["ready"] else "token",
            band=any(
                (frame["settings"] or {}).get("segmenter", {}).get("kind") == "schmitt" for frame in facts["frames"]
            ),
            data=facts,
        )
    )
    return str(page), policy
