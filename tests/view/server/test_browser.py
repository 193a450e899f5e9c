"""The page in Chromium. The fixture ``open_view`` also checks that the console is clean and nobody else is asked."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest

from asr_data.config import MaskConfig, Token

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


def pair(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        **more,
    }


def test_charts_that_cannot_be_drawn(
    annotate: Any, serve: Any, open_view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise OSError("no memory")

    monkeypatch.setattr("asr_data.view.server.charts.made_elsewhere", broken)
    page = open_view(serve(annotate()))
    page.wait_for_selector("#trouble:not([hidden])")
    assert "Curves cannot be drawn" in page.locator("#trouble").text_content()
    assert page.locator("#row-0 .unit").count() > 6


FIFTY = [pair(f"Question {n}?", f"It is {n}. That is so.", f"No, {n} it is not. Or is it?") for n in range(50)]


def shown(page: Any) -> list[str]:
    return page.eval_on_selector_all("article", "nodes => nodes.map((node) => node.id)")


def place(page: Any, text: str) -> None:
    page.wait_for_function("(text) => document.getElementById('place').textContent === text", arg=text)


def test_pages_of_rows_by_button_and_by_key(annotate: Any, serve: Any, open_view: Any) -> None:
    page = open_view(serve(annotate(FIFTY)))
    assert shown(page) == [f"row-{n}" for n in range(20)]
    page.get_by_role("button", name="Next").click()
    place(page, "21 to 40 of 50")
    page.keyboard.press("n")
    place(page, "41 to 50 of 50")
    assert shown(page) == [f"row-{n}" for n in range(40, 50)]
    assert page.get_by_role("button", name="Next").is_disabled()
    page.keyboard.press("p")
    place(page, "21 to 40 of 50")
    page.get_by_role("button", name="First").click()
    place(page, "1 to 20 of 50")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.id") == "row-2"  # from the first, which is in view
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()


def test_a_link_and_a_number_lead_to_a_row(annotate: Any, serve: Any, open_view: Any) -> None:
    served = serve(annotate(FIFTY))
    page = open_view(served, "#row-33")
    page.wait_for_selector("#row-33 .chart svg")
    assert page.evaluate("document.activeElement.id") == "row-33"
    page.keyboard.press("g")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.id === 'row-7'")
    assert page.evaluate("location.hash") == "#row-7"
    page.evaluate("location.hash = '#row-999'")
    page.wait_for_selector("#trouble:not([hidden])")
    assert page.locator("#trouble").text_content() == "there is no annotated row 999"


def test_filters_and_orders(annotate: Any, serve: Any, open_view: Any) -> None:
    annotated = annotate(FIFTY)
    (batch,) = annotated.data_batches()
    gaps = [row["chosen_reward"] - row["rejected_reward"] for row in batch.to_pylist()]
    page = open_view(serve(annotated))

    def count(text: str) -> None:
        page.wait_for_function("(text) => document.getElementById('count').textContent === text", arg=text)

    page.keyboard.press("/")
    page.keyboard.type("question 1")
    count("11 of 50 rows")
    assert shown(page) == ["row-1", *(f"row-{n}" for n in range(10, 20))]
    page.get_by_label("Where", exact=True).fill("asr_row % 2 = 0")
    page.keyboard.press("Enter")
    count("5 of 50 rows")
    page.get_by_label("Where", exact=True).fill("nothing = 1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "there is no column 'nothing'" in page.locator("#trouble").text_content()
    page.get_by_role("button", name="Clear").click()
    count("50 rows")
    assert page.locator("#trouble").is_hidden()
    page.get_by_label("Sort by").select_option("margin")
    page.get_by_label("downwards").check()
    first = f"row-{max(range(50), key=lambda row: (gaps[row], -row))}"
    page.wait_for_function("(id) => document.querySelector('article').id === id", arg=first)
    page.get_by_label("Text").fill("no such text")
    count("0 of 50 rows")
    assert page.locator("#none").is_visible()
    # a link to a row that the filters leave out brings it back
    page.evaluate("location.hash = '#row-44'")
    page.wait_for_function("() => document.activeElement.id === 'row-44'")
    assert page.get_by_label("Text").input_value() == ""


def test_two_settings_side_by_side_with_what_differs(annotate: Any, serve: Any, open_view: Any) -> None:
    rows = [pair("Q", "It is so. Well.", "It is not so. Bad.")]
    one, other = (annotate(rows, MaskConfig(segmenter=Token(), baseline=b)) for b in (-1.0, 1.0))
    page = open_view(serve(one, other))
    page.wait_for_selector("#row-0 .chart svg")
    sides = page.locator("#row-0 .side")
    names = [name for side in ("chosen", "rejected") for name in (one.path.name, other.path.name)]
    titles = [re.match(r"(.*?)reward", one.text_content())[1] for one in page.locator("#row-0 h4").all()]
    assert [title.partition(" · ")[2] for title in titles] == names
    # the first keeps every word of the chosen response, the second none, and so keeps all: they are the same
    assert sides.nth(0).locator(".differs").count() == 0
    assert "masks agree" in sides.nth(0).locator("h4").text_content()


def test_differences_are_those_of_the_masks(annotate: Any, serve: Any, open_view: Any) -> None:
    rows = [pair("Q", "It is so. Well, it is as it is.", "It is not so. Bad.")]
    one = annotate(rows, MaskConfig(segmenter=Token(), baseline=0.0))
    other = annotate(rows, MaskConfig(segmenter=Token(), baseline=0.3))
    page = open_view(serve(one, other))
    page.wait_for_selector("#row-0 .chart svg")

    def kept(annotated: Any) -> list[bool]:
        (batch,) = annotated.data_batches()
        return batch.to_pylist()[0]["chosen_mask"]

    expected = [a != b for a, b in zip(kept(one), kept(other), strict=True)]
    assert any(expected)
    for side in (0, 1):
        units = page.locator("#row-0 .side").nth(side).locator(".unit")
        found = units.evaluate_all("nodes => nodes.map((node) => node.classList.contains('differs'))")
        assert found == expected


HOSTILE = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "{{ 7 * 7 }} ${7*7}", "' \" & < > `"]


def test_text_never_becomes_markup(annotate: Any, serve: Any, open_view: Any) -> None:
    rows = [pair(f"Q {text}", f"Yes {text} so.", f"No {text} so.") for text in HOSTILE]
    page = open_view(serve(annotate(rows)))
    page.wait_for_selector("#row-0 .chart svg")
    for number, text in enumerate(HOSTILE):
        article = page.locator(f"#row-{number}")
        assert article.locator(".prompt").text_content() == f"user: Q {text}"
        units = article.locator(".side").first.locator(".unit:not(:has(.mark))")
        assert "".join(units.all_text_contents()) == f"Yes {text} so."
    assert page.locator("#list :is(script, img, style, iframe, link)").count() == 0


def test_names_never_become_markup(annotate_into: Any, serve: Any, open_view: Any, tmp_path: Any) -> None:
    from asr_data.view.server.labels import LabelSettings

    folder = tmp_path / "<img src=x onerror=alert(1)>"
    folder.mkdir()
    labelling = LabelSettings(folder / "<b>.jsonl", "<i>anna</i>", ("</script><b>", "{{ 7 * 7 }}"))
    annotated = annotate_into(folder, FIFTY[:3])
    page = open_view(serve(annotated, annotate_into(folder, FIFTY[:3]), session={"labelling": labelling}))
    page.get_by_label("Where", exact=True).fill('"<img src=x onerror=alert(1)>" = 1')
    page.keyboard.press("Enter")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "<img src=x" in page.locator("#trouble").text_content()
    page.locator("h1").click()
    page.keyboard.press("l")
    page.locator("#label-text .word").first.click()
    page.keyboard.press("1")
    assert page.locator("#marks li b").text_content() == "</script><b>"
    assert [one.strip() for one in page.locator("[data-kind]").all_text_contents()] == [
        "</script><b> 1",
        "{{ 7 * 7 }} 2",
    ]
    assert page.locator("body :is(img, i, iframe):not(.legend *)").count() == 0


def test_what_gets_into_the_page_all_the_same_is_stopped(annotate: Any, serve: Any, browser: Any) -> None:
    page = browser.new_page()
    page.goto(serve(annotate()).address)
    blocked = page.evaluate(
        """async () => {
          const blocked = [];
          document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "globalThis.intruder = true";
          const image = document.createElement("img");
          image.src = "https://example.org/x.png";
          document.body.append(script, image);
          await fetch("https://example.org/").catch(() => {});
          await new Promise((resolve) => setTimeout(resolve, 200));
          return [blocked.sort(), globalThis.intruder ?? false];
        }"""
    )
    page.close()
    assert blocked == [["connect-src", "img-src", "script-src-elem"], False]


def test_a_directory_that_changes_under_the_page(annotate: Any, serve: Any, open_view: Any) -> None:
    annotated = annotate(FIFTY)
    page = open_view(serve(annotated))
    manifest = annotated.path / "asr.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    page.keyboard.press("n")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "was replaced or removed while the page was open" in page.locator("#trouble").text_content()
    assert shown(page)[0] == "row-0"  # what was there stays


def test_no_rows(annotate: Any, serve: Any, open_view: Any) -> None:
    page = open_view(serve(annotate([pair("Q", " ", "No.")])))
    assert page.get_by_text("There is no annotated row.").is_visible()
    assert page.locator("#pager").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(annotate: Any, serve: Any, open_view: Any, scheme: str) -> None:
    page = open_view(serve(annotate()), color_scheme=scheme)
    colour = page.locator("body").evaluate("(node) => getComputedStyle(node).backgroundColor")
    brightness = sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 3
    assert brightness > 200 if scheme == "light" else brightness < 60


def test_at_phone_width_nothing_reaches_beyond_the_window(annotate: Any, serve: Any, open_view: Any) -> None:
    page = open_view(serve(annotate(), annotate()), **PHONE)
    page.wait_for_selector("#row-0 .chart svg")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


# --- settings --------------------------------------------------------------------------------------------


def drag(page: Any, label: str, to: float) -> None:
    """Drag a slider with the mouse to a share of its length."""
    slider = page.get_by_label(f"{label}, slider")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    for share in (0.5, (0.5 + to) / 2, to):
        page.mouse.move(box["x"] + 8 + (box["width"] - 16) * share, box["y"] + box["height"] / 2)
    page.mouse.up()


def said(page: Any, text: str) -> None:
    page.wait_for_function("(text) => document.getElementById('settings-said').textContent.includes(text)", arg=text)


def segments(page: Any, row: int = 0) -> list[list[str]]:
    """The texts of the segments that are kept, and of those that are not, of the first side."""
    side = page.locator(f"#row-{row} .response").first
    return [side.locator(f".seg.{kind}").all_text_contents() for kind in ("kept", "dropped")]


def test_masks_change_while_one_drags(annotate: Any, serve: Any, open_view: Any) -> None:
    page = open_view(serve(annotate(mask=MaskConfig(segmenter=Token(), baseline=0.0))))
    page.wait_for_selector("#row-0 .chart svg")
    page.wait_for_selector("#figures table")
    stored = segments(page)
    dropped = "document.querySelector('#row-0 .response').querySelectorAll('.dropped').length"
    page.get_by_label("baseline value", exact=True).fill("-2")
    said(page, "tried, not stored")
    page.wait_for_function(f"() => {dropped} === 0")
    drag(page, "baseline value", 1.0)
    page.wait_for_function(f"() => {dropped} > 0")
    assert float(page.get_by_label("baseline value", exact=True).input_value()) > 0
    assert page.locator("#figures tbody tr").count() == 2
    page.get_by_role("button", name="As stored").click()
    said(page, "as stored")
    assert segments(page) == stored
    assert page.get_by_label("baseline value", exact=True).input_value() == "0"


def test_every_segmenter_can_be_tried(annotate: Any, serve: Any, open_view: Any) -> None:
    page = open_view(serve(annotate()))
    page.wait_for_selector("#row-0 .chart svg")
    kinds = page.get_by_label("segmenter", exact=True).locator("option").all_text_contents()
    for kind in kinds:
        page.get_by_label("segmenter", exact=True).select_option(kind)
        said(page, "tried")
    page.get_by_label("segmenter", exact=True).select_option("sequence")
    page.wait_for_function("() => document.querySelectorAll('#row-0 .seg').length === 2")
    page.get_by_label("segmenter", exact=True).select_option("token")
    page.wait_for_function("() => document.querySelectorAll('#row-0 .seg').length > 9")
    page.get_by_label("reward", exact=True).select_option("delta")
    said(page, "value at the end of the prompt")
    page.get_by_label("reward", exact=True).select_option("value")
    said(page, "tried, not stored")


def test_tried_settings_hold_for_the_next_page(annotate: Any, serve: Any, open_view: Any) -> None:
    page = open_view(serve(annotate(FIFTY)))
    page.get_by_label("segmenter", exact=True).select_option("token")
    said(page, "tried")
    page.locator("h1").click()
    page.keyboard.press("n")
    place(page, "21 to 40 of 50")
    page.wait_for_function("() => document.querySelectorAll('#row-20 .seg').length > 9")


def test_settings_are_kept(annotate: Any, serve: Any, open_view: Any, tmp_path: Any) -> None:
    from asr_data.view.server.keep import SettingsFile
    from asr_data_cli.setting_text import mask_text

    annotated = annotate()
    path = tmp_path / "run.yaml"
    page = open_view(serve(annotated, session={"keeping": SettingsFile(path, mask_text)}))
    page.get_by_label("segmenter", exact=True).select_option("step")
    page.get_by_role("button", name="Keep these settings").click()
    command = page.locator("#kept pre")
    command.wait_for()
    assert f"asr-annotate mask {annotated.path} -o {annotated.path}-step --segmenter step" in command.text_content()
    assert 'segmenter: "step"' in path.read_text(encoding="utf-8")
    page.get_by_label("segmenter", exact=True).select_option("token")
    page.get_by_role("button", name="Keep these settings").click()
    page.get_by_role("button", name="Replace it").click()
    page.wait_for_function("() => document.getElementById('kept').textContent.includes('Written to')")
    assert 'segmenter: "token"' in path.read_text(encoding="utf-8")


def test_the_first_rows_do_not_wait_for_tokenizers(
    annotate: Any, serve: Any, open_view: Any, make_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, tokenizer = threading.Event(), make_tokenizer()

    def slow(_: Any) -> Any:
        loaded.wait(60)
        return tokenizer

    monkeypatch.setattr("asr_data.view.server.directories._recorded", slow)
    served = serve(annotate(FIFTY), tokenizer="later")
    served.session.prepare()
    page = open_view(served, "#row-1")
    page.wait_for_function("() => document.activeElement.id === 'row-1'")
    first = page.locator("#row-1 .response").first
    shown_text = "(node) => [...node.querySelectorAll('.unit')].filter((one) => !one.querySelector('.mark'))"
    shown_text += ".map((one) => one.textContent).join('')"
    text = first.evaluate(shown_text)
    assert first.locator(".unit").count() == first.locator(".seg").count()  # segments are tinted
    assert "is being loaded …" in page.locator("#settings summary").text_content()
    assert page.locator("#controls").is_hidden()
    page.get_by_label("Where", exact=True).fill("nothing = 1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#trouble:not([hidden])")
    page.wait_for_timeout(1200)
    assert page.locator("#trouble").is_visible()  # though the page asks on for tokenizers
    page.get_by_role("button", name="Clear").click()
    page.wait_for_selector("#trouble", state="hidden")
    page.keyboard.press("n")
    place(page, "21 to 40 of 50")
    page.keyboard.press("p")
    place(page, "1 to 20 of 50")
    page.keyboard.press("j")
    loaded.set()
    page.wait_for_selector("#controls:not([hidden])")
    page.wait_for_function(
        "() => document.querySelectorAll('#row-1 .response')[0].querySelectorAll('.unit').length > 6"
    )
    assert first.evaluate(shown_text) == text == "It is 1. That is so."
    assert page.evaluate("document.activeElement.tagName") == "ARTICLE"
    page.get_by_label("segmenter", exact=True).select_option("sequence")
    said(page, "tried")
    page.wait_for_selector("#row-1 .chart svg")


def test_without_scores_the_page_says_why_settings_are_fixed(annotate: Any, serve: Any, open_view: Any) -> None:
    annotated = annotate()
    (annotated.path / "scores" / "train-00000.parquet").unlink()
    page = open_view(serve(annotated))
    assert "Settings cannot be changed: " in page.locator("#settings summary").text_content()
    assert "has no scores/" in page.locator("#settings summary").text_content()
    assert page.locator("#controls").is_hidden()


# --- labels ----------------------------------------------------------------------------------------------


@pytest.fixture
def labelling(annotate: Any, serve: Any, tmp_path: Any) -> Any:
    """``labelling()``: a server that writes labels to one file, on the same rows."""
    from asr_data.view.server.labels import LabelSettings

    annotated = annotate(FIFTY[:6])
    return lambda: serve(annotated, session={"labelling": LabelSettings(tmp_path / "labels.jsonl", "anna")})


def lines(tmp_path: Any) -> list[dict[str, Any]]:
    path = tmp_path / "labels.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def wait_for_lines(page: Any, tmp_path: Any, count: int) -> list[dict[str, Any]]:
    for _ in range(400):
        if len(lines(tmp_path)) >= count:
            break
        page.wait_for_timeout(50)
    found = lines(tmp_path)
    assert len(found) == count
    return found


def marked(line: dict[str, Any]) -> list[str]:
    text = line["completion"][0]["content"]
    return [text[mark["start"] : mark["end"]] for mark in line["marks"]]


def test_faults_are_marked_by_mouse_and_by_keyboard(labelling: Any, open_view: Any, tmp_path: Any) -> None:
    page = open_view(labelling())
    page.keyboard.press("l")
    page.wait_for_selector("#label-text .word")
    words = page.locator("#label-text .word")
    texts = words.all_text_contents()
    # blind: neither scores nor verdict are in the page
    assert page.locator("#label :is(.seg, .chart)").count() == 0
    assert not re.search("chosen|rejected|reward", page.locator("#label").inner_text())
    first, last = words.nth(0).bounding_box(), words.nth(1).bounding_box()
    page.mouse.move(first["x"] + 2, first["y"] + 5)
    page.mouse.down()
    page.mouse.move(last["x"] + 3, last["y"] + 5, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="factual 1").click()
    [line] = wait_for_lines(page, tmp_path, 1)
    assert (line["status"], line["completion_spans"], marked(line)) == ("open", None, ["".join(texts[:2])])
    page.keyboard.press("x")  # the mark under the cursor: major, critical
    page.keyboard.press("End")  # no key of ours
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("2")
    found = wait_for_lines(page, tmp_path, 3)[-1]
    assert [mark["type"] for mark in found["marks"]] == ["factual", "reasoning"]
    assert found["marks"][0]["severity"] == "critical"
    assert page.locator("#marks li").count() == 2
    page.keyboard.press("Delete")
    assert marked(wait_for_lines(page, tmp_path, 4)[-1]) == ["".join(texts[:2])]
    page.keyboard.press("v")
    page.wait_for_selector("#label-revealed .seg")
    page.keyboard.press("Enter")
    done = wait_for_lines(page, tmp_path, 5)[-1]
    assert (done["status"], done["blind"], done["completion_spans"]) == ("done", False, done["marks"])
    page.wait_for_function("() => document.querySelectorAll('#marks li').length === 0")
    page.keyboard.press("0")
    nothing = wait_for_lines(page, tmp_path, 6)[-1]
    assert (nothing["status"], nothing["blind"], nothing["completion_spans"]) == ("done", True, [])
    page.keyboard.press("b")
    page.wait_for_function("() => document.getElementById('label-status').textContent.startsWith('you were done')")


def hold_back(page: Any, path: str) -> None:
    """Questions of this path wait until ``release()`` is called in the page."""
    page.evaluate(
        """(path) => {
          const ask = globalThis.fetch;
          globalThis.fetch = async (...words) => {
            if (words[0] === path) await new Promise((resolve) => (globalThis.release = resolve));
            return ask(...words);
          };
        }""",
        path,
    )


@pytest.mark.parametrize("slow", ["api/labels/save", "api/labels/next"])
def test_what_is_pressed_before_a_response_is_shown_counts_for_none(
    labelling: Any, open_view: Any, tmp_path: Any, slow: str
) -> None:
    page = open_view(labelling())
    page.keyboard.press("l")
    page.wait_for_selector("#label-text .word")
    before = page.locator("#label-text").text_content()
    hold_back(page, slow)
    page.keyboard.press("0")
    page.wait_for_function("() => globalThis.release")
    row = page.locator("#label-row")
    assert row.evaluate("(node) => [node.inert, node.getAttribute('aria-busy')]") == [True, "true"]
    for key in ("ArrowRight", "1", "0", "Enter", "s"):
        page.keyboard.press(key)
    box = page.locator("#label-text .word").first.bounding_box()
    page.mouse.click(box["x"] + 2, box["y"] + 5)
    assert page.locator(".chosen").count() == 0
    page.evaluate("release()")
    page.wait_for_function("(text) => document.getElementById('label-text').textContent !== text", arg=before)
    page.wait_for_function("() => document.getElementById('label-early').textContent")
    said = page.locator("#label-early").text_content()
    assert said == "Not counted, since this response was not shown yet: ArrowRight 1 0 Enter s"
    assert row.evaluate("(node) => node.inert") is False
    [first] = wait_for_lines(page, tmp_path, 1)
    assert (first["status"], first["marks"]) == ("done", [])
    if slow.endswith("save"):
        page.evaluate('globalThis.fetch = async (...words) => new Response(\'{"error": "the disk is full"}\')')
        page.keyboard.press("0")
        page.wait_for_selector("#trouble:not([hidden])")
        assert page.locator("#trouble").text_content() == "the disk is full"
        page.wait_for_function("() => !document.getElementById('label-row').inert")  # the response is still there
        assert len(lines(tmp_path)) == 1


def test_a_key_that_is_held_down_judges_one_response(labelling: Any, open_view: Any, tmp_path: Any) -> None:
    page = open_view(labelling())
    page.keyboard.press("l")
    page.wait_for_selector("#label-text .word")
    before = page.locator("#label-text").text_content()
    page.keyboard.down("0")
    page.wait_for_function("(text) => document.getElementById('label-text').textContent !== text", arg=before)
    for key in ("0", "0"):
        page.keyboard.down(key)  # again, as a key that is held repeats
    page.keyboard.up("0")
    page.keyboard.down("Enter")  # nothing is marked: it goes to the button
    for _ in range(3):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    assert page.evaluate("document.activeElement.id") == "label-nothing"
    page.wait_for_timeout(200)
    assert len(lines(tmp_path)) == 1
    page.keyboard.press("Enter")
    wait_for_lines(page, tmp_path, 2)


def test_whole_sentences_and_lines(annotate: Any, serve: Any, open_view: Any, tmp_path: Any) -> None:
    from asr_data.view.server.labels import LabelSettings

    answer = "It is 3.14, e.g. so. Why not?\nStep 2: done."
    annotated = annotate([pair("Q", answer, answer + " Bad.")])
    page = open_view(serve(annotated, session={"labelling": LabelSettings(tmp_path / "labels.jsonl", "anna")}))
    page.keyboard.press("l")
    words = page.locator("#label-text .word")
    words.first.wait_for()

    def selected() -> str:
        return "".join(page.locator("#label-text .chosen").all_text_contents())

    words.get_by_text("14", exact=True).dblclick()
    assert selected() == "It is 3.14, e.g. so."
    words.get_by_text("14", exact=True).click(click_count=3)
    assert selected() == "It is 3.14, e.g. so. Why not?"
    words.get_by_text("not", exact=True).click()
    assert selected() == "not"
    page.keyboard.press("w")
    assert selected() == "Why not?"
    page.keyboard.press("w")
    assert selected() == "It is 3.14, e.g. so. Why not?"
    words.first.click()
    page.keyboard.press("ArrowDown")
    assert selected() == "Why"
    page.keyboard.press("Shift+ArrowDown")
    assert selected() == "Why not?"
    page.keyboard.press("Shift+ArrowDown")
    assert selected() == "Why not?\nStep 2: done."
    page.keyboard.press("ArrowUp")
    assert selected() == "Step"
    page.get_by_role("button", name="whole sentence w").click()
    page.keyboard.press("1")
    [line] = wait_for_lines(page, tmp_path, 1)
    assert marked(line) == ["Step 2: done."]


def test_in_text_from_right_to_left_the_arrows_go_where_they_point(
    annotate: Any, serve: Any, open_view: Any, tmp_path: Any
) -> None:
    from asr_data.view.server.labels import LabelSettings

    annotated = annotate([pair("ש", "שלום לך עולם.", "שלום לך עולם. רע.")])
    page = open_view(serve(annotated, session={"labelling": LabelSettings(tmp_path / "labels.jsonl", "anna")}))
    page.wait_for_selector("#row-0 .unit", state="attached")  # a token without a whole character has no text
    response = page.locator("#row-0 .response").first
    response.focus()
    places = []
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
        places.append(page.evaluate("Number(document.querySelector('.unit.at').dataset.unit)"))
    page.keyboard.press("ArrowRight")
    assert page.evaluate("Number(document.querySelector('.unit.at').dataset.unit)") == places[1]
    assert places == sorted(set(places))
    page.keyboard.press("l")
    page.locator("#label-text .word").first.wait_for()
    found = []
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight", "Shift+ArrowLeft"):
        page.keyboard.press(key)
        found.append("".join(page.locator("#label-text .chosen").all_text_contents()))
    assert found == ["שלום", "לך", "שלום", "שלום לך"]


def test_a_severity_is_meant_for_one_response(labelling: Any, open_view: Any, tmp_path: Any) -> None:
    page = open_view(labelling())
    page.keyboard.press("l")
    for severities in (["critical"], ["major"]):
        page.locator("#label-text .word").first.click()
        if severities == ["critical"]:
            page.keyboard.press("x")
        page.keyboard.press("1")
        page.wait_for_selector("#marks li")
        assert page.locator("#label-hint").text_content() == "Select what else is wrong, or be done."
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelectorAll('#marks li').length === 0")
        done = [line for line in lines(tmp_path) if line["status"] == "done"][-1]
        assert [mark["severity"] for mark in done["marks"]] == severities


def test_after_a_kill_one_goes_on_where_one_was(labelling: Any, open_view: Any, tmp_path: Any) -> None:
    served = labelling()
    page = open_view(served)
    page.get_by_role("button", name="Label").click()
    page.wait_for_selector("#label-text .word")
    before = page.locator("#label-text").text_content()
    page.keyboard.press("0")
    wait_for_lines(page, tmp_path, 1)
    page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('1 of 50')")
    page.wait_for_function("(text) => document.getElementById('label-text').textContent !== text", arg=before)
    page.wait_for_selector("#label-text .word")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("3")
    wait_for_lines(page, tmp_path, 2)
    row, words = page.locator("#label-title").text_content(), page.locator("#label-text").text_content()
    served.session.close()  # as the system does for a process that is killed
    page.goto("about:blank")
    with (tmp_path / "labels.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"asr_row": 1, "cut')
    page = open_view(labelling())
    page.keyboard.press("l")
    page.wait_for_selector("#marks li")
    assert (page.locator("#label-title").text_content(), page.locator("#label-text").text_content()) == (row, words)
    assert page.locator("#progress").text_content().startswith("1 of 50 responses")
    page.keyboard.press("Enter")
    assert [line["status"] for line in wait_for_lines(page, tmp_path, 3)] == ["done", "open", "done"]


def test_a_second_tab_is_refused_until_the_first_is_closed(labelling: Any, open_view: Any) -> None:
    served = labelling()
    first, second = open_view(served), open_view(served)
    first.keyboard.press("l")
    first.wait_for_selector("#label-text .word")
    second.keyboard.press("l")
    second.wait_for_selector("#trouble:not([hidden])")
    assert "another tab of this page is labelling" in second.locator("#trouble").text_content()
    assert second.locator("#label").is_hidden()
    first.keyboard.press("r")
    first.wait_for_selector("#look:not([hidden])")
    second.wait_for_timeout(300)
    second.keyboard.press("l")
    second.wait_for_selector("#label-text .word")


def test_labels_give_figures_beside_the_settings(labelling: Any, open_view: Any) -> None:
    page = open_view(labelling())
    page.keyboard.press("l")
    page.wait_for_selector("#label-text .word")
    for done in range(1, 7):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("1")
        page.wait_for_selector("#marks li")
        page.keyboard.press("Enter")
        text = f"{done} of 50"
        page.wait_for_function("(t) => document.getElementById('progress').textContent.startsWith(t)", arg=text)
        page.wait_for_function("() => document.querySelectorAll('#marks li').length === 0")
    page.wait_for_function("() => document.getElementById('label-figures').textContent.includes('95 %: ')")
    page.keyboard.press("r")
    page.wait_for_function("() => document.getElementById('figures').textContent.includes('labels on this page')")


def test_a_finger_taps_the_first_word_and_the_last(labelling: Any, open_view: Any, tmp_path: Any) -> None:
    page = open_view(labelling(), **PHONE)
    page.get_by_role("button", name="Label").tap()
    words = page.locator("#label-text .word")
    words.nth(0).tap()
    words.nth(4).tap()
    page.get_by_role("button", name="language 6").tap()
    [line] = wait_for_lines(page, tmp_path, 1)
    assert marked(line) == ["".join(words.all_text_contents()[:5]).strip()]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
