"use strict";
// Labelling: one response at a time, faults marked on its words by mouse or keyboard, written before anything else happens.

const asrLabel = (() => {
  const { element, promptNode, drawCurve, show } = asrRows;
  const { ask, attempt, facts } = asrServer;
  const by = (id) => document.getElementById(id);
  const text = by("label-text");
  const bar = by("label-bar");
  const tab = crypto.randomUUID();
  let setup = null; // kinds and severities, once this tab may label
  let shown = null; // the response, with its marks
  let nodes = []; // of its units
  let cursor = -1;
  let anchor = -1;
  let severity = "major";
  let begun = 0;
  let saving = Promise.resolve();
  let beating = 0;
  let leaving = null; // a promise, while one response goes and the next one comes

  const markable = (index) => shown.units[index]?.[1] === 1;
  const markAt = (index) => shown.marks.find(({ first, last }) => first <= index && index <= last);
  const selection = () => (anchor < 0 ? null : [Math.min(anchor, cursor), Math.max(anchor, cursor)]);

  // --- the response -------------------------------------------------------------------------------------

  function paint() {
    const chosen = selection();
    nodes.forEach((node, index) => {
      const mark = markAt(index);
      node.className = `word${mark ? ` marked ${mark.severity}` : ""}${index === cursor ? " at" : ""}`;
      if (chosen && chosen[0] <= index && index <= chosen[1]) node.classList.add("chosen");
      if (shown.units[index][1] === 0 && shown.units[index][0].trim()) node.classList.add("fixed");
    });
    by("marks").replaceChildren(
      ...shown.marks.map((mark) => {
        const words = shown.units.slice(mark.first, mark.last + 1).map(([word]) => word).join("");
        const remove = element("button", { type: "button" }, "Remove");
        remove.addEventListener("click", () => unmark(mark));
        const grade = element("button", { type: "button" }, mark.severity);
        grade.addEventListener("click", () => regrade(mark));
        return element("li", {}, element("b", {}, mark.type), grade, element("q", {}, words), remove);
      }),
    );
    by("label-nothing").disabled = shown.marks.length > 0;
    by("label-hint").textContent = chosen
      ? `Selected: “${shown.units.slice(chosen[0], chosen[1] + 1).map(([word]) => word).join("")}”. Choose what is wrong with it.`
      : "Select the words that are wrong, or say that nothing is.";
    for (const button of by("palette").querySelectorAll("[data-kind]")) button.disabled = !chosen;
    by("severity").textContent = severity;
  }

  function present(response) {
    shown = response;
    cursor = anchor = -1;
    by("label-row").hidden = !response;
    by("label-none").hidden = Boolean(response);
    hideScores();
    if (!response) return;
    begun = performance.now();
    shown.blind = true;
    by("label-title").textContent = asrRows.rowName(response);
    const words = { done: "you were done with it: what you do now counts in its place", skipped: "you had skipped it", open: "begun, not done" };
    by("label-status").textContent = words[response.status] ?? "";
    by("label-prompt").replaceChildren(promptNode(response.prompt));
    nodes = response.units.map(([word], index) => element("span", { class: "word", "data-word": index }, word));
    text.replaceChildren(...nodes);
    paint();
    scrollTo({ top: 0 });
    text.focus({ preventScroll: true });
  }

  // --- marks --------------------------------------------------------------------------------------------

  const question = (status) => ({
    tab,
    position: shown.position,
    side: shown.side,
    marks: shown.marks.map(({ first, last, type, severity: grade }) => ({ first, last, type, severity: grade })),
    status,
    order: shown.order,
    blind: shown.blind,
    seconds: (performance.now() - begun) / 1000,
  });

  // Writes what there is, after what was written before; whether it is on disk.
  function save(status) {
    const what = question(status);
    saving = saving.then(async () => {
      const answer = await attempt(() => ask("api/labels/save", what));
      if (answer) progress(answer.progress);
      return Boolean(answer);
    });
    return saving;
  }

  function mark(type) {
    const chosen = selection();
    if (!chosen) return;
    let [first, last] = chosen;
    while (first < last && !markable(first)) first += 1;
    while (last > first && !markable(last)) last -= 1;
    if (!markable(first)) return;
    shown.marks = shown.marks.filter((one) => one.last < first || last < one.first);
    shown.marks.push({ first, last, type, severity });
    shown.marks.sort((one, other) => one.first - other.first);
    anchor = -1;
    paint();
    save("open");
  }

  function unmark(one) {
    shown.marks = shown.marks.filter((other) => other !== one);
    paint();
    save("open");
  }

  function regrade(one) {
    const grades = setup.severities;
    const next = (grade) => grades[(grades.indexOf(grade) + 1) % grades.length];
    if (one) {
      one.severity = next(one.severity);
      save("open");
    } else severity = next(severity);
    paint();
  }

  // While a response goes and the next one comes, keys mean neither.
  async function finish(status) {
    if (!shown || leaving) return;
    leaving = (async () => {
      if (await save(status)) await next();
    })();
    await leaving;
    leaving = null;
  }

  async function next() {
    const answer = await attempt(() => ask("api/labels/next", { tab, order: bar.elements.order.value }));
    if (!answer) return;
    progress(answer.progress);
    present(answer.response);
    by("label-none").textContent = `Nothing is left among ${answer.candidates.toLocaleString("en")} candidates. Choose another order, or look at the figures under Rows.`;
    if (answer.progress.done) figures();
  }

  async function back() {
    await leaving;
    await saving;
    const before = shown ? { position: shown.position, side: shown.side } : {};
    const answer = await attempt(() => ask("api/labels/back", { tab, ...before }));
    if (answer?.response) present(answer.response);
  }

  // --- scores, for those who ask ------------------------------------------------------------------------

  function hideScores() {
    by("label-revealed").hidden = true;
    by("label-revealed").replaceChildren();
    by("label-scores").setAttribute("aria-pressed", "false");
  }

  async function toggleScores() {
    if (!shown || !by("label-revealed").hidden) return hideScores();
    const answer = await attempt(() => ask("api/rows", { row: shown.row, pair: shown.pair, count: 1 }));
    const row = answer?.rows.find((one) => one.position === shown.position);
    if (!row) return undefined;
    shown.blind = false;
    const sides = row.panels.flatMap((panel, at) => {
      if (!panel) return [];
      const side = panel[shown.side];
      side.title = facts.frames.length > 1 ? `${side.side} · ${facts.frames[at].name}` : side.side;
      return [show(facts.frames[at], side)];
    });
    by("label-revealed").hidden = false;
    by("label-scores").setAttribute("aria-pressed", "true");
    by("label-revealed").replaceChildren(element("div", { class: "sides" }, ...sides.map((one) => one.node)));
    sides.forEach(drawCurve);
    return undefined;
  }

  // --- how far ------------------------------------------------------------------------------------------

  function progress({ done, target, faulty, marks, median, agreement }) {
    const parts = [`${done} of ${target} responses`, `${faulty} with faults, ${marks} marks`];
    if (median !== null) parts.push(`${Math.round(median)} s each`);
    for (const { who, responses, kappa } of agreement) {
      parts.push(`${who.join(" and ")}: ${responses} in common, kappa ${kappa === null ? "–" : kappa.toFixed(2)}`);
    }
    by("progress").textContent = parts.join(" · ");
  }

  // What the labels say of the settings on the page, and how sure one can be by now.
  async function figures() {
    const place = by("label-figures");
    if (!asrSettings.values()) return;
    let found;
    try {
      found = await ask("api/figures", { settings: asrSettings.values(), own_labels: true });
    } catch (error) {
      if (!(error instanceof asrServer.Refused)) throw error;
      return;
    }
    const lines = (found.labels?.measures ?? [])
      .filter(({ name, value, low }) => ["token_auroc", "balanced_accuracy"].includes(name) && value !== null && low !== null)
      .map(({ title, value, low, high, items }) => {
        const sure = items < 5 ? "too few for an interval" : `95 %: ${low.toFixed(2)} to ${high.toFixed(2)}`;
        const later = items >= 5 && items < 50 ? ((high - low) / 2) * Math.sqrt(items / 50) : null;
        const expected = later ? `; with 50 such responses about ±${later.toFixed(2)}` : "";
        return element("li", {}, `${title}: ${value.toFixed(2)} (${sure}), from ${items} ${items === 1 ? "response" : "responses"} with right and wrong words${expected}`);
      });
    const chosen = bar.elements.order.value === "disagreement" ? " They were chosen where signals disagree, and stand for such responses alone." : "";
    place.replaceChildren(
      ...(lines.length ? [element("p", { class: "quiet" }, `What these labels say of the settings under Rows.${chosen}`), element("ul", {}, ...lines)] : []),
    );
  }

  // --- mouse, touch and keys ----------------------------------------------------------------------------

  const wordAt = (target) => {
    const node = target?.closest?.("[data-word]");
    return node && text.contains(node) ? Number(node.dataset.word) : -1;
  };

  function listen() {
    let dragging = false;
    text.addEventListener("pointerdown", (event) => {
      const word = wordAt(event.target);
      if (word < 0 || event.button !== 0) return;
      if (event.pointerType === "mouse") {
        event.preventDefault();
        text.focus({ preventScroll: true });
        dragging = true;
        if (!event.shiftKey || anchor < 0) anchor = word;
        cursor = word;
        paint();
      }
    });
    text.addEventListener("pointermove", (event) => {
      const word = dragging ? wordAt(document.elementFromPoint(event.clientX, event.clientY)) : -1;
      if (word >= 0 && word !== cursor) {
        cursor = word;
        paint();
      }
    });
    addEventListener("pointerup", () => (dragging = false));
    // A finger scrolls; so it taps the first word and then the last.
    text.addEventListener("click", (event) => {
      const word = wordAt(event.target);
      if (word < 0 || event.pointerType === "mouse") return;
      if (anchor < 0) anchor = word;
      cursor = word;
      paint();
    });
    document.addEventListener("keydown", onKey);
  }

  function move(to, extend) {
    if (extend) anchor = anchor < 0 ? Math.max(cursor, 0) : anchor;
    else anchor = -1;
    cursor = to;
    if (!extend && markable(cursor)) anchor = cursor; // a single word is selected by going there
    paint();
    nodes[cursor]?.scrollIntoView({ block: "nearest" });
  }

  function step(by_) {
    let to = cursor;
    do to += by_;
    while (to >= 0 && to < nodes.length && !markable(to));
    return to >= 0 && to < nodes.length ? to : cursor;
  }

  function sentence(by_) {
    const ends = (index) => /[.!?\n。！？]/.test(shown.units[index][0]);
    let to = step(by_);
    while (step2(to, by_) !== to && !(by_ > 0 ? ends(to - 1) || (to > 1 && ends(to - 2)) : to > 1 && (ends(to - 1) || ends(to - 2)))) to = step2(to, by_);
    return to;
  }

  function step2(from, by_) {
    const before = cursor;
    cursor = from;
    const to = step(by_);
    cursor = before;
    return to;
  }

  function onKey(event) {
    if (by("label").hidden || by("keys").open || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, select, textarea")) return;
    if (event.key === "Enter" && event.target.closest("button")) return; // the button's own
    if (event.target.closest("#label-revealed") && event.key.startsWith("Arrow")) return;
    const act = actionOf(event);
    if (act) {
      event.preventDefault();
      act();
    }
  }

  function actionOf({ key, shiftKey }) {
    const always = { b: back, r: () => toRows(), "?": () => by("keys").showModal() }[key];
    if (always || !shown || leaving) return always;
    const kind = /^[1-9]$/.test(key) ? setup.kinds[Number(key) - 1] : null;
    if (kind) return () => mark(kind);
    return {
      ArrowRight: () => move(step(1), shiftKey),
      ArrowLeft: () => move(step(-1), shiftKey),
      ArrowDown: () => move(sentence(1), shiftKey),
      ArrowUp: () => move(sentence(-1), shiftKey),
      Escape: () => move(cursor, false) || ((anchor = -1), paint()),
      Delete: () => markAt(cursor) && unmark(markAt(cursor)),
      Backspace: () => markAt(cursor) && unmark(markAt(cursor)),
      x: () => regrade(markAt(cursor)),
      0: () => shown.marks.length === 0 && finish("done"),
      Enter: () => (shown.marks.length ? finish("done") : by("label-nothing").focus()),
      s: () => finish("skipped"),
      v: toggleScores,
    }[key];
  }

  // --- beginning and end --------------------------------------------------------------------------------

  function offerKinds() {
    by("palette").replaceChildren(
      ...setup.kinds.map((kind, place) => {
        const button = element("button", { type: "button", "data-kind": kind }, kind, ...(place < 9 ? [" ", element("kbd", {}, String(place + 1))] : []));
        button.addEventListener("click", () => {
          mark(kind);
          text.focus({ preventScroll: true });
        });
        return button;
      }),
      element("span", {}, "severity"),
      element("button", { type: "button", id: "severity" }),
      element("kbd", {}, "x"),
    );
    by("severity").addEventListener("click", () => regrade(null));
  }

  const claim = () => attempt(() => ask("api/labels/claim", { tab }));

  async function toLabels() {
    const answer = await claim();
    if (!answer) return;
    setup = answer;
    offerKinds();
    by("look").hidden = true;
    by("label").hidden = false;
    by("to-look").setAttribute("aria-pressed", "false");
    by("to-label").setAttribute("aria-pressed", "true");
    beating = setInterval(claim, 5000);
    await next();
  }

  async function toRows() {
    clearInterval(beating);
    await leaving;
    await saving;
    by("look").hidden = false;
    by("label").hidden = true;
    by("to-look").setAttribute("aria-pressed", "true");
    by("to-label").setAttribute("aria-pressed", "false");
    ask("api/labels/release", { tab }).catch(() => {});
    if (asrSettings.values()) asrSettings.figures();
  }

  function start() {
    by("to-label").hidden = !facts.labels;
    by("to-label").addEventListener("click", () => by("label").hidden && toLabels());
    by("to-look").addEventListener("click", () => by("look").hidden && toRows());
    by("label-nothing").addEventListener("click", () => finish("done"));
    by("label-done").addEventListener("click", () => (shown?.marks.length ? finish("done") : by("label-nothing").focus()));
    by("label-skip").addEventListener("click", () => finish("skipped"));
    by("label-back").addEventListener("click", back);
    by("label-scores").addEventListener("click", toggleScores);
    bar.addEventListener("submit", (event) => event.preventDefault());
    bar.elements.order.addEventListener("change", async () => {
      await saving;
      next();
    });
    asrRows.listen(by("label-revealed"));
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey;
      if (event.key === "l" && !typing && by("label").hidden && facts.labels) toLabels();
    });
    addEventListener("pagehide", () => {
      if (!by("label").hidden) ask("api/labels/release", { tab }, { keepalive: true }).catch(() => {});
    });
    listen();
  }

  start();
})();
