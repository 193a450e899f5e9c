"use strict";
// Everything that comes from the data set gets into the page as text: `textContent` and `append`, never as markup.
// A unit is what is tinted: a token, or a segment where the tokens' texts are not known.

(() => {
  const STEPS = 8;
  let page;
  const entries = [];
  const byRow = new Map();

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const number = (value, digits = 3) =>
    value === null ? "unknown" : String(Number(value.toPrecision(digits))).replace("-", "−");
  const signed = (value) => (value < 0 ? "" : "+") + number(value);
  const percent = (part, whole) => (whole ? `${Math.round((100 * part) / whole)} %` : "–");
  const ones = (bits) => bits.split("1").length - 1;
  const plainText = (unit) =>
    typeof unit === "string" ? unit : Array.isArray(unit) ? unit.map(([text]) => text).join("") : "";

  // --- one response -------------------------------------------------------------------------------------

  const segmentEnd = (side, segment) => side.starts[segment + 1] ?? side.rewards.length;

  function tint(reward, side) {
    if (reward === null) return "unknown";
    const step = Math.round(Math.max(-1, Math.min(1, (reward - (side.b ?? page.centre)) / page.spread)) * STEPS);
    return step < 0 ? `m${-step}` : `p${step}`;
  }

  function unitNode(side, index, reward) {
    const text = side.texts[index];
    const node = element("span", { class: `unit ${tint(reward, side)}`, "data-unit": index });
    if (typeof text === "string") node.append(text);
    else if (Array.isArray(text)) {
      for (const [piece, gold] of text) {
        node.append(gold >= 0 && side.gold[gold][2] ? element("span", { class: "fault" }, piece) : piece);
      }
    } else {
      // The end of a turn may be trained on where its segment is not, and the other way round.
      const trained = page.unit === "segment" || side.mask[index] === "1";
      node.append(element("span", { class: trained ? "mark" : "mark off" }, text.mark));
    }
    return node;
  }

  // Line ends at the end of a segment stand after its outline, which would else go on at the start of the next line.
  function lineEndsAfter(segment) {
    const texts = document.createTreeWalker(segment, NodeFilter.SHOW_TEXT);
    let text = texts.lastChild();
    let found = "";
    while (text) {
      const ends = /\n*$/.exec(text.data)[0];
      found = ends + found;
      text.data = text.data.slice(0, text.data.length - ends.length);
      text = text.data ? null : texts.previousNode();
    }
    if (found && !segment.textContent) segment.lastChild.append(element("span", { class: "mark" }, "↵"));
    return found;
  }

  function responseNode(side) {
    const node = element("p", {
      class: "response",
      dir: "auto",
      tabindex: "0",
      role: "group",
      "aria-label": `${side.side} response; arrow keys move from ${page.unit} to ${page.unit}`,
    });
    side.starts.forEach((start, segment) => {
      const kept = side.segKeep[segment] === "1";
      const outline = element("span", { class: `seg ${kept ? "kept" : "dropped"}` });
      if (page.unit === "segment") outline.append(unitNode(side, segment, side.segRewards[segment]));
      else {
        for (let token = start; token < segmentEnd(side, segment); token++) {
          outline.append(unitNode(side, token, side.rewards[token]));
        }
      }
      node.append(outline, lineEndsAfter(outline));
    });
    return node;
  }

  function segmentOf(side, token) {
    let low = 0;
    let high = side.starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (side.starts[middle] <= token) low = middle;
      else high = middle;
    }
    return low;
  }

  function describe(side, index) {
    const segment = page.unit === "segment" ? index : segmentOf(side, index);
    const lines = [];
    if (page.unit === "token") {
      const reward = side.rewards[index];
      const apart = reward === null || side.b === null ? "" : ` (b ${signed(reward - side.b)})`;
      const trained = side.mask[index] === "1" ? "trained on" : "not trained on";
      lines.push(`token ${index + 1} of ${side.rewards.length}, ${trained}`, `reward ${number(reward, 6)}${apart}`);
    }
    const decision = side.segKeep[segment] === "1" ? "kept" : "dropped";
    lines.push(`segment ${segment + 1} of ${side.starts.length}, ${decision}: ${number(side.segRewards[segment], 6)}`);
    const text = side.texts[index];
    const labels = Array.isArray(text) ? text.map(([, gold]) => gold).filter((gold) => gold >= 0) : [];
    for (const gold of new Set(labels)) lines.push(`gold ${side.gold[gold][0]}: ${number(side.gold[gold][1])}`);
    return lines.join("\n");
  }

  // --- charts -------------------------------------------------------------------------------------------

  async function draw(place, chart, data, signals = {}) {
    const spec = structuredClone(chart);
    spec.width = place.clientWidth;
    for (const source of spec.data) if (source.name in data) source.values = data[source.name];
    for (const signal of spec.signals ?? []) if (signal.name in signals) signal.value = signals[signal.name];
    const { view } = await drawChart(place, spec);
    new ResizeObserver(() => {
      if (place.clientWidth && place.clientWidth !== view.width()) view.width(place.clientWidth).runAsync();
    }).observe(place);
    return view;
  }

  function curveAxes(side) {
    const decided = side.b === null ? [] : [side.b - (side.delta ?? 0), side.b + (side.delta ?? 0)];
    const values = [...side.rewards.filter((reward) => reward !== null), ...decided];
    const low = values.reduce((least, value) => Math.min(least, value), Infinity);
    const high = values.reduce((most, value) => Math.max(most, value), -Infinity);
    const room = high > low ? 0 : 1;
    return { count: side.rewards.length, ...(values.length ? { low: low - room, high: high + room } : {}) };
  }

  function curveData(side) {
    const band = side.b === null || side.delta === null ? {} : { low: side.b - side.delta, high: side.b + side.delta };
    return {
      tokens: side.rewards.map((r, t) => ({ t, r })),
      segments: side.starts.map((start, segment) => ({
        a: start - 0.5,
        z: segmentEnd(side, segment) - 0.5,
        r: side.segRewards[segment],
        kept: side.segKeep[segment] === "1",
      })),
      level: side.b === null ? [] : [{ b: side.b, ...band }],
    };
  }

  // --- rows ---------------------------------------------------------------------------------------------

  function sideNode(entry, side) {
    const kept = ones(side.mask);
    const band = side.b === null ? "" : `, b ${number(side.b)}${side.delta === null ? "" : ` ± ${number(side.delta)}`}`;
    const heading = element(
      "h4",
      {},
      side.side,
      element("span", {}, `reward ${number(side.reward)}${band}`),
      element("span", {}, `${ones(side.segKeep)} of ${side.starts.length} segments and ${percent(kept, side.rewards.length)} of ${side.rewards.length} tokens kept`),
    );
    if (side.others) heading.append(element("span", {}, `${side.others} messages of others not shown`));
    const curve = element("div", {
      class: "chart",
      role: "img",
      "aria-label": `Token rewards of the ${side.side} response, from ${number(side.rewards[0])} at its first token`,
    });
    const response = responseNode(side);
    const node = element("div", { class: "side" }, heading, curve, response);
    const shown = { side, response, view: null, at: -1 };
    entry.shown.set(response, shown);
    draw(curve, page.charts.curve, curveData(side), curveAxes(side)).then((view) => {
      shown.view = view;
      curve.addEventListener("pointermove", (event) => {
        const x = event.clientX - curve.getBoundingClientRect().left - view.origin()[0];
        const token = Math.max(0, Math.min(side.rewards.length - 1, Math.round(view.scale("x").invert(x))));
        select(shown, page.unit === "segment" ? segmentOf(side, token) : token);
      });
      curve.addEventListener("pointerleave", () => select(null));
    });
    return node;
  }

  function fill(entry) {
    if (entry.filled) return;
    entry.filled = true;
    const { row } = entry;
    const prompt = element("p", { class: "prompt", dir: "auto" }, row.prompt);
    if (row.prompt.length > 700 || row.prompt.split("\n").length > 8) {
      prompt.classList.add("long");
      prompt.tabIndex = 0;
    }
    const sides = element("div", { class: "sides" });
    entry.node.append(prompt, sides);
    entry.node.style.minHeight = "";
    sides.append(...row.sides.map((side) => sideNode(entry, side)));
  }

  function rowNode(entry) {
    const { row } = entry;
    const link = element("a", { href: `#row-${row.row}`, title: "Link to this row" }, `Row ${row.row}`);
    const head = element("div", { class: "head" }, element("h3", {}, link));
    if (entry.gap !== null) head.append(element("span", {}, `reward gap ${signed(entry.gap)}`));
    head.append(...row.notes.map((note) => element("span", { class: "note" }, note)));
    if (row.goldError) head.append(element("span", {}, `gold labels not shown: ${row.goldError}`));
    const node = element("article", { id: `row-${row.row}` }, head);
    const letters = Math.max(...row.sides.map((side) => side.texts.map(plainText).join("").length));
    node.style.minHeight = `${220 + Math.ceil(letters / 65) * 29}px`; // about as high as it will be
    return node;
  }

  function makeEntry(row) {
    const [first, second] = row.sides;
    const known = second && first.reward !== null && second.reward !== null;
    const entry = { row, filled: false, shown: new Map(), gap: known ? first.reward - second.reward : null };
    entry.share = new Map(row.sides.map((side) => [side.side, ones(side.mask) / (side.rewards.length || 1)]));
    entry.faulty = row.sides.some((side) => side.gold.some(([, , fault]) => fault));
    entry.node = rowNode(entry);
    return entry;
  }

  const haystack = (entry) => {
    entry.text ??= [entry.row.prompt, ...entry.row.sides.map((side) => side.texts.map(plainText).join(""))]
      .join("\n")
      .toLowerCase();
    return entry.text;
  };

  // --- values of a unit, by pointer and by keyboard -----------------------------------------------------

  const tip = document.getElementById("tip");
  let current = null;

  function select(shown, index = -1) {
    if (current) {
      current.response.querySelector(".unit.at")?.classList.remove("at");
      if (current !== shown) mark(current, -1);
    }
    current = shown;
    tip.hidden = !shown;
    if (!shown) return;
    shown.at = index;
    const unit = shown.response.querySelector(`[data-unit="${index}"]`);
    unit.classList.add("at");
    mark(shown, page.unit === "segment" ? shown.side.starts[index] : index);
    tip.textContent = describe(shown.side, index);
    const box = unit.getClientRects()[0] ?? unit.getBoundingClientRect();
    const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8));
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above < 0 ? box.bottom + 8 : above) + scrollY}px`;
  }

  function mark(shown, token) {
    shown.view?.signal("cursor", token).runAsync();
  }

  function shownAt(target) {
    const response = target.closest?.(".response");
    const entry = response && byRow.get(response.closest("article").id);
    return entry ? entry.shown.get(response) : null;
  }

  function onKey(event) {
    const shown = shownAt(event.target);
    if (!shown || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = shown.side.texts.length - 1;
    const at = current === shown ? shown.at : -1;
    const segment = page.unit === "segment" || at < 0 ? at : segmentOf(shown.side, at);
    const start = (number) => (page.unit === "segment" ? number : shown.side.starts[number]);
    const segments = shown.side.starts.length;
    const to = {
      ArrowRight: () => Math.min(last, at + 1),
      ArrowLeft: () => Math.max(0, at - 1),
      ArrowDown: () => start(Math.min(segments - 1, segment + 1)),
      ArrowUp: () => start(Math.max(0, segment - 1)),
      Home: () => 0,
      End: () => last,
    }[event.key];
    if (to) {
      event.preventDefault();
      select(shown, to());
      shown.response.querySelector(".unit.at").scrollIntoView({ block: "nearest" });
    } else if (event.key === "Escape") select(null);
  }

  function listen() {
    const list = document.getElementById("list");
    list.addEventListener("pointerover", (event) => {
      const unit = event.target.closest(".unit");
      if (unit) select(shownAt(unit), Number(unit.dataset.unit));
    });
    list.addEventListener("pointerout", (event) => {
      if (event.pointerType === "mouse" && event.target.closest(".unit")) select(null);
    });
    list.addEventListener("keydown", onKey);
    list.addEventListener("focusout", () => select(null));
  }

  // --- filters ------------------------------------------------------------------------------------------

  const filters = document.getElementById("filters");

  function filter() {
    const { text, note, side, keptFrom, keptTo, gapFrom, gapTo, faulty } = filters.elements;
    const needle = text.value.trim().toLowerCase();
    const within = (value, from, to, scale = 1) =>
      (from.value === "" && to.value === "") ||
      (value !== null &&
        value !== undefined &&
        (from.value === "" || value * scale >= Number(from.value)) &&
        (to.value === "" || value * scale <= Number(to.value)));
    let count = 0;
    for (const entry of entries) {
      const fits =
        within(entry.share.get(side.value), keptFrom, keptTo, 100) &&
        within(entry.gap, gapFrom, gapTo) &&
        (note.value === "" || (note.value === "-" ? !entry.row.notes.length : entry.row.notes.includes(note.value))) &&
        (!faulty.checked || entry.faulty) &&
        (needle === "" || haystack(entry).includes(needle) || String(entry.row.row) === needle);
      entry.node.hidden = !fits;
      count += fits;
    }
    document.getElementById("count").textContent = `${count} of ${entries.length} rows`;
    document.getElementById("none").hidden = count > 0;
  }

  function offerFilters() {
    const { note, side } = filters.elements;
    const notes = [...new Set(entries.flatMap((entry) => entry.row.notes))].sort();
    if (notes.length) note.append(new Option("none", "-"));
    note.append(...notes.map((name) => new Option(name, name)));
    note.closest("label").hidden = notes.length === 0;
    side.append(...page.sides.map((name) => new Option(name, name)));
    const there = { gold: entries.some((entry) => entry.faulty), pairs: page.sides.length === 2 };
    for (const node of document.querySelectorAll("[data-needs]")) node.hidden = !there[node.dataset.needs];
    filters.addEventListener("input", filter);
    filters.addEventListener("reset", () => setTimeout(filter));
    filters.addEventListener("submit", (event) => event.preventDefault());
  }

  // --- links to rows ------------------------------------------------------------------------------------

  function goToLinked() {
    const entry = byRow.get(location.hash.slice(1));
    if (!entry) return;
    if (entry.node.hidden) {
      filters.reset();
      filter();
    }
    fill(entry);
    entry.node.scrollIntoView();
  }

  function start() {
    page = JSON.parse(document.getElementById("data").textContent);
    for (let step = -STEPS; step <= STEPS; step++) {
      document.getElementById("ramp").append(element("i", { class: `unit ${step < 0 ? `m${-step}` : `p${step}`}` }));
    }
    for (const row of page.rows) {
      const entry = makeEntry(row);
      entries.push(entry);
      byRow.set(entry.node.id, entry);
    }
    offerFilters();
    document.getElementById("list").append(...entries.map((entry) => entry.node));
    filter();
    const inView = new IntersectionObserver(
      (changes) => {
        for (const change of changes) if (change.isIntersecting) fill(byRow.get(change.target.id));
      },
      { rootMargin: "600px 0px" },
    );
    for (const entry of entries) inView.observe(entry.node);
    listen();
    addEventListener("hashchange", goToLinked);
    goToLinked();
    for (const place of document.querySelectorAll("[data-chart]")) {
      const { chart, bins } = page.charts.overview[place.dataset.chart];
      draw(place, chart, { bins });
    }
  }

  // The overview stands in the markup. It is painted first.
  requestAnimationFrame(() => setTimeout(start));
})();
