"use strict";
// Rows, a page of them at a time, several directories side by side. Responses are drawn by `rows.js`.

const asrLook = (() => {
  const { change, drawCurve, element, legend, number, promptNode, show, signed } = asrRows;
  const { ask, attempt, chartsReady, facts } = asrServer;
  const COUNT = 20;
  const list = document.getElementById("list");
  const filters = document.getElementById("filters");
  let offset = 0;
  let total = facts.total;
  let entries = [];
  let asked = 0;
  let clearing = false;

  // --- where masks differ -------------------------------------------------------------------------------

  // Whether each character of a side's text is trained on, a unit at a time.
  function keptCharacters(frame, side) {
    let bits = "";
    side.texts.forEach((text, index) => {
      const kept = frame.unit === "segment" ? side.segKeep[index] : side.mask[index];
      bits += kept.repeat(asrRows.plainText(text).length);
    });
    return bits;
  }

  // The units of a side whose text another side treats otherwise, and how much of the text that is.
  function differences(frame, side, others) {
    const differs = new Set();
    let at = 0;
    let apart = 0;
    const own = keptCharacters(frame, side);
    side.texts.forEach((text, index) => {
      const length = asrRows.plainText(text).length;
      for (let place = at; place < at + length; place++) {
        if (others.some((other) => other[place] !== own[place])) {
          differs.add(index);
          apart += 1;
        }
      }
      at += length;
    });
    const share = (100 * apart) / (own.length || 1);
    return { differs, differ: apart ? `masks differ in ${share < 1 ? "less than 1" : Math.round(share)} %` : "masks agree" };
  }

  // What to emphasise in each panel of one side of a row; nothing where there is a single directory.
  function compared(panels, place) {
    const kept = panels.map((sides, at) => sides && keptCharacters(facts.frames[at], sides[place]));
    return panels.map((sides, at) => {
      const others = kept.filter((one, other) => one !== null && other !== at);
      if (!sides || others.length === 0) return {};
      return differences(facts.frames[at], sides[place], at === 0 ? others : [kept[0] ?? others[0]]);
    });
  }

  // --- a row --------------------------------------------------------------------------------------------

  function gapOf(sides) {
    if (sides?.length !== 2 || sides[0].reward === null || sides[1].reward === null) return null;
    return sides[0].reward - sides[1].reward;
  }

  function headOf(entry) {
    const { row } = entry;
    const link = element("a", { href: `#${asrRows.rowId(row)}`, title: "Link to this row" }, asrRows.rowName(row));
    const head = [element("h3", {}, link)];
    const gaps = row.panels.map(gapOf).filter((gap) => gap !== null);
    if (gaps.length) head.push(element("span", {}, `reward gap ${gaps.map(signed).join(" · ")}`));
    head.push(...row.notes.map((note) => element("span", { class: "note" }, note)));
    if (row.goldError) head.push(element("span", {}, `gold labels not shown: ${row.goldError}`));
    return head;
  }

  function makeEntry(row) {
    const entry = { row, stored: row.panels, shown: [], tried: null };
    entry.head = element("div", { class: "head" });
    entry.node = element("article", { id: asrRows.rowId(row), tabindex: "-1" }, entry.head, promptNode(row.prompt));
    entry.head.append(...headOf(entry));
    const single = facts.frames.length === 1;
    let sides = element("div", { class: "sides" });
    const groups = [sides];
    facts.sides.forEach((name, place) => {
      if (!row.panels.some((panel) => panel?.length)) return;
      // Several directories: what they say of a side stands in a line of its own.
      if (!single && place > 0) groups.push((sides = element("div", { class: "sides" })));
      const emphasis = compared(row.panels, place);
      row.panels.forEach((panel, at) => {
        const frame = facts.frames[at];
        if (!panel) sides.append(element("p", { class: "quiet" }, `${frame.name} has no such row`));
        else if (panel[place]) {
          panel[place].title = !single ? `${name} · ${frame.name}` : name;
          const shown = show(frame, panel[place], emphasis[at]);
          entry.shown.push({ at, place, shown });
          sides.append(shown.node);
        }
      });
    });
    entry.node.append(...groups);
    return entry;
  }

  // Puts rewards, segments and masks of other settings into the first directory's panels; null puts the stored ones back.
  function tryMasks(entry, sides) {
    entry.tried = sides;
    entry.row.panels = entry.stored.map((panel, at) =>
      at === 0 && sides ? panel.map((side, place) => ({ ...side, ...sides[place] })) : panel,
    );
    entry.stale = true;
  }

  // Draws what changed in a row; only rows in the window are drawn at once.
  function refresh(entry) {
    if (!entry.stale) return;
    entry.stale = false;
    entry.head.replaceChildren(...headOf(entry));
    const emphasis = facts.sides.map((_, place) => compared(entry.row.panels, place));
    for (const { at, place, shown } of entry.shown) {
      if (at === 0 || entry.row.panels.length > 1) change(shown, entry.row.panels[at][place], emphasis[place][at]);
    }
  }

  // Curves follow when their script is there, of rows that are still shown.
  async function curve(shown) {
    if ((await chartsReady()) && shown.node.isConnected) await drawCurve(shown);
  }

  const inView = new IntersectionObserver(
    (changes) => {
      for (const { target, isIntersecting } of changes) {
        const entry = entries.find((one) => one.node === target);
        if (!entry) continue;
        entry.visible = isIntersecting;
        if (!isIntersecting) continue;
        refresh(entry);
        if (!entry.drawn) {
          entry.drawn = true;
          for (const { shown } of entry.shown) curve(shown);
        }
      }
    },
    { rootMargin: "400px 0px" },
  );

  // --- pages --------------------------------------------------------------------------------------------

  const listeners = [];

  // What the form asks for, without what was left empty.
  function wanted() {
    const given = {};
    for (const { name, type, value, checked } of filters.elements) {
      if (!name || name === "row") continue;
      if (type === "checkbox") given[name] = checked;
      else if (type !== "number") given[name] = value;
      else if (value !== "") given[name] = Number(value);
    }
    return given;
  }

  async function load(question, { quiet = false } = {}) {
    const mine = ++asked;
    if (!quiet) list.setAttribute("aria-busy", "true");
    const answer = await attempt(() => ask("api/rows", { count: COUNT, filter: wanted(), ...question }));
    if (mine !== asked) return false; // a later question is on its way
    list.removeAttribute("aria-busy");
    if (!answer) return false;
    ({ offset, total } = answer);
    answer.units.forEach((unit, at) => (facts.frames[at].unit = unit));
    inView.disconnect();
    entries = answer.rows.map(makeEntry);
    list.replaceChildren(...entries.map((entry) => entry.node));
    for (const entry of entries) inView.observe(entry.node);
    describePlace();
    for (const listener of listeners) listener();
    return true;
  }

  function describePlace() {
    const last = offset + entries.length;
    document.getElementById("place").textContent = total ? `${offset + 1} to ${last} of ${total.toLocaleString("en")}` : "";
    const all = facts.total.toLocaleString("en");
    document.getElementById("count").textContent = `${total === facts.total ? "" : `${total.toLocaleString("en")} of `}${all} rows`;
    document.getElementById("none").hidden = total > 0;
    if (total === 0 && facts.total === 0) document.getElementById("none").textContent = "There is no annotated row.";
    document.getElementById("pager").hidden = total <= COUNT;
    for (const button of document.querySelectorAll("#pager button")) {
      button.disabled = { first: offset === 0, previous: offset === 0 }[button.dataset.to] ?? last >= total;
    }
  }

  async function turn(to) {
    const last = Math.max(0, Math.ceil(total / COUNT) - 1) * COUNT;
    const next = { first: 0, previous: Math.max(0, offset - COUNT), next: Math.min(last, offset + COUNT), last }[to];
    if (next !== offset && (await load({ offset: next }))) {
      list.scrollIntoView({ block: "start" });
      list.focus({ preventScroll: true });
    }
  }

  // ``to`` has a row, and a pair of it where a link names one.
  async function goTo(to) {
    const meant = ({ row }) => row.row === to.row && (to.pair === undefined || row.pair === to.pair);
    let entry = entries.find(meant);
    // A link to a row that the filters leave out brings it back.
    if (!entry && ((await load(to)) || (clear() && (await load(to))))) entry = entries.find(meant);
    entry?.node.scrollIntoView();
    entry?.node.focus({ preventScroll: true });
  }

  // Empties the form; whether there was anything in it.
  function clear() {
    const before = JSON.stringify(wanted());
    clearing = true;
    filters.reset();
    clearing = false;
    return JSON.stringify(wanted()) !== before;
  }

  const linked = () => {
    const [, row, pair] = /^#row-(\d{1,15})(?:-(\d{1,6}))?$/.exec(location.hash) ?? [];
    return row && { row: Number(row), ...(pair && { pair: Number(pair) }) };
  };

  function step(by) {
    const tops = entries.map((entry) => entry.node.getBoundingClientRect().top);
    let at = entries.findIndex((entry) => entry.node === document.activeElement);
    if (at < 0) at = tops.findLastIndex((top) => top < 60);
    const entry = entries[Math.max(0, Math.min(entries.length - 1, at + by))];
    entry?.node.scrollIntoView();
    entry?.node.focus({ preventScroll: true });
  }

  // --- keys ---------------------------------------------------------------------------------------------

  const help = document.getElementById("keys");
  const keys = {
    j: () => step(1),
    k: () => step(-1),
    n: () => turn("next"),
    p: () => turn("previous"),
    "/": () => filters.elements.text.focus(),
    g: () => filters.elements.row.focus(),
    "?": () => help.showModal(),
  };

  function onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || help.open) return;
    if (event.target.closest("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const action = document.getElementById("look").hidden ? null : keys[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  }

  function offerFilters() {
    const { note, side, sort } = filters.elements;
    note.append(new Option("none", "-"), ...facts.notes.map((name) => new Option(name, name)));
    note.closest("label").hidden = facts.notes.length === 0;
    side.append(...facts.sides.map((name) => new Option(name, name)));
    sort.append(...Object.entries(facts.orders).map(([name, words]) => new Option(words, name)));
    const there = { gold: facts.gold, pairs: facts.sides.length === 2 };
    for (const node of document.querySelectorAll("[data-needs]")) node.hidden = !there[node.dataset.needs];
    let waiting;
    filters.addEventListener("input", ({ target }) => {
      clearTimeout(waiting);
      // A condition is asked for when it is whole.
      if (target.name !== "row" && target.name !== "where") waiting = setTimeout(() => load({ offset: 0 }), 250);
    });
    filters.elements.where.addEventListener("change", () => load({ offset: 0 }));
    filters.addEventListener("reset", () => clearing || setTimeout(() => load({ offset: 0 })));
    filters.addEventListener("submit", (event) => event.preventDefault());
  }

  function start() {
    offerFilters();
    legend(document.getElementById("ramp"));
    asrRows.listen(list);
    document.addEventListener("keydown", onKey);
    document.getElementById("help").addEventListener("click", () => help.showModal());
    document.getElementById("pager").addEventListener("click", (event) => {
      if (event.target.dataset.to) turn(event.target.dataset.to);
    });
    filters.elements.row.addEventListener("change", ({ target }) => {
      if (target.value === "") return;
      history.replaceState(null, "", `#row-${Number(target.value)}`);
      goTo({ row: Number(target.value) });
    });
    addEventListener("hashchange", () => linked() && goTo(linked()));
    begin().then(whenReady);
  }

  async function begin() {
    if (linked() && (await load(linked()))) return goTo(linked());
    return load({ offset: 0 });
  }

  // The first rows wait neither for curves nor for tokenizers; with these come tokens, and settings that can be changed.
  async function whenReady() {
    for (let charts = false; !charts || !facts.ready; ) {
      const answer = await attempt(() => ask("api/ready", { ready: facts.ready, charts }), { background: true });
      if (!answer) return;
      if (answer.charts && !charts) asrServer.fetchCharts();
      charts = answer.charts;
      if (answer.ready && !facts.ready) await takeTokens(answer);
    }
  }

  async function takeTokens({ frames, controls }) {
    frames.forEach((frame, at) => Object.assign(facts.frames[at], frame));
    Object.assign(facts, { ready: true, controls });
    asrSettings.begin();
    const focused = document.activeElement?.closest?.("article")?.id;
    await load({ offset }, { quiet: true });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  start();
  return { curve, entries: () => entries, listeners, load, number, refresh, reload: () => load({ offset }), tryMasks };
})();
