"""The harness itself: blocks that do not run are found, and so are those that nobody can run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tests.docs.blocks
from tests.docs.blocks import PageRunner, blocks_of, commands, redirected

PAGE = """\
Text.

```python
number = 1
```

<!-- not run: it
would take a week -->

```sh
asr-annotate run pairs.jsonl \\
  -o out  # a comment
# another
asr-annotate inspect "out dir" > sample.txt
```
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "page.md"
        path.write_text(text, encoding="utf-8")
        return path

    monkeypatch.setattr(tests.docs.blocks, "ROOT", tmp_path)
    return write


def test_blocks_with_place_and_reason(page: Callable[[str], Path]) -> None:
    first, second = blocks_of(page(PAGE))
    assert (first.language, first.text, first.reason) == ("python", "number = 1\n", None)
    assert (second.place, second.reason) == ("page.md, line 10", "it\nwould take a week")
    assert list(commands(second)) == [
        ["asr-annotate", "run", "pairs.jsonl", "-o", "out"],
        ["asr-annotate", "inspect", "out dir", ">", "sample.txt"],
    ]
    assert redirected(["inspect", "a", ">", "b"]) == (["inspect", "a"], "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```sh\nrm -rf /\n```\n", "page.md, line 1: rm cannot be run by the tests"),
        ("```sh\nasr-annotate validate nowhere\n```\n", "asr-annotate validate nowhere"),
        ("```cobol\nSTOP RUN.\n```\n", "nobody knows how to run 'cobol'"),
    ],
)
def test_what_does_not_run_is_said(text: str, message: str, page: Callable[[str], Path]) -> None:
    (block,) = blocks_of(page(text))
    with pytest.raises(AssertionError, match=message):
        PageRunner(lambda name, value: None).run(block)


def test_python_blocks_of_a_page_share_their_names(page: Callable[[str], Path]) -> None:
    runner = PageRunner(lambda name, value: None)
    for block in blocks_of(page("```python\na = 1\n```\n\n```python\nb = a + 1\n```\n")):
        runner.run(block)
    assert runner.names["b"] == 2
