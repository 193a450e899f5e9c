"use strict";
// The rows of a report: filters over what the page holds, and links to rows. Responses are drawn by `rows.js`.

(() => {
  const { element, legend, ones, plainText, signed } = asrRows;
  let page;
  const entries = [];
  const byRow = new Map();

  // --- rows ---------------------------------------------------------------------------------------------

  function fill(entry) {
    if (entry.filled) return;
    entry.filled = true;
    const { row } = entry;
    const shown = row.sides.map((side) => asrRows.show(page, side));
    const sides = element("div", { class: "sides" }, ...shown.map((side) => side.node));
    entry.node.append(asrRows.promptNode(row.prompt), sides);
    entry.node.style.minHeight = "";
    shown.forEach(asrRows.drawCurve);
  }

  function rowNode(entry) {
    const { row } = entry;
    const link = element("a", { href: `#${asrRows.rowId(row)}`, title: "Link to this row" }, asrRows.rowName(row));
    const head = element("div", { class: "head" }, element("h3", {}, link));
    if (entry.gap !== null) head.append(element("span", {}, `reward gap ${signed(entry.gap)}`));
    head.append(...row.notes.map((note) => element("span", { class: "note" }, note)));
    if (row.goldError) head.append(element("span", {}, `gold labels not shown: ${row.goldError}`));
    const node = element("article", { id: asrRows.rowId(row) }, head);
    const letters = Math.max(...row.sides.map((side) => side.texts.map(plainText).join("").length));
    node.style.minHeight = `${220 + Math.ceil(letters / 65) * 29}px`; // about as high as it will be
    return node;
  }

  function makeEntry(row) {
    const [first, second] = row.sides;
    const known = second && first.reward !== null && second.reward !== null;
    const entry = { row, filled: false, gap: known ? first.reward - second.reward : null };
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
    page.curve = page.charts.curve;
    legend(document.getElementById("ramp"));
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
    asrRows.listen(document.getElementById("list"));
    addEventListener("hashchange", goToLinked);
    goToLinked();
    for (const place of document.querySelectorAll("[data-chart]")) {
      const { chart, bins } = page.charts.overview[place.dataset.chart];
      asrRows.draw(place, chart, { bins });
    }
  }

  // The overview stands in the markup. It is painted first.
  requestAnimationFrame(() => setTimeout(start));
})();
