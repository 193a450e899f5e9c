"use strict";
// Labelling: one response at a time, faults marked on its words (`words.js`), written before anything else happens.

const asrLabel = (() => {
  const { element, promptNode, show } = asrRows;
  const { ask, attempt, facts } = asrServer;
  const by = (id) => document.getElementById(id);
  const words = asrWords;
  const bar = by("label-bar");
  const tab = crypto.randomUUID();
  let setup = null; // kinds and severities, once this tab may label
  let shown = null; // the response, with its marks
  let severity = "major";
  let begun = 0;
  let saving = Promise.resolve();
  let beating = 0;
  let leaving = null; // a promise, while one response goes and another one comes
  let early = []; // keys pressed meanwhile

  const markAt = (index) => shown.marks.find(({ first, last }) => first <= index && index <= last);

  // --- the response -------------------------------------------------------------------------------------

  function paint() {
    const inside = words.selection();
    words.paint(shown.marks);
    by("marks").replaceChildren(
      ...shown.marks.map((mark) => {
        const remove = element("button", { type: "button" }, "Remove");
        remove.addEventListener("click", () => unmark(mark));
        const grade = element("button", { type: "button" }, mark.severity);
        grade.addEventListener("click", () => regrade(mark));
        return element("li", {}, element("b", {}, mark.type), grade, element("q", {}, words.textOf(mark.first, mark.last)), remove);
      }),
    );
    by("label-nothing").disabled = shown.marks.length > 0;
    const chosen = inside && `“${words.textOf(...inside)}” is selected: choose what is wrong with it.`;
    const start = "Select the words that are wrong, or say that nothing is.";
    by("label-hint").textContent = chosen ?? (shown.marks.length ? "Select what else is wrong, or be done." : start);
    for (const button of by("palette").querySelectorAll("[data-kind]")) button.disabled = !inside;
    by("severity").textContent = severity;
  }

  function present(response) {
    shown = response;
    by("label-row").hidden = !response;
    by("label-none").hidden = Boolean(response);
    hideScores();
    if (!response) return;
    begun = performance.now();
    severity = "major"; // what was chosen for one response is not meant for the next
    by("label-early").textContent = "";
    shown.blind = true;
    by("label-title").textContent = asrRows.rowName(response);
    const states = { done: "you were done with it: what you do now counts in its place", skipped: "you had skipped it", open: "begun, not done" };
    by("label-status").textContent = states[response.status] ?? "";
    by("label-prompt").replaceChildren(promptNode(response.prompt));
    words.present(response.units);
    paint();
    scrollTo({ top: 0 });
    words.focus();
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
    const chosen = words.chosen();
    if (!chosen) return;
    const [first, last] = chosen;
    shown.marks = shown.marks.filter((one) => one.last < first || last < one.first);
    shown.marks.push({ first, last, type, severity });
    shown.marks.sort((one, other) => one.first - other.first);
    words.clear();
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

  // Runs `work`, which brings another response. Until that is shown, the old one is grey and takes no marks, and keys that
  // were pressed are named and count for neither: whoever pressed them had not seen what they would be for.
  async function leave(work) {
    while (leaving) await leaving;
    const row = by("label-row");
    row.inert = true;
    row.setAttribute("aria-busy", "true");
    early = [];
    leaving = work();
    try {
      await leaving;
    } finally {
      leaving = null;
      row.inert = false;
      row.removeAttribute("aria-busy");
      if (shown) words.focus();
      if (early.length) by("label-early").textContent = `Not counted, since this response was not shown yet: ${early.join(" ")}`;
    }
  }

  async function finish(status) {
    if (!shown || leaving) return;
    await leave(async () => {
      if (await save(status)) await next();
    });
  }

  async function next() {
    const answer = await attempt(() => ask("api/labels/next", { tab, order: bar.elements.order.value }));
    if (!answer) return;
    progress(answer.progress);
    present(answer.response);
    by("label-none").textContent = `Nothing is left among ${answer.candidates.toLocaleString("en")} candidates. Choose another order, or look at the figures under Rows.`;
    if (answer.progress.done) figuresSoon();
  }

  const back = () =>
    leave(async () => {
      await saving;
      const before = shown ? { position: shown.position, side: shown.side } : {};
      const answer = await attempt(() => ask("api/labels/back", { tab, ...before }));
      if (answer?.response) present(answer.response);
      else if (answer) by("label-early").textContent = "There is no earlier response.";
    });

  // --- scores, for those who ask ------------------------------------------------------------------------

  function hideScores() {
    by("label-revealed").hidden = true;
    by("label-revealed").replaceChildren();
    by("label-scores").setAttribute("aria-pressed", "false");
  }

  async function toggleScores() {
    if (!shown || !by("label-revealed").hidden) return hideScores();
    const asked = shown;
    const answer = await attempt(() => ask("api/rows", { row: asked.row, pair: asked.pair, count: 1 }));
    const row = answer?.rows.find((one) => one.position === asked.position);
    if (!row || shown !== asked || leaving) return undefined; // another response by now
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
    sides.forEach(asrLook.curve);
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

  let figuresAt = 0;
  let working = null;

  // Figures take the server some tenths of a second; whoever labels fast does not wait for them.
  function figuresSoon() {
    clearTimeout(figuresAt);
    figuresAt = setTimeout(async () => {
      if (working) return figuresSoon();
      working = figures();
      await working;
      working = null;
      return undefined;
    }, 700);
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

  // --- keys ---------------------------------------------------------------------------------------------

  function onKey(event) {
    if (by("label").hidden || by("keys").open || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, select, textarea")) return;
    // A key that is held down moves the cursor on; it judges no second response, and presses no button twice.
    if (event.repeat && !event.key.startsWith("Arrow")) {
      event.preventDefault();
      return;
    }
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
    if (always || (!shown && !leaving)) return always;
    const kind = /^[1-9]$/.test(key) ? setup.kinds[Number(key) - 1] : null;
    const act = kind ? () => mark(kind) : (words.actionOf(key, shiftKey) ?? ofResponse(key));
    return act && leaving ? () => early.push(key) : act;
  }

  function ofResponse(key) {
    return {
      Delete: unmarkHere,
      Backspace: unmarkHere,
      x: () => regrade(markAt(words.at())),
      0: () => shown.marks.length === 0 && finish("done"),
      Enter: () => (shown.marks.length ? finish("done") : by("label-nothing").focus()),
      s: () => finish("skipped"),
      v: toggleScores,
    }[key];
  }

  function unmarkHere() {
    const mark = markAt(words.at());
    if (mark) unmark(mark);
  }

  // --- beginning and end --------------------------------------------------------------------------------

  function offerKinds() {
    by("palette").replaceChildren(
      ...setup.kinds.map((kind, place) => {
        const button = element("button", { type: "button", "data-kind": kind }, kind, ...(place < 9 ? [" ", element("kbd", {}, String(place + 1))] : []));
        button.addEventListener("click", () => {
          mark(kind);
          words.focus();
        });
        return button;
      }),
      element("button", { type: "button", id: "label-whole" }, "whole sentence ", element("kbd", {}, "w")),
      element("span", {}, "severity"),
      element("button", { type: "button", id: "severity" }),
      element("kbd", {}, "x"),
    );
    by("severity").addEventListener("click", () => regrade(null));
    by("label-whole").addEventListener("click", words.selectWhole);
  }

  const claim = () => ask("api/labels/claim", { tab });

  // Says that this tab is still there; what else is said at the top of the page stays there.
  const beat = () => attempt(claim, { background: true });

  async function toLabels() {
    const answer = await attempt(claim);
    if (!answer) return;
    setup = answer;
    offerKinds();
    by("look").hidden = true;
    by("label").hidden = false;
    by("to-look").setAttribute("aria-pressed", "false");
    by("to-label").setAttribute("aria-pressed", "true");
    clearInterval(beating);
    beating = setInterval(beat, 5000);
    await leave(next);
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
    bar.elements.order.addEventListener("change", () =>
      leave(async () => {
        await saving;
        await next();
      }),
    );
    asrRows.listen(by("label-revealed"));
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey;
      if (event.key === "l" && !typing && by("label").hidden && facts.labels) toLabels();
    });
    addEventListener("pagehide", () => {
      if (!by("label").hidden) ask("api/labels/release", { tab }, { keepalive: true }).catch(() => {});
    });
    words.listen(paint);
    document.addEventListener("keydown", onKey);
  }

  start();
})();
