from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from asr_data.errors import ConfigError, InputError, MissingDependencyError, OutputExistsError, StorageError
from asr_data.view.client.charts import chart_library
from asr_data.view.report import write_report


class Page(HTMLParser):
    """A page's elements, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._inside = False
        self.feed(text)
        self.scripts = [(attributes, "".join(parts)) for tag, attributes, parts in self.texts if tag == "script"]
        self.styles = ["".join(parts) for tag, _, parts in self.texts if tag == "style"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag in ("script", "style")
        if self._inside:
            self.texts.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1][2].append(data)

    def data(self) -> Any:
        (text,) = [text for attributes, text in self.scripts if attributes.get("id") == "data"]
        return json.loads(text)


@pytest.fixture
def report(annotate: Any, make_tokenizer: Any, tmp_path: Path) -> Any:
    """``report(pairs, annotated, **options)``: a page on these pairs, or on a directory."""

    def make(pairs: Any = None, annotated: Any = None, **options: Any) -> Page:
        annotated = annotated or (annotate() if pairs is None else annotate(pairs))
        path = tmp_path / "report.html"
        write_report(annotated, path, **{"tokenizer": make_tokenizer(), "overwrite": True} | options)
        return Page(path.read_text(encoding="utf-8"))

    return make


def test_the_policy_allows_what_is_there_and_nothing_else(report: Any) -> None:
    page = report()
    (policy,) = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed.pop("default-src") == "'none'"

    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    run = [text for attributes, text in page.scripts if attributes.get("type") != "application/json"]
    assert allowed.pop("script-src").split() == [source(text) for text in run]
    assert allowed.pop("style-src").split() == [source(text) for text in page.styles]
    assert allowed == {"img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    outside = [(tag, a) for tag, a in page.elements for name in ("src", "href", "style", "onclick") if name in a]
    assert {(tag, a["href"]) for tag, a in outside} == {("link", "data:,"), ("a", "#rows")}


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "\u2028\u2029 ' \" & < > `",
]


def hostile_rows() -> list[dict[str, Any]]:
    return [
        {
            "prompt": [{"role": "user", "content": f"Q {text}"}],
            "chosen": [{"role": "assistant", "content": f"Yes {text} so."}],
            "rejected": [{"role": "assistant", "content": f"No {text} so."}],
            "faults": [{"start": 0, "end": 2, "type": text}],
        }
        for text in HOSTILE
    ]


def test_text_of_the_data_never_becomes_markup(report: Any) -> None:
    plain, page = report(hostile_rows()[3:]), report(hostile_rows(), gold="chosen=faults")
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert page.scripts[1:] == plain.scripts[1:]
    rows = page.data()["rows"]
    assert [row["prompt"] for row in rows][:4] == [f"user: Q {text}" for text in HOSTILE[:4]]
    assert rows[4]["prompt"] == "user: Q <U+2028><U+2029> ' \" & < > `"
    assert rows[0]["sides"][0]["gold"][0][0] == HOSTILE[0]


def test_markup_in_what_the_manifest_says_is_text(report: Any, annotate: Any) -> None:
    annotated = annotate()
    scorer = annotated.manifest.scorer.model_copy(update={"name": "<b>x</b>", "settings": {"<i>": "</pre>"}})
    annotated.manifest = annotated.manifest.model_copy(update={"scorer": scorer})
    page = report(annotated=annotated)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in report().elements]


def test_the_library_cannot_end_its_element() -> None:
    assert not re.search("</script|<!--", chart_library(), flags=re.IGNORECASE)


def test_a_sample_says_of_how_many(report: Any, tmp_path: Path) -> None:
    assert len(report(sample=2, seed=3).data()["rows"]) == 2
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "2 of 4 annotated rows, drawn at random (seed 3). Figures above are of all rows." in text
    assert [row["row"] for row in report(rows=[4, 0]).data()["rows"]] == [4, 0]
    report()
    assert "All 4 annotated rows." in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_overview_has_the_counts_and_the_reasons(report: Any, tmp_path: Path) -> None:
    report()
    text = re.sub("<[^>]+>|\\s+", " ", (tmp_path / "report.html").read_text(encoding="utf-8").partition("<script")[0])
    text = re.sub(" +", " ", text)
    assert "Rows 5 Annotated 4 1 rejected" in text
    assert "empty_response 1 a response is empty" in text
    assert "3 empty_response rejected is empty" in text


def test_a_report_without_a_row(report: Any, annotate: Any) -> None:
    rows = [
        {"prompt": [{"role": "user", "content": "Q"}]}
        | {side: [{"role": "assistant", "content": " "}] for side in ("chosen", "rejected")}
    ]
    assert report(annotated=annotate(rows)).data()["rows"] == []


def test_what_cannot_be_written(report: Any, annotate: Any, make_tokenizer: Any, tmp_path: Path) -> None:
    annotated, tokenizer = annotate(), make_tokenizer()
    path = tmp_path / "there.html"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(OutputExistsError, match=r"there.html is there already; --overwrite"):
        write_report(annotated, path, tokenizer=tokenizer)
    with pytest.raises(OutputExistsError, match="is there already"):
        write_report(annotated, tmp_path, tokenizer=tokenizer, overwrite=True)
    with pytest.raises(StorageError, match=r"there.html/r.html: cannot be written: File exists"):
        write_report(annotated, path / "r.html", tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="tokenizer 'nfkc' is not 'byte_level', which the masks are for"):
        write_report(annotated, tmp_path / "r.html", tokenizer=make_tokenizer("nfkc"))
    with pytest.raises(InputError, match="there is no row 7"):
        write_report(annotated, tmp_path / "r.html", tokenizer=tokenizer, rows=[7])
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_missing_package_is_named_with_the_command(
    annotate: Any, make_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    chart_library.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"vl-convert-python.*pip install 'asr-data\[report\]'"):
        write_report(annotate(), tmp_path / "r.html", tokenizer=make_tokenizer())
