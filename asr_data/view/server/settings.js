"use strict";
// Settings as controls, made from the description that the server gives of their fields; what is tried is seen at once.

const asrSettings = (() => {
  const { element, number } = asrRows;
  const { ask, attempt, facts } = asrServer;
  const form = document.getElementById("controls");
  const said = document.getElementById("settings-said");
  let values = null; // the settings as the form has them
  let tried = false; // whether they are not the stored ones
  let busy = false;
  let waiting = false;
  let figuresAt = 0;
  let made = 0;

  // --- controls -----------------------------------------------------------------------------------------

  const STEPS = 1000;
  const copy = (value) => structuredClone(value);
  const toSlider = ({ low, high, log }, value) =>
    Math.round(STEPS * (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low)));
  function fromSlider({ low, high, log, whole }, at) {
    const value = log ? low * (high / low) ** (at / STEPS) : low + ((high - low) * at) / STEPS;
    return whole ? Math.round(value) : Number(value.toPrecision(3));
  }

  function slider(whole, value, label, set) {
    // A value beyond the usual ones is an end of the slider: else a touch would bring it back among them.
    const control = { ...whole, low: Math.min(whole.low, value), high: Math.max(whole.high, value) };
    const range = element("input", { type: "range", min: 0, max: STEPS, "aria-label": `${label}, slider` });
    const box = element("input", { type: "number", step: control.whole ? "1" : "any", "aria-label": label });
    box.value = value;
    range.value = toSlider(control, value);
    range.addEventListener("input", () => {
      const found = fromSlider(control, Number(range.value));
      box.value = found;
      set(found);
    });
    box.addEventListener("input", () => {
      if (box.value === "") return;
      range.value = toSlider(control, Number(box.value));
      set(Number(box.value));
    });
    return element("span", { class: "slider" }, range, box);
  }

  // A number, or a word that stands for one; a word may have a factor.
  function numberControl(control, owner, label) {
    const { name, words, factor } = control;
    const place = element("span", { class: "numeric" });
    const word = () => (owner[name] === null ? "none" : typeof owner[name] === "string" ? owner[name] : "");
    const usual = () => (typeof control.default === "number" ? control.default : fromSlider(control, STEPS / 2));
    const draw = () => {
      place.replaceChildren();
      if (words.length) {
        const select = element("select", { "aria-label": `${label}, as` });
        select.append(...words.map((one) => new Option(one, one)), new Option("a number", ""));
        select.value = word();
        select.addEventListener("change", () => {
          owner[name] = select.value === "" ? usual() : select.value === "none" ? null : select.value;
          draw();
          changed();
        });
        place.append(select);
      }
      const set = (field) => (value) => {
        owner[field] = value;
        changed();
      };
      if (typeof owner[name] === "number") place.append(slider(control, owner[name], label, set(name)));
      else if (factor && owner[name] === "auto") {
        owner[factor.name] ??= factor.default;
        place.append(element("span", {}, "×"), slider(factor, owner[factor.name], `${label}, factor`, set(factor.name)));
      }
    };
    owner[name] ??= control.default ?? (words.includes("none") ? null : usual());
    draw();
    return place;
  }

  function choiceControl({ name, words }, owner, label) {
    const select = element("select", { "aria-label": label });
    select.append(...words.map((one) => new Option(one, one)));
    select.value = owner[name];
    select.addEventListener("change", () => {
      owner[name] = select.value;
      changed();
    });
    return select;
  }

  function flagControl({ name }, owner, label) {
    const box = element("input", { type: "checkbox", "aria-label": label });
    box.checked = owner[name];
    box.addEventListener("change", () => {
      owner[name] = box.checked;
      changed();
    });
    return box;
  }

  // Settings of a kind: which kind, and its own fields below.
  function unionControl(control, owner, label) {
    const { name, options } = control;
    const place = element("div", { class: "fields" });
    const select = element("select", { "aria-label": label });
    select.append(...options.map(({ kind }) => new Option(kind, kind)));
    const about = element("small");
    const kept = {};
    const draw = () => {
      const { kind } = owner[name];
      select.value = kind;
      const option = options.find((one) => one.kind === kind);
      about.textContent = option.help;
      place.replaceChildren(...option.fields.map((field) => row(field, owner[name], `${label} ${field.title}`)));
    };
    select.addEventListener("change", () => {
      kept[owner[name].kind] = owner[name];
      owner[name] = kept[select.value] ?? { kind: select.value };
      draw();
      changed();
    });
    draw();
    return element("div", { class: "union" }, select, about, place);
  }

  function groupControl({ name, fields, optional, default: usual }, owner, label) {
    const place = element("div", { class: "fields" });
    const box = element("input", { type: "checkbox", "aria-label": label });
    const fallback = () => copy(usual) ?? Object.fromEntries(fields.map((field) => [field.name, field.default]));
    owner[name] = owner[name] === undefined ? copy(usual) : owner[name];
    const draw = () => {
      box.checked = owner[name] !== null;
      place.replaceChildren(...(owner[name] ? fields.map((field) => row(field, owner[name], `${label} ${field.title}`)) : []));
    };
    box.addEventListener("change", () => {
      owner[name] = box.checked ? fallback() : null;
      draw();
      changed();
    });
    draw();
    return element("div", { class: "union" }, ...(optional ? [box] : []), place);
  }

  const SORTS = { union: unionControl, choice: choiceControl, flag: flagControl, number: numberControl, group: groupControl };

  function row(control, owner, label = control.title) {
    if (!SORTS[control.sort]) return "";
    owner[control.name] ??= control.sort === "number" || control.sort === "group" ? owner[control.name] : copy(control.default);
    const title = element("span", { class: "title", title: control.help }, control.title);
    return element("div", { class: `setting ${control.sort}`, "data-setting": control.name }, title, SORTS[control.sort](control, owner, label));
  }

  function build() {
    form.replaceChildren(...facts.controls.map((control) => row(control, values)));
  }

  // --- what is tried ------------------------------------------------------------------------------------

  function state(text, wrong = false) {
    said.textContent = text;
    said.classList.toggle("wrong", wrong);
  }

  // One question at a time: while it is answered, later changes wait, and only the last of them is asked for.
  async function changed() {
    tried = true;
    document.getElementById("as-stored").disabled = false;
    clearTimeout(figuresAt);
    if (busy) {
      waiting = true;
      return;
    }
    busy = true;
    do {
      waiting = false;
      await masks();
    } while (waiting);
    busy = false;
    figuresAt = setTimeout(figures, 300);
  }

  let rewardsOf = "";

  async function masks() {
    const entries = asrLook.entries();
    const settings = copy(values);
    const kind = JSON.stringify([settings.reward, settings.detrend]);
    const fresh = kind !== rewardsOf || entries.some((entry) => entry.tried === null);
    const begun = performance.now();
    try {
      const positions = entries.map((entry) => entry.row.position);
      const answer = await ask("api/masks", { settings, positions, rewards: fresh });
      if (entries !== asrLook.entries()) return;
      rewardsOf = kind;
      for (const entry of entries) {
        const sides = answer.rows[entry.row.position];
        asrLook.tryMasks(entry, fresh ? sides : sides.map((side, place) => ({ ...entry.tried[place], ...side })));
        if (entry.visible) asrLook.refresh(entry);
      }
      state(`tried, not stored; ${Math.round(performance.now() - begun)} ms`);
    } catch (error) {
      if (!(error instanceof asrServer.Refused)) throw error;
      state(error.message, true);
    }
  }

  function asStored() {
    tried = false;
    waiting = false;
    rewardsOf = "";
    values = copy(facts.settings);
    build();
    for (const entry of asrLook.entries()) {
      asrLook.tryMasks(entry, null);
      if (entry.visible) asrLook.refresh(entry);
    }
    document.getElementById("as-stored").disabled = true;
    state("as stored");
    figures();
  }

  // --- figures ------------------------------------------------------------------------------------------

  const share = (value) => (value === null ? "–" : `${Math.round(100 * value)} %`);
  const digits = (value) => (value === null ? "–" : value.toFixed(3).replace("-", "−"));

  function table(head, rows) {
    return element(
      "div",
      { class: "scroll" },
      element(
        "table",
        {},
        element("thead", {}, element("tr", {}, ...head.map((one) => element("th", { scope: "col" }, one)))),
        element(
          "tbody",
          {},
          ...rows.map(([first, ...rest]) =>
            element("tr", {}, element("th", { scope: "row" }, first), ...rest.map((one) => element("td", {}, one))),
          ),
        ),
      ),
    );
  }

  function sideTable(sides) {
    const fifths = [1, 2, 3, 4, 5].map(String);
    return table(
      ["kept", "all", ...fifths, "segments"],
      sides.map((one) => [one.side, share(one.kept), ...one.fifths.map(share), one.segments === null ? "–" : one.segments.toFixed(1)]),
    );
  }

  function labelTable({ measures }) {
    const controls = Object.keys(measures[0].controls);
    return table(
      ["measure", "", "95 %", ...controls],
      measures
        .filter(({ value }) => value !== null)
        .map(({ title, value, low, high, controls: beside }) => [
          title,
          digits(value),
          low === null ? "–" : `${digits(low)} to ${digits(high)}`,
          ...controls.map((name) => digits(beside[name])),
        ]),
    );
  }

  async function figures() {
    const place = document.getElementById("figures");
    const mine = ++made;
    let found;
    try {
      found = await ask("api/figures", { settings: copy(values) });
    } catch (error) {
      if (!(error instanceof asrServer.Refused)) throw error;
      if (mine === made) place.replaceChildren(element("p", { class: "quiet" }, error.message));
      return;
    }
    if (mine !== made) return;
    const { sample, sides, labels, sigma } = found;
    const whole = sample.rows === sample.of;
    const parts = [
      element("p", { class: "quiet" }, `${whole ? "All" : "A sample of"} ${sample.rows.toLocaleString("en")}${whole ? "" : ` of ${sample.of.toLocaleString("en")}`} rows; noise σ ${number(sigma)}. Kept share by fifth of the response:`),
      sideTable(sides),
    ];
    for (const one of sides) {
      if (one.empty) parts.push(element("p", { class: "quiet" }, `${one.side}: ${one.empty} responses with nothing kept`));
      if (one.suspect) parts.push(element("p", { class: "wrong" }, `${one.side}: position alone tells kept from dropped tokens (AUROC ${digits(one.auroc)}); see detrend`));
    }
    if (labels) {
      parts.push(
        element("p", { class: "quiet" }, `Against ${labels.gold}: ${labels.rows} labelled rows, ${labels.faulty.toLocaleString("en")} of ${labels.labelled.toLocaleString("en")} tokens faulty; beside rewards made without a model.`),
        labelTable(labels),
      );
    } else parts.push(element("p", { class: "quiet" }, "No labels to measure against: mark some under Label."));
    place.replaceChildren(...parts);
  }

  // --- keeping ------------------------------------------------------------------------------------------

  async function keep(replace = false) {
    const place = document.getElementById("kept");
    const answer = await attempt(() => ask("api/keep", { settings: copy(values), replace }));
    if (!answer) return;
    const command = element("pre", { tabindex: "0" }, answer.command);
    if (answer.exists) {
      const button = element("button", { type: "button" }, "Replace it");
      button.addEventListener("click", () => keep(true));
      place.replaceChildren(element("p", {}, `${answer.exists} is there already. `, button), command);
    } else place.replaceChildren(element("p", {}, `Written to ${answer.written}. Masks with these settings:`), command);
  }

  // Once at the start, and once more when the tokenizer is there.
  function begin() {
    const panel = document.getElementById("settings");
    const buttons = document.getElementById("settings-buttons");
    form.hidden = buttons.hidden = facts.controls.length === 0;
    if (form.hidden) {
      state(facts.ready ? `Settings cannot be changed: ${facts.frames[0].fixed}.` : `${facts.frames[0].fixed} …`);
      return;
    }
    values = copy(facts.settings);
    build();
    state("as stored");
    panel.open = matchMedia("(min-width: 75rem)").matches;
    let shown = false;
    const open = () => {
      if (panel.open && !shown) {
        shown = true;
        figures();
      }
    };
    panel.addEventListener("toggle", open);
    open();
    form.addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("as-stored").addEventListener("click", asStored);
    document.getElementById("keep").addEventListener("click", () => keep());
    asrLook.listeners.push(() => {
      if (tried) changed();
    });
  }

  begin();
  return { begin, figures, values: () => values };
})();
