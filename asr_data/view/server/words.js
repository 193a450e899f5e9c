"use strict";
// The words of the response that is labelled: a cursor among them, and a selection, by mouse, touch and keyboard.

const asrWords = (() => {
  const { element } = asrRows;
  const text = document.getElementById("label-text");
  // Of a unit: its text, whether it can be marked, and the numbers of its sentence and its line.
  const [TEXT, MARKABLE, SENTENCE, LINE] = [0, 1, 2, 3];
  let units = [];
  let nodes = [];
  let cursor = -1;
  let anchor = -1; // where the selection began; -1 for none
  let changed = () => {};

  const markable = (index) => units[index]?.[MARKABLE] === 1;
  const textOf = (first, last) => units.slice(first, last + 1).map((unit) => unit[TEXT]).join("");
  const selection = () => (anchor < 0 ? null : [Math.min(anchor, cursor), Math.max(anchor, cursor)]);

  // The selection without what cannot be marked at its ends; null where nothing is left.
  function chosen() {
    if (anchor < 0) return null;
    let [first, last] = selection();
    while (first < last && !markable(first)) first += 1;
    while (last > first && !markable(last)) last -= 1;
    return markable(first) ? [first, last] : null;
  }

  function present(response) {
    units = response;
    cursor = anchor = -1;
    nodes = units.map((unit, index) => element("span", { class: "word", "data-word": index }, unit[TEXT]));
    text.replaceChildren(...nodes);
  }

  function paint(marks) {
    const inside = selection();
    nodes.forEach((node, index) => {
      const mark = marks.find(({ first, last }) => first <= index && index <= last);
      node.className = `word${mark ? ` marked ${mark.severity}` : ""}${index === cursor ? " at" : ""}`;
      if (inside && inside[0] <= index && index <= inside[1]) node.classList.add("chosen");
      if (!markable(index) && units[index][TEXT].trim()) node.classList.add("fixed");
    });
  }

  // Nothing is selected any more; the cursor stays.
  function clear() {
    anchor = -1;
  }

  function show() {
    changed();
    nodes[cursor]?.scrollIntoView({ block: "nearest" });
  }

  function move(to, extend) {
    if (to < 0) return;
    if (extend) anchor = anchor < 0 ? Math.max(cursor, 0) : anchor;
    else anchor = markable(to) ? to : -1; // a single word is selected by going there
    cursor = to;
    show();
  }

  // --- words, sentences and lines -----------------------------------------------------------------------

  function step(by) {
    let to = cursor;
    do to += by;
    while (to >= 0 && to < units.length && !markable(to));
    return to >= 0 && to < units.length ? to : cursor;
  }

  // Where the next sentence begins, or this one, or the one before; for a selection forwards, where it ends.
  function sentence(forward, extend) {
    const edges = new Map();
    units.forEach((unit, index) => {
      if (markable(index) && ((forward && extend) || !edges.has(unit[SENTENCE]))) edges.set(unit[SENTENCE], index);
    });
    const found = [...edges.values()];
    if (!forward) return found.findLast((index) => index < cursor) ?? Math.max(cursor, found[0] ?? -1);
    return found.find((index) => index > cursor) ?? units.findLastIndex((_, index) => markable(index));
  }

  // The first and the last word of a word's sentence or line.
  function extent(word, what) {
    const number = units[word]?.[what] ?? -1;
    const mine = number < 0 ? [] : units.flatMap((unit, index) => (unit[what] === number && markable(index) ? [index] : []));
    return mine.length ? [mine[0], mine.at(-1)] : null;
  }

  function select(word, what) {
    const found = extent(word, what);
    if (!found) return;
    [anchor, cursor] = found;
    show();
  }

  // The sentence under the cursor; its line where that is selected already.
  function selectWhole() {
    const at = cursor < 0 ? step(1) : cursor;
    const whole = extent(at, SENTENCE);
    const inside = selection();
    select(at, whole && inside && inside[0] === whole[0] && inside[1] === whole[1] ? LINE : SENTENCE);
  }

  // --- mouse and touch ----------------------------------------------------------------------------------

  const wordAt = (target) => {
    const node = target?.closest?.("[data-word]");
    return node && text.contains(node) ? Number(node.dataset.word) : -1;
  };

  function listen(whenChanged) {
    changed = whenChanged;
    let dragging = false;
    let pointer = "mouse";
    text.addEventListener("pointerdown", (event) => {
      const word = wordAt(event.target);
      pointer = event.pointerType;
      if (word < 0 || event.button !== 0 || pointer !== "mouse") return;
      event.preventDefault();
      text.focus({ preventScroll: true });
      dragging = true;
      if (!event.shiftKey || anchor < 0) anchor = word;
      cursor = word;
      changed();
    });
    text.addEventListener("pointermove", (event) => {
      const word = dragging ? wordAt(document.elementFromPoint(event.clientX, event.clientY)) : -1;
      if (word >= 0 && word !== cursor) {
        cursor = word;
        changed();
      }
    });
    addEventListener("pointerup", () => (dragging = false));
    text.addEventListener("click", (event) => {
      const word = wordAt(event.target);
      if (word < 0) return;
      if (pointer === "mouse") {
        // a double click selects the sentence, a triple click the line
        if (event.detail > 1 && !event.shiftKey) select(word, event.detail > 2 ? LINE : SENTENCE);
        return;
      }
      // A finger scrolls; so it taps the first word and then the last.
      if (anchor < 0) anchor = word;
      cursor = word;
      changed();
    });
  }

  // What a key does to cursor and selection; nothing for other keys.
  function actionOf(key, extend) {
    const right = getComputedStyle(text).direction === "rtl" ? -1 : 1; // where the next word stands
    return {
      ArrowRight: () => move(step(right), extend),
      ArrowLeft: () => move(step(-right), extend),
      ArrowDown: () => move(sentence(true, extend), extend),
      ArrowUp: () => move(sentence(false, extend), extend),
      w: selectWhole,
      Escape: () => {
        clear();
        changed();
      },
    }[key];
  }

  return { actionOf, at: () => cursor, chosen, clear, focus: () => text.focus({ preventScroll: true }), listen, paint, present, selectWhole, selection, textOf };
})();
