"""How soon a report is on the screen, measured in headless Chromium, as markdown.

    asr-annotate report DIR -o report.html
    python -m benchmarks.report report.html

Times are from the start of navigation, by the page's own clock, the median of five loads of a fresh browser each.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

LOADS = 5


def load(playwright: Any, path: Path) -> dict[str, float]:
    """Milliseconds until the first paint, all rows, the first row with its curves, and what it takes to filter."""
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.resolve().as_uri(), wait_until="commit")
    page.wait_for_selector("article", state="attached")
    rows = page.evaluate("performance.now()")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    started = page.evaluate("performance.now()")
    page.evaluate("document.querySelector('article').scrollIntoView()")
    page.wait_for_selector("article .side:last-child svg")
    curves = page.evaluate("performance.now()") - started
    filtering = page.evaluate(
        "() => { const start = performance.now(); const box = document.querySelector('input[type=search]');"
        "box.value = 'the'; box.dispatchEvent(new Event('input', { bubbles: true }));"
        "document.body.offsetHeight; return performance.now() - start; }"
    )
    browser.close()
    return {
        "first paint": paint,
        "all rows there": rows,
        "a row scrolled to, with its curves": curves,
        "filter by text": filtering,
    }


def main() -> None:
    """Measure the report that is named."""
    path = Path(sys.argv[1])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        version = browser.version
        browser.close()
        loads = [load(playwright, path) for _ in range(LOADS)]
    sys.stdout.write(f"Chromium {version}, {path.stat().st_size / 1e6:.1f} MB\n\n| | ms |\n|---|---:|\n")
    for name in loads[0]:
        sys.stdout.write(f"| {name} | {statistics.median(one[name] for one in loads):.0f} |\n")


if __name__ == "__main__":
    main()
