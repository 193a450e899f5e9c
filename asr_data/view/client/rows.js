"use strict";
// Responses with their tints, segments, curves and values, as every page shows them.
// Everything that comes from the data set gets into the page as text: `textContent` and `append`, never as markup.
// A unit is what is tinted: a token, or a segment where the tokens' texts are not known.
// A frame is what the responses of one directory have in common: `unit`, `spread`, `centre` and the chart `curve`.

const asrRows = (() => {
  const STEPS = 8;
  const shownOf = new WeakMap();

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
  const rowName = ({ row, pair }) => `Row ${row}${pair === undefined ? "" : `, pair ${pair}`}`;
  const rowId = ({ row, pair }) => `row-${row}${pair === undefined ? "" : `-${pair}`}`;
  const ones = (bits) => bits.split("1").length - 1;
  const plainText = (unit) =>
    typeof unit === "string" ? unit : Array.isArray(unit) ? unit.map(([text]) => text).join("") : "";

  // --- one response -------------------------------------------------------------------------------------

  const segmentEnd = (side, segment) => side.starts[segment + 1] ?? side.rewards.length;
  const step = (at) => `unit ${at < 0 ? `m${-at}` : `p${at}`}`;

  function tint(frame, reward, side) {
    if (reward === null) return "unit unknown";
    return step(Math.round(Math.max(-1, Math.min(1, (reward - (side.b ?? frame.centre)) / frame.spread)) * STEPS));
  }

  function unitNode(shown, index, reward) {
    const { frame, side } = shown;
    const text = side.texts[index];
    const node = element("span", { class: tint(frame, reward, side), "data-unit": index });
    if (shown.differs?.has(index)) node.classList.add("differs");
    if (typeof text === "string") node.append(text);
    else if (Array.isArray(text)) {
      for (const [piece, gold] of text) {
        node.append(gold >= 0 && side.gold[gold][2] ? element("span", { class: "fault" }, piece) : piece);
      }
    } else {
      // The end of a turn may be trained on where its segment is not, and the other way round.
      const trained = frame.unit === "segment" || side.mask[index] === "1";
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

  function outlines(shown) {
    const { frame, side } = shown;
    return side.starts.flatMap((start, segment) => {
      const kept = side.segKeep[segment] === "1";
      const outline = element("span", { class: `seg ${kept ? "kept" : "dropped"}` });
      if (frame.unit === "segment") outline.append(unitNode(shown, segment, side.segRewards[segment]));
      else {
        for (let token = start; token < segmentEnd(side, segment); token++) {
          outline.append(unitNode(shown, token, side.rewards[token]));
        }
      }
      return [outline, lineEndsAfter(outline)];
    });
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

  function describe({ frame, side }, index) {
    const segment = frame.unit === "segment" ? index : segmentOf(side, index);
    const lines = [];
    if (frame.unit === "token") {
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

  // --- one side of a row --------------------------------------------------------------------------------

  function headings(side, differ) {
    const kept = ones(side.mask);
    const band = side.b === null ? "" : `, b ${number(side.b)}${side.delta === null ? "" : ` ± ${number(side.delta)}`}`;
    const found = [
      side.title ?? side.side,
      element("span", {}, `reward ${number(side.reward)}${band}`),
      element("span", {}, `${ones(side.segKeep)} of ${side.starts.length} segments and ${percent(kept, side.rewards.length)} of ${side.rewards.length} tokens kept`),
    ];
    if (side.others) found.push(element("span", {}, `${side.others} messages of others not shown`));
    if (differ) found.push(element("span", { class: "differ" }, differ));
    return found;
  }

  // A response with its heading and its curve; `shown.node` is to be put into the page.
  // With `differs`, units whose mask is another one elsewhere, and `differ`, how many there are, in words.
  function show(frame, side, { differs = null, differ = "" } = {}) {
    const heading = element("h4", {}, ...headings(side, differ));
    const curve = element("div", {
      class: "chart",
      role: "img",
      "aria-label": `Token rewards of the ${side.side} response, from ${number(side.rewards[0] ?? null)} at its first token`,
    });
    const response = element("p", {
      class: "response",
      dir: "auto",
      tabindex: "0",
      role: "group",
      "aria-label": `${side.title ?? side.side} response; arrow keys move from ${frame.unit} to ${frame.unit}`,
    });
    const node = element("div", { class: "side" }, heading, curve, response);
    const shown = { frame, side, node, heading, curve, response, differs, view: null, redrawn: null, at: -1 };
    response.append(...outlines(shown));
    shownOf.set(response, shown);
    return shown;
  }

  // Draws the curve of a side that is in the page.
  async function drawCurve(shown) {
    const { curve, frame, side: drawn } = shown;
    const view = await draw(curve, frame.curve, curveData(drawn), curveAxes(drawn));
    shown.view = view;
    if (shown.side !== drawn) redraw(shown); // it changed meanwhile
    curve.addEventListener("pointermove", (event) => {
      const x = event.clientX - curve.getBoundingClientRect().left - view.origin()[0];
      const { side } = shown;
      const token = Math.max(0, Math.min(side.rewards.length - 1, Math.round(view.scale("x").invert(x))));
      select(shown, frame.unit === "segment" ? segmentOf(side, token) : token);
    });
    curve.addEventListener("pointerleave", () => select(null));
  }

  // Puts other rewards, segments and masks into a side that is in the page.
  function change(shown, side, { differs = null, differ = "" } = {}) {
    if (current === shown) select(null);
    shown.side = side;
    shown.differs = differs;
    shown.heading.replaceChildren(...headings(side, differ));
    shown.response.replaceChildren(...outlines(shown));
    if (shown.view) shown.redrawn ??= setTimeout(redraw, CURVE_EVERY, shown);
  }

  // Curves follow a change a little later: drawing them takes longer than all the rest.
  const CURVE_EVERY = 100;

  function redraw(shown) {
    const { side, view } = shown;
    shown.redrawn = null;
    for (const [name, value] of Object.entries(curveAxes(side))) view.signal(name, value);
    for (const [name, values] of Object.entries(curveData(side))) view.data(name, values);
    view.runAsync();
  }

  function promptNode(text) {
    const prompt = element("p", { class: "prompt", dir: "auto" }, text);
    if (text.length > 700 || text.split("\n").length > 8) {
      prompt.classList.add("long");
      prompt.tabIndex = 0;
    }
    return prompt;
  }

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
    mark(shown, shown.frame.unit === "segment" ? shown.side.starts[index] : index);
    tip.textContent = describe(shown, index);
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
    return (response && shownOf.get(response)) ?? null;
  }

  function onKey(event) {
    const shown = shownAt(event.target);
    if (!shown || event.altKey || event.ctrlKey || event.metaKey) return;
    const { side, frame } = shown;
    const last = side.texts.length - 1;
    const at = current === shown ? shown.at : -1;
    const segment = frame.unit === "segment" || at < 0 ? at : segmentOf(side, at);
    const start = (number) => (frame.unit === "segment" ? number : side.starts[number]);
    const right = getComputedStyle(shown.response).direction === "rtl" ? -1 : 1; // where the next unit stands
    const to = {
      ArrowRight: () => Math.max(0, Math.min(last, at + right)),
      ArrowLeft: () => Math.max(0, Math.min(last, at - right)),
      ArrowDown: () => start(Math.min(side.starts.length - 1, segment + 1)),
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

  // Values appear for the responses inside of this element.
  function listen(list) {
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

  function legend(ramp) {
    for (let at = -STEPS; at <= STEPS; at++) ramp.append(element("i", { class: step(at) }));
  }

  return { change, draw, drawCurve, element, legend, listen, number, ones, percent, plainText, promptNode, rowId, rowName, select, show, signed };
})();
