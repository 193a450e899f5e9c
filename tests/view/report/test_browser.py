"""Reports in Chromium. The fixture ``open_page`` also checks that the console is clean and nothing was asked for."""

from __future__ import annotations

import bisect
import json
import re
from pathlib import Path
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


def data_of(path: Path) -> Any:
    (text,) = re.findall('<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"))
    return json.loads(text)


@pytest.fixture(scope="module")
def report(make_report: Any) -> Path:
    return make_report()


@pytest.fixture(scope="module")
def long_report(make_report: Any) -> Path:
    """Forty rows, of which a few fit into a window."""
    return make_report([pair(f"Question {n}?", f"It is {n}. " * 20, f"No, {n} it is not. " * 20) for n in range(40)])


def row(page: Any, number: int) -> Any:
    """A row that was scrolled to, with its curves drawn."""
    found = page.locator(f"#row-{number}")
    found.scroll_into_view_if_needed()
    found.locator(".side:last-child svg").wait_for()
    return found


def visible_rows(page: Any) -> list[str]:
    return page.eval_on_selector_all("article:not([hidden])", "nodes => nodes.map((node) => node.id)")


def test_rows_show_what_the_columns_hold(open_page: Any, report: Path) -> None:
    page = open_page(report)
    assert visible_rows(page) == ["row-0", "row-1", "row-2", "row-4"]
    for row in data_of(report)["rows"]:
        article = page.locator(f"#row-{row['row']}")
        article.scroll_into_view_if_needed()
        assert article.locator(".prompt").text_content() == row["prompt"]
        for place, side in enumerate(row["sides"]):
            response = article.locator(".response").nth(place)
            kept = response.locator(".seg").evaluate_all(
                "nodes => nodes.map((node) => node.classList.contains('kept'))"
            )
            assert kept == [bit == "1" for bit in side["segKeep"]]
            assert response.locator(".unit").count() == len(side["rewards"])
        assert article.locator(".side svg").count() == 2


def test_dropped_text_is_struck_through_and_kept_text_is_not(open_page: Any, report: Path) -> None:
    page = open_page(report)
    row(page, 0)
    line = "nodes => [...new Set(nodes.map((node) => getComputedStyle(node).textDecorationLine))]"
    assert page.locator(".response .seg.dropped").evaluate_all(line) == ["line-through"]
    assert page.locator(".response .seg.kept").evaluate_all(line) == ["none"]


def test_tints_are_blue_above_the_baseline_and_orange_below(open_page: Any, make_report: Any) -> None:
    path = make_report(annotation={"mask": MaskConfig(segmenter=Token())})
    page = open_page(path)
    side = data_of(path)["rows"][0]["sides"][0]
    units = row(page, 0).locator(".response").first.locator(".unit")
    classes = units.evaluate_all("nodes => nodes.map((node) => node.className)")
    for reward, name in zip(side["rewards"], classes, strict=True):
        step = int(re.sub(r"unit m", "-", name).replace("unit p", ""))
        assert step == pytest.approx(max(-8, min(8, (reward - side["b"]) / data_of(path)["spread"] * 8)), abs=0.51)
    good, bad = (
        page.evaluate(
            "(name) => { const node = document.createElement('i'); node.className = `unit ${name}`;"
            "document.body.append(node); return getComputedStyle(node).backgroundColor.match(/[\\d.]+/g).map(Number) }",
            name,
        )
        for name in ("p8", "m8")
    )
    assert good[2] > good[0]
    assert bad[0] > bad[2]


def test_rows_are_made_when_they_come_into_view(open_page: Any, long_report: Path) -> None:
    page = open_page(long_report)
    assert len(visible_rows(page)) == 40
    row(page, 0)
    assert 2 <= page.locator(".response").count() < 80
    row(page, 39)
    assert page.locator("#row-20 .response").count() == 0


# --- values ----------------------------------------------------------------------------------------------


def test_values_by_keyboard(open_page: Any, report: Path) -> None:
    page = open_page(report)
    side = data_of(report)["rows"][0]["sides"][0]
    row(page, 0)
    page.locator("#row-0 .response").first.focus()
    tip = page.locator("#tip")
    count = len(side["rewards"])

    def said(token: int) -> str:
        segment = bisect.bisect_right(side["starts"], token) - 1
        trained = "trained on" if side["mask"][token] == "1" else "not trained on"
        decision = "kept" if side["segKeep"][segment] == "1" else "dropped"
        value = tip.text_content().replace("−", "-")
        first, second, third = value.split("\n")
        assert first == f"token {token + 1} of {count}, {trained}"
        assert float(re.match(r"reward ([-\d.e]+) \(b ", second)[1]) == pytest.approx(side["rewards"][token])
        assert third.startswith(f"segment {segment + 1} of {len(side['starts'])}, {decision}: ")
        assert float(third.rpartition(" ")[2]) == pytest.approx(side["segRewards"][segment])
        return page.locator(".unit.at").get_attribute("data-unit")

    page.keyboard.press("ArrowRight")
    assert said(0) == "0"
    page.keyboard.press("ArrowRight")
    assert said(1) == "1"
    here = bisect.bisect_right(side["starts"], 1) - 1  # the segment of token 1
    page.keyboard.press("ArrowDown")
    assert said(side["starts"][here + 1]) == str(side["starts"][here + 1])
    page.keyboard.press("ArrowUp")
    assert said(side["starts"][here]) == str(side["starts"][here])
    page.keyboard.press("End")
    assert said(count - 1) == str(count - 1)
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    assert page.locator(".unit.at").count() == 0


def test_values_by_pointer_in_the_text_and_in_the_curve(open_page: Any, report: Path) -> None:
    page = open_page(report)
    row(page, 0)
    side = page.locator("#row-0 .side").nth(1)
    side.locator("[data-unit='3']").hover()
    assert "token 4 of" in page.locator("#tip").text_content()
    side.locator(".cursor_marks line").wait_for(state="attached")
    box = side.locator(".chart").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 6, box["y"] + 20)
    count = len(data_of(report)["rows"][0]["sides"][1]["rewards"])
    assert f"token {count} of {count}" in page.locator("#tip").text_content()
    page.mouse.move(2, 2)
    assert page.locator("#tip").is_hidden()


# --- filters and links -----------------------------------------------------------------------------------


def test_filters(open_page: Any, make_report: Any) -> None:
    mask = MaskConfig(baseline={"kind": "fixed", "value": 0.5}, segmenter=Token())
    path = make_report(annotation={"mask": mask})
    rows = data_of(path)["rows"]
    page = open_page(path)

    def shown() -> list[int]:
        names = [int(name.removeprefix("row-")) for name in visible_rows(page)]
        assert page.locator("#count").text_content() == f"{len(names)} of {len(rows)} rows"
        assert page.locator("#none").is_visible() == (not names)
        return names

    def clear() -> None:
        page.get_by_role("button", name="Clear").click()
        page.wait_for_function("() => document.getElementById('count').textContent === '4 of 4 rows'")

    page.get_by_label("Text").fill("CAFÉ")
    assert shown() == [1]
    page.get_by_label("Text").fill("no such text")
    assert shown() == []
    clear()
    noted = [one["row"] for one in rows if "empty_mask_chosen" in one["notes"]]
    assert 0 < len(noted) < len(rows)
    page.get_by_label("Note").select_option("empty_mask_chosen")
    assert shown() == noted
    page.get_by_label("Note").select_option("none")
    assert shown() == [one["row"] for one in rows if not one["notes"]]
    clear()
    share = {one["row"]: one["sides"][1]["mask"].count("1") / len(one["sides"][1]["mask"]) for one in rows}
    page.get_by_label("Side whose kept share").select_option("rejected")
    page.get_by_label("Kept at most").fill("95")
    assert shown() == [number for number, value in share.items() if value <= 0.95]
    clear()
    gap = {one["row"]: one["sides"][0]["reward"] - one["sides"][1]["reward"] for one in rows}
    page.get_by_label("Chosen minus rejected, at least").fill("-0.3")
    page.get_by_label("Chosen minus rejected, at most").fill("-0.1")
    assert shown() == [number for number, value in gap.items() if -0.3 <= value <= -0.1]


def test_a_link_to_a_row(open_page: Any, long_report: Path) -> None:
    page = open_page(long_report, "#row-30")
    page.wait_for_selector("#row-30 .response")

    def top() -> float:
        return page.locator("#row-30").bounding_box()["y"]

    assert 0 <= top() < 400
    page.get_by_label("Text").fill("Question 3?")
    page.get_by_role("link", name="Row 3", exact=True).click()
    assert page.evaluate("location.hash") == "#row-3"
    # a link to a row that the filter hides brings it back
    page.evaluate("location.hash = '#row-30'")
    page.wait_for_function("() => !document.getElementById('row-30').hidden")
    assert page.get_by_label("Text").input_value() == ""
    page.wait_for_function("() => document.getElementById('row-30').getBoundingClientRect().top < 400")


# --- texts -----------------------------------------------------------------------------------------------

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src='https://example.org/x.png' onerror=alert(1)>",
    "{{ 7 * 7 }} ${7*7}",
    "' \" & < > `",
    "<style>body{display:none}</style>",
]


def test_hostile_texts_are_shown_as_they_are(open_page: Any, make_report: Any) -> None:
    faults = [{"start": 0, "end": 2, "type": HOSTILE[2]}]
    rows = [pair(f"Q {text}", f"Yes {text} so.", f"No {text} so.", faults=faults) for text in HOSTILE]
    page = open_page(make_report(rows, gold="chosen=faults"))
    for number, text in enumerate(HOSTILE):
        article = row(page, number)
        assert article.locator(".prompt").text_content() == f"user: Q {text}"
        units = [side.locator(".unit:not(:has(.mark))") for side in article.locator(".side").all()]
        assert ["".join(unit.all_text_contents()) for unit in units] == [f"Yes {text} so.", f"No {text} so."]
    assert page.locator("#list :is(script, img, style, iframe, link)").count() == 0
    row(page, 0).locator("[data-unit='0']").first.hover()
    assert HOSTILE[2] in page.locator("#tip").text_content()


def test_texts_from_right_to_left(open_page: Any, make_report: Any) -> None:
    page = open_page(make_report([pair("שאלה?", "כן, זה נכון.", "No, it is not.")]))
    row(page, 0)
    directions = "nodes => nodes.map((node) => getComputedStyle(node).direction)"
    assert page.locator("#row-0 .response").evaluate_all(directions) == ["rtl", "ltr"]


def test_line_ends_stand_between_segments(open_page: Any, make_report: Any) -> None:
    text = "Step 1: add.\n\nStep 2: divide.\nStep 3: done."
    mask = MaskConfig(segmenter={"kind": "step"})
    page = open_page(make_report([pair("Q", text, "No.")], annotation={"mask": mask}))
    row(page, 0)
    segments = page.locator("#row-0 .response").first.locator(".seg").all_text_contents()
    assert segments[:2] == ["Step 1: add.", "Step 2: divide."]
    assert page.locator("#row-0 .response").first.text_content().startswith(text)


def test_gold_faults_are_underlined(open_page: Any, make_report: Any) -> None:
    rows = [
        pair("Q0", "It is so.", "It is not so.", faults=[{"start": 3, "end": 9}]),
        pair("Q1", "It is so.", "It is.", faults=[]),
    ]
    page = open_page(make_report(rows, gold="rejected=faults"))
    row(page, 1)
    faults = page.locator("#list .fault")
    assert "".join(faults.all_text_contents()) == "is not"
    assert set(faults.evaluate_all("nodes => nodes.map((n) => getComputedStyle(n).textDecorationStyle)")) == {"wavy"}
    page.get_by_label("with a fault by gold").check()
    assert visible_rows(page) == ["row-0"]
    page.locator("#row-0 .fault").first.hover()
    assert page.locator("#tip").text_content().endswith("gold error: 0")


def test_unknown_rewards_are_said_to_be_unknown(open_page: Any, make_report: Any) -> None:
    rows = [pair("Q", "It is unlike that. So it is.", "unsaid undone"), pair("Q2", "It is so.", "It is not.")]
    page = open_page(make_report(rows, annotation={"partial": True}))
    row(page, 0)
    assert page.locator("#row-0 .side").nth(1).locator("h4").text_content().startswith("rejectedreward unknown")
    unknown = page.locator("#row-0 .response").first.locator(".unit.unknown:not(:has(.mark))")
    assert "".join(unknown.all_text_contents()).strip() == "unlike"
    unknown.first.hover()
    assert "reward unknown" in page.locator("#tip").text_content()


# --- other shapes and other windows ----------------------------------------------------------------------


def test_single_responses(open_page: Any, make_report: Any) -> None:
    both = pair("Q", "It is so.", "")
    page = open_page(make_report([{"prompt": both["prompt"], "completion": both["chosen"]}]))
    row(page, 0)
    assert page.locator("#row-0 .side").count() == 1
    assert page.get_by_text("Reward gap").is_hidden()


def test_without_a_tokenizer_segments_are_tinted(open_page: Any, make_report: Any) -> None:
    path = make_report(tokenizer=None)
    page = open_page(path)
    row(page, 0)
    side = data_of(path)["rows"][0]["sides"][0]
    assert page.locator("#row-0 .response").first.locator(".unit").count() == len(side["starts"])
    page.locator("#row-0 .response").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").text_content().startswith(f"segment 1 of {len(side['starts'])}, ")


def test_light_and_dark(open_page: Any, report: Path) -> None:
    def brightness(page: Any, selector: str, name: str) -> float:
        colour = page.locator(selector).first.evaluate("(node, name) => getComputedStyle(node)[name]", name)
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 3

    light, dark = (open_page(report, color_scheme=scheme) for scheme in ("light", "dark"))
    assert brightness(light, "body", "backgroundColor") > 200 > 60 > brightness(dark, "body", "backgroundColor")
    for page in (light, dark):
        row(page, 0)
    for selector, name in (("#row-0 .response", "color"), ("#row-0 :is(.kept_marks, .dropped_marks) line", "stroke")):
        assert brightness(light, selector, name) < 60 < 200 < brightness(dark, selector, name)


def test_at_phone_width_nothing_reaches_beyond_the_window(open_page: Any, long_report: Path) -> None:
    page = open_page(long_report, **PHONE)
    row(page, 1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    first, second = page.locator("#row-1 .side").all()
    assert second.bounding_box()["y"] >= first.bounding_box()["y"] + first.bounding_box()["height"]
    page.locator("#row-1 [data-unit='2']").first.tap()
    assert "token 3 of" in page.locator("#tip").text_content()
    box = page.locator("#tip").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_the_policy_is_in_force(browser: Any, report: Path) -> None:
    """A script, a request and an image that get into the page all the same are stopped by the browser."""
    page = browser.new_page()
    page.goto(report.as_uri())
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
