"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const pictures = JSON.parse(document.getElementById("pictures").textContent);
  const categories = data.categories;
  const STACK = data.stack;
  const byKey = Object.fromEntries(categories.map((c) => [c.key, c]));

  // -- elements: every string of the run goes through textContent or setAttribute ----------------

  const find = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const fill = (element, attributes, children) => {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  };
  const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
  const put = (id, ...children) => find(id).replaceChildren(...children.flat());
  const paragraphs = (texts) => texts.map((text) => html("p", {}, text));

  // -- numbers -----------------------------------------------------------------------------------

  const known = (x) => x !== null && x !== undefined;
  const number = (x) => (100 * x).toFixed(1);
  const percent = (x) => (known(x) ? `${number(x)}\u00a0%` : "–");
  const range = (low, high) => (known(low) ? `${number(low)}–${number(high)}\u00a0%` : "one image");
  const times = (sizes) => sizes.join("\u2009×\u2009");
  const epsilon = (x) => String(Number(x.toPrecision(6)));
  const shares = (fractions) =>
    STACK.map((key) => `${byKey[key].label} ${percent(fractions[key])}`).join(", ");

  // -- pieces ------------------------------------------------------------------------------------

  const swatch = (key) =>
    html("span", { class: "swatch", "aria-hidden": "true" },
      svg("svg", { viewBox: "0 0 12 12" },
        svg("rect", { x: 0.5, y: 0.5, width: 11, height: 11, rx: 2, fill: byKey[key].colour,
          class: key === "no_pass" ? "grey" : null })));

  /** Black or white, whichever is easier to read on a colour. */
  const inkOn = (rgb) => {
    const linear = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#ffffff" : "#000000";
  };
  const rgbOf = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  /** The first site lightest, the last nearly the full colour, as in the published ring. */
  const shade = (hex, i, n) => {
    const strength = 0.12 + 0.73 * (n > 1 ? i / (n - 1) : 1);
    return rgbOf(hex).map((v) => Math.round(255 - strength * (255 - v)));
  };

  let tables = 0;
  const table = (caption, head, rows, { open = false, summary = "Show the numbers as a table", words = false } = {}) => {
    const body = rows.map((row) =>
      html("tr", row.attributes || {}, row.cells.map((cell, i) => fill(
        document.createElement(i === 0 ? "th" : "td"), i === 0 ? { scope: "row" } : {}, [cell]))));
    // The caption stands outside the box that scrolls, so that it wraps at the page's width.
    const id = `caption-${(tables += 1)}`;
    const label = html("p", { class: "caption", id }, caption);
    const box = html("div", { class: "scroll", role: "region", tabindex: "0", "aria-labelledby": id },
      html("table", { class: words ? "words" : null, "aria-labelledby": id },
        head ? html("thead", {}, html("tr", {}, head.map((name) => html("th", { scope: "col" }, name)))) : null,
        html("tbody", {}, body)));
    if (open) return html("div", {}, label, box);
    return html("details", {}, html("summary", {}, summary), label, box);
  };
  const withRange = (value, low, high) => {
    const cell = document.createDocumentFragment();
    cell.append(percent(value), html("span", { class: "range" }, range(low, high)));
    return cell;
  };

  /** Draw now and whenever the width changes; text keeps its size. */
  const drawings = [];
  const drawn = (id, draw) => {
    const place = find(id);
    let width = 0;
    const again = (force) => {
      const now = Math.floor(place.clientWidth);
      if (now > 0 && (force || now !== width)) {
        width = now;
        place.replaceChildren(draw(now));
      }
    };
    drawings.push(again);
    again(true);
    return () => again(true);
  };
  window.addEventListener("resize", () => drawings.forEach((again) => again(false)));

  // -- the ring ----------------------------------------------------------------------------------

  const drawRing = () => {
    const { order, shares: share } = data.ring;
    const n = data.sites.length;
    const at = (part, radius) => {
      const angle = -2 * Math.PI * part;
      return [radius * Math.cos(angle), radius * Math.sin(angle)];
    };
    const wedge = (from, to, outer, inner) => {
      if (to - from > 0.99999) to = from + 0.99999;
      const large = to - from > 0.5 ? 1 : 0;
      const [[a, b], [c, d], [e, f], [g, h]] = [at(from, outer), at(to, outer), at(to, inner), at(from, inner)]
        .map(([x, y]) => [x.toFixed(3), y.toFixed(3)]);
      return `M${a} ${b}A${outer} ${outer} 0 ${large} 0 ${c} ${d}L${e} ${f}A${inner} ${inner} 0 ${large} 1 ${g} ${h}Z`;
    };
    const ring = svg("svg", { viewBox: "-205 -168 410 336", role: "img", width: "100%",
      "aria-label": `Nested ring. Mean over ${n} sites: ${shares(data.overall.mean)}.` });
    let outerFrom = 0;
    let innerFrom = 0;
    const labels = [];
    for (const key of order) {
      const total = share[key].reduce((sum, x) => sum + x, 0);
      if (total <= 0) continue;
      const { colour, label } = byKey[key];
      const grey = key === "no_pass" ? " grey" : "";
      ring.append(svg("path", { d: wedge(outerFrom, outerFrom + total, 126, 100), fill: colour, class: `part${grey}` },
        svg("title", {}, `${label}: ${percent(total)}`)));
      const [x, y] = at(outerFrom + total / 2, 135);
      labels.push({ x, y, label, total });
      outerFrom += total;
      share[key].forEach((part, i) => {
        if (part <= 0) return;
        const rgb = shade(colour, i, n);
        ring.append(svg("path", { d: wedge(innerFrom, innerFrom + part, 99, 58), fill: `rgb(${rgb})`, class: `part${grey}` },
          svg("title", {}, `${data.sites[i].name}: ${label} ${percent(part * n)} of its bins`)));
        if (part >= 0.022) {
          const [u, v] = at(innerFrom + part / 2, 79);
          ring.append(svg("text", { x: u, y: v, "text-anchor": "middle", "dominant-baseline": "central",
            class: "mark" }, String(i + 1)));
          ring.lastChild.style.fill = inkOn(rgb);
          ring.lastChild.style.fontSize = "11px";
        }
        innerFrom += part;
      });
    }
    for (const { x, y, label, total } of labels) {
      const side = x > 34 ? "start" : x < -34 ? "end" : "middle";
      const lift = y > 60 ? 12 : y < -60 ? -14 : 0;
      ring.append(svg("text", { x, y: y + lift - 2, "text-anchor": side }, label),
        svg("text", { x, y: y + lift + 13, "text-anchor": side, class: "value" }, percent(total)));
    }
    return ring;
  };

  // -- aliased energy ----------------------------------------------------------------------------

  const marks = {
    energy: () => [svg("line", { x1: 0, x2: 32, y1: 7, y2: 7, class: "whisker" }), svg("circle", { cx: 16, cy: 7, r: 5, class: "energy" })],
    edge: () => [svg("rect", { x: 0, y: 0, width: 32, height: 14, class: "edge" })],
    white: () => [svg("line", { x1: 16, x2: 16, y1: 0, y2: 14, class: "white" })],
  };
  const markKey = (mark) => svg("svg", { class: "key", viewBox: "0 0 32 14", "aria-hidden": "true" }, marks[mark]());

  const drawEnergy = (width, { sites, rates } = data.energy) => {
    const [left, right, line] = [8, 8, 46];
    const scale = (x) => left + x * (width - left - right);
    const rows = [...sites.map((site, i) => ({ ...site, label: `${i + 1}  ${site.name}`, key: site.name })),
      ...rates.map((rate) => ({ ...rate, label: `Mean, rate ${rate.rate} (${rate.sites} ${rate.sites === 1 ? "site" : "sites"})`, key: rate.rate, mean: true }))];
    const height = rows.length * line + 30;
    const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": "Aliased energy of each site and rate, with its interval and what white noise has; the table below has the numbers." });
    for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
      const x = scale(tick);
      chart.append(svg("line", { x1: x, x2: x, y1: 20, y2: height - 24, class: "grid" }),
        svg("text", { x, y: height - 8, class: "small value",
          "text-anchor": tick === 0 ? "start" : tick === 1 ? "end" : "middle" }, `${100 * tick}\u00a0%`));
    }
    rows.forEach((row, i) => {
      const top = i * line;
      const y = top + 31;
      const room = Math.floor((width - 84) / 7.6);
      chart.append(svg("text", { x: 0, y: top + 15, class: "name" },
        row.label.length > room ? `${row.label.slice(0, 4)}…${row.label.slice(-Math.max(4, room - 5))}` : row.label,
        svg("title", {}, row.label)));
      chart.append(svg("text", { x: width - right, y: top + 15, class: "small value", "text-anchor": "end" },
        known(row.value) ? `${row.rough ? "about " : ""}${percent(row.value)}` : "not defined"));
      if (!known(row.value)) return;
      const words = `${row.label}: ${percent(row.value)} (${range(row.low, row.high)}), white noise ${percent(row.white)}`;
      chart.append(svg("rect", { x: scale(row.edge_low), y: y - 8, width: Math.max(0, scale(row.edge_high) - scale(row.edge_low)),
        height: 16, class: "edge" }, svg("title", {}, `${row.label}: ${range(row.edge_low, row.edge_high)} with the cut moved by one coefficient`)));
      if (known(row.white)) chart.append(svg("line", { x1: scale(row.white), x2: scale(row.white), y1: y - 10, y2: y + 10, class: "white" }));
      if (known(row.low)) chart.append(svg("line", { x1: scale(row.low), x2: scale(row.high), y1: y, y2: y, class: "whisker" }));
      chart.append(svg("circle", { cx: scale(row.value), cy: y, r: row.mean ? 6 : 5, class: `energy${row.rough ? " rough" : ""}`,
        "data-energy": row.key }, svg("title", {}, words)));
    });
    return chart;
  };

  const energyTable = (energy = data.energy, images = data.samples) => {
    const cells = (row) => [withRange(row.value, row.low, row.high), known(row.value) ? range(row.edge_low, row.edge_high) : "–", percent(row.white)];
    return table(`Share of the varying energy beyond the new Nyquist rate, with 95 % intervals over ${images} ${images === 1 ? "image" : "images"}.`,
      ["Site", "Rate", "Dense signal", "Aliased energy", "Cut ± 1 coefficient", "White noise"],
      [...energy.sites.map((site) => ({ cells: [site.name, times(site.rate), times(site.dense_shape), ...cells(site)] })),
        ...energy.rates.map((rate) => ({ cells: [`Mean of ${rate.sites} ${rate.sites === 1 ? "site" : "sites"}`, rate.rate, "", ...cells(rate)],
          attributes: { class: "current" } }))]);
  };

  const startEnergy = () => {
    if (!data.energy) {
      find("energy").remove();
      find("about-energy").remove();
      return;
    }
    const one = data.energy.rates.length === 1;
    find("energy-words").textContent = "The share of the energy that varies which lies beyond the new Nyquist rate, and so lands on other frequencies, site by site" +
      (data.under ? `,${data.under}` : "") + "." +
      (one ? "" : " Sites of unlike rates are not averaged: what white noise has differs between them.") +
      (data.energy.sites.some((site) => site.rough) ? " Hollow points: an axis keeps fewer than 7 samples, so they are known only roughly." : "");
    put("energy-legend",
      html("li", {}, markKey("energy"), known(data.energy.rates[0].low) ? "aliased energy, 95\u00a0% interval" : "aliased energy"),
      html("li", {}, markKey("edge"), "cut moved by one coefficient"),
      html("li", {}, markKey("white"), "white noise"));
    drawn("energy-bars", drawEnergy);
    put("energy-table", energyTable());
  };

  // -- does it matter ----------------------------------------------------------------------------

  const signed = (x) => `${x < 0 ? "−" : "+"}${Math.abs(100 * x).toFixed(1)}`;
  const points = (x, low, high) => (known(x) ? `${signed(x)}${known(low) ? ` [${signed(low)}, ${signed(high)}]` : ""}` : "–");
  /** A name in so many characters, without its middle where it is longer. */
  const squeezed = (name, room) => {
    if (name.length <= room) return name;
    const kept = Math.max(4, room - 1);
    return `${name.slice(0, Math.ceil(kept / 2))}…${name.slice(name.length - Math.floor(kept / 2))}`;
  };
  /** The mark of an intervention around a point: shapes differ, colours are ink alone. */
  const SHAPES = {
    remove: ["", (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`],
    restore: ["hollow", (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}Z`],
    "swap-within": ["hollow", (r) => `M0 ${-1.2 * r}L${1.2 * r} ${r}H${-1.2 * r}Z`],
    "swap-between": ["", (r) => `M0 ${-1.2 * r}L${1.2 * r} ${r}H${-1.2 * r}Z`],
    low: ["pale", (r) => `M0 ${-1.3 * r}L${1.3 * r} 0L0 ${1.3 * r}L${-1.3 * r} 0Z`],
  };
  const effectMark = (name, x, y, attributes = {}, ...children) => svg("path", { d: SHAPES[name][1](4.5),
    transform: `translate(${x} ${y})`, class: `effect ${SHAPES[name][0]}`.trim(), ...attributes }, ...children);
  const effectKey = (name) => svg("svg", { class: "key", viewBox: "0 0 32 14", "aria-hidden": "true" },
    SHAPES[name] ? [svg("line", { x1: 0, x2: 32, y1: 7, y2: 7, class: "whisker" }), effectMark(name, 16, 7)]
      : [svg("rect", { x: 0, y: 0, width: 32, height: 14, class: "control-band" }), svg("line", { x1: 16, x2: 16, y1: 0, y2: 14, class: "control-line" })]);
  const unit = () => (data.ablation.signed ? "points" : "%");

  const effectAxis = () => {
    const ends = data.ablation.stages.flatMap((stage) => Object.values(stage.effects))
      .flatMap(({ change, low, high }) => [change, low, high]).filter(known);
    const low = Math.min(0, ...ends);
    const high = Math.max(0, ...ends);
    const span = Math.max(high - low, 0.02);
    const step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5].find((each) => span / each <= 5) || 2 ** Math.ceil(Math.log2(span / 5));
    return { from: low - 0.04 * span, to: high + 0.04 * span, step };
  };

  const drawEffects = (width) => {
    const { stages, interventions, control } = data.ablation;
    const wide = width >= 700;
    const lane = 21;
    const axis = effectAxis();
    const withEnergy = stages.some((stage) => stage.energy);
    const own = withEnergy && wide ? Math.round(0.2 * width) : 0;
    const left = (own ? own + 26 : 0) + 98;
    const right = width - (wide ? 168 : 10);
    const scale = (x) => left + ((x - axis.from) / (axis.to - axis.from)) * (right - left);
    const chart = svg("svg", { width, role: "img", "aria-label": `Change of ${data.ablation.quantity} at each stage under each intervention, beside aliased energy and the control; the table below has the numbers.` });
    const ticks = [];
    for (let k = Math.ceil(axis.from / axis.step); k * axis.step <= axis.to; k += 1) ticks.push(k * axis.step);
    let top = 0;
    for (const stage of stages) {
      const room = Math.floor((width - 110) / 7.8);
      const lines = stage.title.length > room && stage.members.length > 1 ? stage.members : [stage.title];
      if (top) chart.append(svg("line", { x1: 0, x2: width, y1: top, y2: top, class: "rule" }));
      lines.forEach((line, i) => chart.append(svg("text", { x: 0, y: top + 22 + 19 * i, class: "name" }, squeezed(line, room),
        svg("title", {}, stage.title))));
      chart.append(svg("text", { x: width, y: top + 22, "text-anchor": "end", class: "name verdict" }, stage.verdict, svg("title", {}, stage.why)));
      let from = top + 22 + 19 * (lines.length - 1) + 14;
      if (withEnergy) {
        const [a, b] = own ? [8, own] : [left, right];
        const y = own ? from + Math.max(lane * interventions.length, 3 * lane) / 2 : from + lane / 2;
        const at = (x) => a + x * (b - a);
        if (!own) chart.append(svg("text", { x: 0, y: y + 4, class: "small" }, "aliased energy"));
        else chart.append(svg("text", { x: a, y: y + 30, class: "small" }, "0"), svg("text", { x: b, y: y + 30, class: "small", "text-anchor": "end" }, "100\u00a0%"));
        chart.append(svg("line", { x1: a, x2: b, y1: y, y2: y, class: "rule" }),
          ...[0, 1].map((end) => svg("line", { x1: at(end), x2: at(end), y1: y - 6, y2: y + 6, class: "axis" })));
        const { energy } = stage;
        if (energy) {
          chart.append(svg("rect", { x: at(energy.edge_low), y: y - 7, width: Math.max(0, at(energy.edge_high) - at(energy.edge_low)), height: 14, class: "edge" }));
          if (known(energy.white)) chart.append(svg("line", { x1: at(energy.white), x2: at(energy.white), y1: y - 9, y2: y + 9, class: "white" }));
          if (known(energy.low)) chart.append(svg("line", { x1: at(energy.low), x2: at(energy.high), y1: y, y2: y, class: "whisker" }));
          chart.append(svg("circle", { cx: at(energy.value), cy: y, r: 5, class: "energy", "data-stage-energy": stage.name },
            svg("title", {}, `${stage.title}: aliased energy ${percent(energy.value)} (${range(energy.low, energy.high)}), white noise ${percent(energy.white)}`)));
          if (own) chart.append(svg("text", { x: (a + b) / 2, y: y - 16, class: "small value", "text-anchor": "middle" }, percent(energy.value)));
        }
        if (!own) from += lane + 6;
      }
      const to = from + Math.max(lane * interventions.length, own ? 3 * lane : 0);
      for (const tick of ticks) chart.append(svg("line", { x1: scale(tick), x2: scale(tick), y1: from, y2: to, class: "grid" }));
      const held = control && stage.effects[control.name];
      if (held) {
        const words = svg("title", {}, `${stage.title}, ${control.name}: ${points(held.change, held.low, held.high)} ${unit()}`);
        if (known(held.low)) chart.append(svg("rect", { x: scale(held.low), y: from, width: Math.max(1, scale(held.high) - scale(held.low)), height: to - from, class: "control-band" }, words));
        chart.append(svg("line", { x1: scale(held.change), x2: scale(held.change), y1: from, y2: to, class: "control-line", "data-control": stage.name }));
      }
      chart.append(svg("line", { x1: scale(0), x2: scale(0), y1: from, y2: to, class: "axis" }));
      interventions.forEach(({ name }, i) => {
        const y = from + lane * (i + 0.5);
        const effect = stage.effects[name];
        chart.append(svg("text", { x: left - 98, y: y + 4, class: "small" }, name));
        if (!effect) {
          chart.append(svg("text", { x: wide ? width : right, y: y + 4, class: "small", "text-anchor": "end" }, "no donor"));
          return;
        }
        const words = `${stage.title}, ${name}: ${points(effect.change, effect.low, effect.high)} ${unit()}, ${effect.n} ${effect.n === 1 ? "image" : "images"}`;
        if (known(effect.low)) chart.append(svg("line", { x1: scale(effect.low), x2: scale(effect.high), y1: y, y2: y, class: "whisker" }));
        chart.append(effectMark(name, scale(effect.change), y, { "data-effect": name, "data-stage": stage.name, "data-x": scale(effect.change) }, svg("title", {}, words)));
        if (wide) chart.append(svg("text", { x: width, y: y + 4, class: "small value", "text-anchor": "end" }, points(effect.change, effect.low, effect.high)));
      });
      top = to + 14;
    }
    for (const tick of ticks) chart.append(svg("text", { x: scale(tick), y: top + 6, class: "small value", "text-anchor": "middle" }, String(Number((100 * tick).toFixed(1))).replace("-", "−")));
    chart.append(svg("text", { x: (left + right) / 2, y: top + 26, class: "small", "text-anchor": "middle" },
      `change of ${data.ablation.quantity === "output" || !wide ? data.ablation.quantity.split(" ")[0] : data.ablation.quantity} (${unit()})`));
    chart.setAttribute("height", top + 34);
    chart.setAttribute("viewBox", `0 0 ${width} ${top + 34}`);
    return chart;
  };

  const effectTable = () => {
    const { stages, labelled, signed: judged } = data.ablation;
    const p = (x) => (!known(x) ? "–" : x < 0.001 ? "<\u20090.001" : x.toFixed(3));
    const cell = (value, low, high) => {
      const both = document.createDocumentFragment();
      both.append(known(value) ? signed(value) : "–", html("span", { class: "range" }, known(low) ? `${signed(low)} to ${signed(high)}` : ""));
      return both;
    };
    const of = (row, name, write) => write(row[name], row[`${name}_low`], row[`${name}_high`]);
    const columns = [
      ["Intervention", (row) => row.intervention],
      ["Images", (row) => String(row.n)],
      ["Energy taken", (row) => percent(Math.abs(row.energy_taken) < 5e-4 ? 0 : row.energy_taken).replace("-", "−")],
      ...(labelled ? [["Accuracy", (row) => of(row, "accuracy", withRange)], ["Change, points", (row) => of(row, "accuracy_change", cell)],
        ["p (Holm)", (row) => p(row.p_holm)]] : []),
      ...(judged ? [["Over gain, points", (row) => (known(row.versus_gain) ? of(row, "versus_gain", cell) : "–")],
        ["Agreement with clean", (row) => of(row, "agreement", withRange)], ["Follows donor", (row) => percent(row.follows)],
        ["KL, nats", (row) => (known(row.kl) ? String(Number(row.kl.toPrecision(3))) : "–")]] : []),
      ["Change of output", (row) => percent(row.output_change)],
    ];
    return table("Every intervention at every stage, with 95 % intervals. Energy taken: the share of the varying energy; negative where energy was added.",
      ["Stage", ...columns.map(([head]) => head)],
      stages.flatMap((stage) => stage.rows.map((row) => ({ cells: [stage.title, ...columns.map(([, write]) => write(row))] }))));
  };

  const drawDose = (lines, width, clean) => {
    const height = 190;
    const [left, right, top, bottom] = [48, width - 10, 10, height - 34];
    const all = Object.values(data.ablation.curves).flatMap((each) => Object.values(each)).flat();
    const most = data.ablation.signed ? 1 : Math.max(...all.flatMap((point) => [point.value, point.high]).filter(known));
    const last = Math.max(...all.map((point) => point.dose));
    const x = (dose) => left + 6 + (dose / (last || 1)) * (right - left - 12);
    const y = (value) => bottom - (value / (most || 1)) * (bottom - top);
    const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": Object.entries(lines).map(([name, line]) => `${name}: ${line.map((point) => `dose ${point.dose} ${percent(point.value)}`).join(", ")}`).join("; ") });
    for (const tick of [0, 0.5, 1]) {
      chart.append(svg("line", { x1: left, x2: right, y1: y(tick * most), y2: y(tick * most), class: "grid" }),
        svg("text", { x: left - 6, y: y(tick * most) + 4, class: "small value", "text-anchor": "end" }, `${Math.round(100 * tick * most)}\u00a0%`));
    }
    for (const dose of [...new Set(all.map((point) => point.dose))]) {
      chart.append(svg("text", { x: x(dose), y: bottom + 16, class: "small value", "text-anchor": "middle" }, String(dose)));
    }
    chart.append(svg("text", { x: (left + right) / 2, y: height - 4, class: "small", "text-anchor": "middle" }, "dose"));
    if (known(clean)) chart.append(svg("line", { x1: left, x2: right, y1: y(clean), y2: y(clean), class: "cursor" }));
    const path = (line) => line.map((point, i) => `${i ? "L" : "M"}${x(point.dose).toFixed(2)} ${y(point.value).toFixed(2)}`).join("");
    const held = lines[data.ablation.control && data.ablation.control.name];
    if (held) {
      const around = held.filter((point) => known(point.low));
      const edge = [...around.map((point) => [point.dose, point.high]), ...around.map((point) => [point.dose, point.low]).reverse()];
      if (edge.length) chart.append(svg("path", { d: `M${edge.map(([d, v]) => `${x(d).toFixed(2)} ${y(v).toFixed(2)}`).join("L")}Z`, class: "control-band" }));
      chart.append(svg("path", { d: path(held), class: "control-line" }));
    }
    ["remove", "restore"].filter((name) => lines[name]).forEach((name) => {
      chart.append(svg("path", { d: path(lines[name]), class: `line ink-line thin-line${name === "restore" ? " dashed" : ""}` }));
      for (const point of lines[name]) {
        if (known(point.low)) chart.append(svg("line", { x1: x(point.dose), x2: x(point.dose), y1: y(point.low), y2: y(point.high), class: "whisker" }));
        chart.append(effectMark(name, x(point.dose), y(point.value), { "data-dose": point.dose }, svg("title", {}, `${name}, dose ${point.dose}: ${percent(point.value)} (${range(point.low, point.high)})`)));
      }
    });
    return chart;
  };

  const startDoses = () => {
    const { curves, stages, quantity, signed: judged } = data.ablation;
    const shown = stages.filter((stage) => Object.keys(curves[stage.name] || {}).length);
    if (!shown.length) return;
    put("ablation-dose", html("h3", {}, "Over the dose"),
      html("p", { class: "prose" }, `${judged ? quantity[0].toUpperCase() + quantity.slice(1) : "Relative change of the output"} over the share that is removed; of the control, over the share of its energy that is taken. Bars and band: 95 % intervals.${judged ? " Dotted: nothing changed." : ""}`),
      html("div", { class: "panels-of-dose" }, shown.map((stage, i) => html("figure", {}, html("h4", {}, stage.title), html("div", { id: `dose-${i}` })))));
    const clean = data.ablation.labelled ? data.ablation.clean.accuracy : data.ablation.signed ? 1 : null;
    shown.forEach((stage, i) => drawn(`dose-${i}`, (width) => drawDose(curves[stage.name], width, clean)));
  };

  const startAblation = () => {
    const found = data.ablation;
    if (!found) {
      find("ablation").remove();
      find("about-ablation").remove();
      return;
    }
    find("ablation-said").textContent = found.said;
    put("ablation-verdicts", found.stages.flatMap((stage) => [html("dt", {}, stage.title),
      html("dd", {}, html("span", { class: "word" }, stage.verdict), `: ${stage.why}.`)]));
    find("ablation-words").textContent = `${found.signed ? `What changes in ${found.quantity}` : "How much the output changes"} when the dense signals of a stage are changed${data.under ? `,${data.under}` : ""}` +
      `${found.dose === 1 ? "" : ` (dose ${found.dose})`}, beside aliased energy. Thin lines: 95 % ${found.signed ? "paired " : ""}intervals.` +
      (found.labelled ? ` Unchanged, accuracy is ${percent(found.clean.accuracy)} (${range(found.clean.accuracy_low, found.clean.accuracy_high)}).` : "");
    const entry = ({ name, meaning }) => html("li", {}, effectKey(name), html("span", {}, `${name}: `, html("span", { class: "meaning" }, meaning)));
    put("ablation-legend", found.interventions.map(entry), found.control ? entry(found.control) : [],
      ...(found.stages.some((stage) => stage.energy) ? [html("li", {}, markKey("energy"), "aliased energy"),
        html("li", {}, markKey("edge"), "with the cut moved by one coefficient"), html("li", {}, markKey("white"), "of white noise")] : []));
    drawn("ablation-figure", drawEffects);
    put("ablation-table", effectTable());
    if (found.curves) startDoses();
    put("ablation-notes", paragraphs(found.notes));
  };

  // -- shift consistency -------------------------------------------------------------------------

  const drawShifts = (kind, width) => {
    const cells = kind.map;
    const distances = [...new Set(cells.flatMap(([dy, dx]) => [Math.abs(dy), Math.abs(dx), 0]))].sort((a, b) => a - b);
    const step = distances.slice(1).reduce((least, each, i) => (each - distances[i] > 1e-6 ? Math.min(least, each - distances[i]) : least), Infinity);
    const unitOf = Number.isFinite(step) ? step : 1;
    const reach = Math.max(1, Math.round(distances[distances.length - 1] / unitOf));
    const n = 2 * reach + 1;
    const least = Math.min(0.95, Math.floor(20 * Math.min(...cells.map(([, , share]) => share))) / 20);
    const [left, top] = [30, 4];
    const side = Math.min(width - left - 6, 300) / n;
    const height = top + n * side + 40;
    const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Share that agrees by shift, ${kind.kind}: from ${percent(Math.min(...cells.map(([, , share]) => share)))} to ${percent(Math.max(...cells.map(([, , share]) => share)))}.` },
      svg("rect", { x: left, y: top, width: n * side, height: n * side, class: "unshifted" }));
    const shades = new Map();
    for (const [dy, dx, share] of cells) {
      const grey = Math.round(26 + ((share - least) / (1 - least)) * 218);
      const [u, v] = [Math.round(dx / unitOf) + reach, Math.round(dy / unitOf) + reach];
      const at = `M${(left + u * side).toFixed(2)} ${(top + v * side).toFixed(2)}h${side.toFixed(2)}v${side.toFixed(2)}h${(-side).toFixed(2)}Z`;
      shades.set(grey, (shades.get(grey) || "") + at);
    }
    for (const [grey, d] of shades) chart.append(svg("path", { d, fill: `rgb(${grey},${grey},${grey})`, "shape-rendering": "crispEdges", "data-shade": grey }));
    const [cx, cy] = [left + (reach + 0.5) * side, top + (reach + 0.5) * side];
    chart.append(svg("line", { x1: cx - 4, x2: cx + 4, y1: cy, y2: cy, class: "centre" }), svg("line", { x1: cx, x2: cx, y1: cy - 4, y2: cy + 4, class: "centre" }));
    const label = (x) => String(Number(x.toFixed(2))).replace("-", "−");
    for (const place of [-reach, 0, reach]) {
      chart.append(svg("text", { x: cx + place * side, y: top + n * side + 16, class: "small value", "text-anchor": "middle" }, label(place * unitOf)),
        svg("text", { x: left - 5, y: cy + place * side + 4, class: "small value", "text-anchor": "end" }, label(place * unitOf)));
    }
    chart.append(svg("text", { x: cx, y: top + n * side + 34, class: "small", "text-anchor": "middle" }, "right →, down ↓ (pixels)"));
    return { chart, least };
  };

  const drawDistances = (kind, width) => {
    const height = 250;
    const [left, right, top, bottom] = [54, width - 12, 10, height - 42];
    const { curve } = kind;
    const ends = curve.flatMap((point) => [point.consistency, point.consistency_low]).filter(known);
    const least = Math.max(0, Math.floor(10 * (Math.min(...ends) - 0.01)) / 10);
    const last = Math.max(1, ...curve.map((point) => point.distance));
    const x = (d) => left + (d / last) * (right - left - 6);
    const y = (value) => bottom - ((value - least) / (1 - least)) * (bottom - top);
    const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Share that agrees over the distance of the shift, ${kind.kind}: ${curve.map((point) => `${Number(point.distance.toFixed(2))} pixels ${percent(point.consistency)}`).join(", ")}.` });
    for (const part of [0, 0.5, 1]) {
      const value = least + part * (1 - least);
      chart.append(svg("line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" }),
        svg("text", { x: left - 8, y: y(value) + 4, class: "small value", "text-anchor": "end" }, `${Number((100 * value).toFixed(1))}\u00a0%`));
    }
    for (const part of [0, 0.25, 0.5, 0.75, 1]) chart.append(svg("text", { x: x(part * last), y: bottom + 18, class: "small value", "text-anchor": "middle" }, String(Number((part * last).toFixed(2)))));
    chart.append(svg("text", { x: (left + right) / 2, y: height - 6, class: "small", "text-anchor": "middle" }, "distance (pixels)"));
    const around = curve.filter((point) => known(point.consistency_low));
    if (around.length > 1) {
      const edge = [...around.map((p) => [p.distance, p.consistency_high]), ...around.map((p) => [p.distance, p.consistency_low]).reverse()];
      chart.append(svg("path", { d: `M${edge.map(([d, v]) => `${x(d).toFixed(2)} ${y(v).toFixed(2)}`).join("L")}Z`, class: "control-band" }));
    } else {
      for (const point of around) chart.append(svg("line", { x1: x(point.distance), x2: x(point.distance), y1: y(point.consistency_low), y2: y(point.consistency_high), class: "whisker" }));
    }
    chart.append(svg("line", { x1: left, x2: right, y1: y(kind.consistency), y2: y(kind.consistency), class: "cursor" }),
      svg("path", { d: curve.map((point, i) => `${i ? "L" : "M"}${x(point.distance).toFixed(2)} ${y(point.consistency).toFixed(2)}`).join(""), class: "line ink-line thin-line" }),
      ...curve.map((point) => svg("circle", { cx: x(point.distance), cy: y(point.consistency), r: 3.2, class: "dot", "data-distance": point.distance },
        svg("title", {}, `${Number(point.distance.toFixed(2))} pixels: ${percent(point.consistency)} (${range(point.consistency_low, point.consistency_high)})`))));
    return chart;
  };

  const startConsistency = () => {
    const found = data.consistency;
    if (!found) {
      find("consistency").remove();
      return;
    }
    find("consistency-words").textContent = `How often the network says the same of an ${found.what === "pixels" ? "image's pixels" : "image"} after a shift: ${found.said}.` +
      (found.kinds.some((kind) => kind.map.length) ? " Maps: the share that agrees by shift; pale blue where no image was shifted to. Curves: over the larger of both axes, with the mean of all dotted." : "");
    const mac = (kind) => {
      const both = document.createDocumentFragment();
      both.append(kind.mac.toFixed(4), html("span", { class: "range" }, known(kind.mac_low) ? `${kind.mac_low.toFixed(4)}–${kind.mac_high.toFixed(4)}` : "one image"));
      return both;
    };
    const shared = ["consistency", "worst", ...(found.labelled ? ["accuracy", "accuracy_shifted", "accuracy_worst"] : [])];
    const heads = ["Consistency", "Under the worst shift", ...(found.labelled ? ["Accuracy", "Accuracy, shifted", "Right under all shifts"] : [])];
    put("consistency-table", table("Means over images, with 95 % intervals over images. MAC: mean absolute change of the probability of the class that was predicted first.",
      ["Shifts", "Images", "Shifts an image", "MAC", ...heads],
      found.kinds.map((kind) => ({ cells: [kind.kind, String(kind.images), String(Number(kind.shifts.toPrecision(3))), mac(kind),
        ...shared.map((key) => withRange(kind[key], kind[`${key}_low`], kind[`${key}_high`]))] })), { open: true }));
    put("consistency-kinds", found.kinds.map((kind, i) => html("div", {}, html("h3", {}, `Shifts of kind ${kind.kind}`),
      html("div", { class: kind.map.length ? "beside map" : null },
        kind.map.length ? html("div", {}, html("div", { id: `shifts-${i}` }), html("div", { class: "scale", id: `scale-${i}` })) : null,
        html("div", { id: `distances-${i}` })))));
    found.kinds.forEach((kind, i) => {
      if (kind.map.length) {
        drawn(`shifts-${i}`, (width) => drawShifts(kind, width).chart);
        const { least } = drawShifts(kind, 300);
        put(`scale-${i}`, html("span", {}, percent(least)), html("i", { class: "agreeing", "aria-hidden": "true" }), html("span", {}, `100\u00a0% of ${found.what}`));
      }
      drawn(`distances-${i}`, (width) => drawDistances(kind, width));
    });
  };

  // -- thresholds --------------------------------------------------------------------------------

  const drawThresholds = (width) => {
    const { levels, overall, sites, own } = data.thresholds;
    const names = Object.keys(sites);
    const height = 300;
    const [left, right, top, bottom] = [54, width - 16, 14, height - 46];
    const x = (level) => left + ((level - levels[0]) / Math.max(1, levels[levels.length - 1] - levels[0])) * (right - left);
    const y = (value) => bottom - value * (bottom - top);
    const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": "Aliased and tangled bins over the threshold, a line a site and their mean; the table below has the numbers." });
    for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
      chart.append(svg("line", { x1: left, x2: right, y1: y(tick), y2: y(tick), class: "grid" }),
        svg("text", { x: left - 8, y: y(tick) + 4, class: "small value", "text-anchor": "end" }, `${100 * tick}\u00a0%`));
    }
    chart.append(svg("line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "axis" }));
    levels.forEach((level, i) => {
      if (i % 2 === 0) chart.append(svg("text", { x: x(level), y: bottom + 18, class: "small value", "text-anchor": "middle" }, String(level)));
    });
    chart.append(svg("text", { x: (left + right) / 2, y: height - 8, class: "small", "text-anchor": "middle" }, "threshold, dB below the reference"));
    if (known(own) && own >= levels[0] && own <= levels[levels.length - 1]) {
      chart.append(svg("line", { x1: x(own), x2: x(own), y1: top, y2: bottom, class: "cursor" }));
    }
    const path = (values) => values.map((value, i) => `${i ? "L" : "M"}${x(levels[i]).toFixed(2)} ${y(value).toFixed(2)}`).join("");
    names.forEach((name, i) => chart.append(svg("path", { d: path(sites[name]), class: "line thin-line", "data-threshold": name,
      stroke: `rgb(${shade(byKey.tangled.colour, i, names.length)})` }, svg("title", {}, name))));
    chart.append(svg("path", { d: path(overall), class: "line ink-line bold-line", "data-threshold": "" }));
    return chart;
  };

  const startThresholds = () => {
    if (!data.thresholds) {
      find("thresholds").remove();
      return;
    }
    const { levels, overall, sites, own } = data.thresholds;
    find("thresholds-words").textContent = "Aliased + tangled bins had the threshold been another: each site, from light (first) to dark (last), and their mean, bold." +
      (known(own) ? ` Dotted: the run's own, ${own}\u00a0dB.` : "");
    drawn("thresholds-figure", drawThresholds);
    put("thresholds-table", table("Aliased + tangled bins by threshold.", ["Site", ...levels.map((level) => `${level} dB`)],
      [...Object.entries(sites).map(([name, values]) => ({ cells: [name, ...values.map(percent)] })),
        { cells: ["Mean", ...overall.map(percent)], attributes: { class: "current" } }]));
  };

  // -- stacked bars ------------------------------------------------------------------------------

  const drawBars = (sites, width, floors = null) => {
    const LINE = floors ? 60 : 52;
    const right = 8;
    const scale = (x) => 1 + x * (width - 2 - right);
    const height = sites.length * LINE + 26;
    const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": "Stacked bars of the four categories for each site; the table below has the numbers." });
    for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
      const x = scale(tick);
      chart.append(svg("line", { x1: x, x2: x, y1: 20, y2: height - 22, class: "grid" }),
        svg("text", { x, y: height - 6, class: "small value",
          "text-anchor": tick === 0 ? "start" : tick === 1 ? "end" : "middle" }, `${100 * tick}\u00a0%`));
    }
    sites.forEach((site, i) => {
      const top = i * LINE;
      const room = Math.floor((width - (floors ? 250 : 118)) / 7.6);
      const name = `${i + 1}  ${site.name}`;
      chart.append(svg("text", { x: 0, y: top + 15, class: "name" },
        name.length > room ? `${name.slice(0, 4)}…${name.slice(-Math.max(4, room - 5))}` : name,
        svg("title", {}, site.name)));
      chart.append(svg("text", { x: width - right, y: top + 15, class: "small value", "text-anchor": "end" },
        floors ? `aliased + tangled ${percent(site.mean.aliased + site.mean.tangled)}, floor ${percent(floors[site.name])}`
          : `tangled ${percent(site.mean.tangled)}`));
      let from = 0;
      const whiskers = [];
      STACK.forEach((key, k) => {
        const share = site.mean[key];
        if (share > 0) {
          chart.append(svg("rect", { x: scale(from), y: top + 22, width: Math.max(0, scale(from + share) - scale(from)),
            height: 22, fill: byKey[key].colour, class: `part${key === "no_pass" ? " grey" : ""}`, "data-key": key },
            svg("title", {}, `${site.name}: ${byKey[key].label} ${percent(share)} (${range(site.low[key], site.high[key])})`)));
        }
        // The last part ends at 100 % whatever its size, so an interval there would mislead.
        if (known(site.low[key]) && k < 3 && site.high[key] - site.low[key] > 1e-4) {
          const y = top + 22 + [5.5, 11, 16.5][k];
          const [x1, x2] = [site.low[key], site.high[key]].map((end) => scale(Math.min(1, Math.max(0, from + end))));
          whiskers.push(svg("line", { x1, x2, y1: y, y2: y, class: "halo" }),
            svg("line", { x1, x2, y1: y, y2: y, class: "whisker" }));
        }
        from += share;
      });
      chart.append(...whiskers);
      if (floors && known(floors[site.name])) {
        chart.append(svg("rect", { x: scale(0), y: top + 45, width: Math.max(0, scale(floors[site.name]) - scale(0)), height: 5,
          fill: byKey.tangled.colour, class: "floor", "data-floor": site.name },
          svg("title", {}, `${site.name}: floor of aliased + tangled ${percent(floors[site.name])}`)));
      }
    });
    return chart;
  };

  const siteTable = (sites, overall, caption, floor = null) => table(caption,
    ["Site", "Operation", "Rate", "Dense signal", ...STACK.map((key) => byKey[key].label), ...(floor ? ["floor of aliased + tangled"] : [])],
    [
      ...sites.map((site) => ({ cells: [site.name, site.op, times(site.rate), times(site.dense_shape),
        ...STACK.map((key) => withRange(site.mean[key], site.low[key], site.high[key])),
        ...(floor ? [percent(floor.sites[site.name])] : [])] })),
      { cells: [`Mean of ${sites.length} ${sites.length === 1 ? "site" : "sites"}`, "", "", "",
        ...STACK.map((key) => withRange(overall.mean[key], overall.low[key], overall.high[key])),
        ...(floor ? [percent(floor.overall)] : [])],
        attributes: { class: "current" } },
    ]);

  // -- correct and incorrect ---------------------------------------------------------------------

  /** Ends and step of an axis around values, in round numbers. */
  const axisAround = (values) => {
    const low = Math.min(...values);
    const high = Math.max(...values);
    const span = Math.max(high - low, 0.01);
    const step = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2].find((each) => span / each <= 5) || 0.25;
    const from = Math.max(0, Math.floor((low - 0.05 * span) / step) * step);
    return { from, to: Math.min(1, Math.max(from + step, Math.ceil((high + 0.05 * span) / step) * step)), step };
  };

  const drawGroups = (width) => {
    const groups = data.groups;
    const names = ["correct", "incorrect"];
    const columns = width > 640 ? 2 : 1;
    const gap = 48;
    const each = (width - gap * (columns - 1)) / columns;
    const [row, block, left, right] = [34, 148, 66, 18];
    const height = Math.ceil(STACK.length / columns) * block - 20;
    const words = STACK.map((key) => `${byKey[key].label}: ` + names.map((name) =>
      `${name} ${percent(groups[name].categories[key].quantiles[2])}`).join(", ")).join("; ");
    const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Box plots of each category; medians: ${words}.` });
    STACK.forEach((key, i) => {
      const sides = names.map((name) => groups[name].categories[key]);
      const axis = axisAround(sides.flatMap(({ quantiles, points }) => [...quantiles, ...points]));
      const scale = (x) => left + ((x - axis.from) / (axis.to - axis.from)) * (each - left - right);
      const bottom = 28 + 2 * row;
      const panel = svg("g", { transform: `translate(${(i % columns) * (each + gap)} ${Math.floor(i / columns) * block})` },
        svg("text", { x: 0, y: 16, class: "name" }, byKey[key].label));
      for (let k = 0; axis.from + k * axis.step <= axis.to + 1e-9; k += 1) {
        const x = scale(axis.from + k * axis.step);
        panel.append(svg("line", { x1: x, x2: x, y1: 26, y2: bottom + 4, class: "grid" }),
          svg("text", { x, y: bottom + 19, class: "small value", "text-anchor": "middle" },
            `${Number((100 * (axis.from + k * axis.step)).toFixed(1))}\u00a0%`));
      }
      names.forEach((name, j) => {
        const y = 28 + j * row + row / 2;
        const { quantiles, points } = sides[j];
        const [low, q1, median, q3, high] = quantiles.map(scale);
        const h = 18;
        panel.append(
          svg("text", { x: 0, y: y + 4, class: "small" }, name),
          svg("line", { x1: low, x2: high, y1: y, y2: y, class: "axis" }),
          svg("rect", { x: q1, y: y - h / 2, width: Math.max(1, q3 - q1), height: h, fill: byKey[key].colour, class: "box" }),
          svg("line", { x1: median, x2: median, y1: y - h / 2 - 2, y2: y + h / 2 + 2, class: "median" }),
          ...points.map((x, k) => svg("circle", { cx: scale(x), cy: y + (((k * 7) % 11) - 5) * 1.2, r: 2.8, class: "dot" })));
      });
      chart.append(panel);
    });
    return chart;
  };

  const groupsTable = () => {
    const { correct, incorrect, test } = data.groups;
    const cell = (side, key) => {
      const [, q1, median, q3] = side.categories[key].quantiles;
      const content = document.createDocumentFragment();
      content.append(percent(median), html("span", { class: "range" }, range(q1, q3)));
      return content;
    };
    const head = ["Category", `Correct, median (n = ${correct.n})`, `Incorrect, median (n = ${incorrect.n})`];
    if (test) head.push("p", "Incorrect larger in");
    return table("Median and quartiles over images. Boxes show the quartiles, their lines the 5th and 95th percentile, points single images. Each category has an axis of its own." +
      (test ? " p: Mann–Whitney, two-sided; beside it, the share of pairs of an incorrect and a correct image in which the incorrect one has more." : ""),
      head,
      STACK.map((key) => ({ cells: [byKey[key].label, cell(correct, key), cell(incorrect, key),
        ...(test ? [test[key].p < 0.001 ? test[key].p.toExponential(1) : test[key].p.toFixed(3),
          `${percent(test[key].larger)} of pairs`] : [])] })),
      { open: true });
  };

  // -- attack ------------------------------------------------------------------------------------

  const SERIES = [
    { key: "top1", label: "top-1 accuracy", line: "ink-line", point: "ink-point" },
    { key: "top5", label: "top-5 accuracy", line: "quiet-line", point: "quiet-point" },
  ].filter(({ key }) => data.attack.some((point) => point.accuracy[key]));

  const lineKey = (series) => svg("svg", { class: "key", viewBox: "0 0 32 14", "aria-hidden": "true" },
    series ? svg("line", { x1: 0, x2: 32, y1: 7, y2: 7, class: `line ${series.line}` })
      : [svg("rect", { x: 0, y: 0, width: 32, height: 14, fill: byKey.tangled.colour, "fill-opacity": 0.22 }),
        svg("line", { x1: 0, x2: 32, y1: 7, y2: 7, class: "line", stroke: byKey.tangled.colour })]);

  /** Logarithmic where epsilon is above 0; 0 itself stands apart at the left. */
  const epsilonScale = (left, right) => {
    const values = data.attack.map((point) => point.eps);
    const positive = values.filter((x) => x > 0).map(Math.log10);
    const zero = values.includes(0);
    const start = zero && positive.length ? left + Math.max(34, 0.13 * (right - left)) : left;
    const [low, high] = [Math.min(...positive), Math.max(...positive)];
    return (x) => {
      if (x === 0) return left;
      return high > low ? start + ((Math.log10(x) - low) / (high - low)) * (right - start) : (start + right) / 2;
    };
  };

  const drawCurve = (width, chosen) => {
    const height = 330;
    const [left, right, top, bottom] = [54, width - 16, 14, height - 46];
    const x = epsilonScale(left + 8, right);
    const y = (value) => bottom - value * (bottom - top);
    const points = data.attack;
    const now = points[chosen];
    const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Accuracy and aliasing over ε, marked at ε = ${epsilon(now.eps)}; the table below has the numbers.` });
    for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
      chart.append(svg("line", { x1: left, x2: right, y1: y(tick), y2: y(tick), class: "grid" }),
        svg("text", { x: left - 8, y: y(tick) + 4, class: "small value", "text-anchor": "end" }, `${100 * tick}\u00a0%`));
    }
    chart.append(svg("line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "axis" }));
    const order = [now, points[0], points[points.length - 1], ...points];
    const taken = [];
    for (const point of order) {
      const at = x(point.eps);
      const label = epsilon(point.eps);
      const half = 3.6 * label.length + 5;
      if (taken.some(([from, to]) => at + half > from && at - half < to)) continue;
      taken.push([at - half, at + half]);
      const middle = Math.min(at, width - half + 4);
      chart.append(svg("text", { x: middle, y: bottom + 18, class: "small value", "text-anchor": "middle" }, label));
    }
    for (const point of points) {
      chart.append(svg("line", { x1: x(point.eps), x2: x(point.eps), y1: bottom, y2: bottom + 5, class: "axis" }));
    }
    chart.append(svg("text", { x: (left + right) / 2, y: height - 8, class: "small", "text-anchor": "middle" },
      width < 480 ? "ε (logarithmic; 0 stands apart)" : "ε, largest change of a pixel (logarithmic; 0 stands apart)"));
    const path = (value) => points.map((p, i) => `${i ? "L" : "M"}${x(p.eps).toFixed(2)} ${y(value(p)).toFixed(2)}`).join("");
    const colour = byKey.tangled.colour;
    if (now.harmed) {
      const upper = points.map((p) => `${x(p.eps).toFixed(2)} ${y(p.harmed.high).toFixed(2)}`);
      const lower = points.map((p) => `${x(p.eps).toFixed(2)} ${y(p.harmed.low).toFixed(2)}`).reverse();
      chart.append(
        svg("path", { d: `M${[...upper, ...lower].join("L")}Z`, fill: colour, "fill-opacity": 0.22 }),
        svg("path", { d: path((p) => p.harmed.aliasing), class: "line", stroke: colour }));
    }
    for (const { key, line } of SERIES) {
      chart.append(svg("path", { d: path((p) => p.accuracy[key].accuracy), class: `line ${line}` }));
    }
    const at = x(now.eps);
    chart.append(svg("line", { x1: at, x2: at, y1: top, y2: bottom, class: "cursor" }));
    if (now.harmed) chart.append(svg("circle", { cx: at, cy: y(now.harmed.aliasing), r: 6.5, fill: colour, stroke: "var(--paper)",
      "stroke-width": 2, "data-point": "harmed" }));
    for (const { key, point } of SERIES) {
      chart.append(svg("circle", { cx: at, cy: y(now.accuracy[key].accuracy), r: 6.5, "stroke-width": 2, class: point, "data-point": key }));
    }
    return chart;
  };

  const startAttack = () => {
    const slider = find("eps");
    let chosen = 0;
    slider.max = data.attack.length - 1;
    slider.value = 0;
    const item = (mark, label, value, small) => html("div", {}, html("dt", {}, mark, label),
      html("dd", { class: "value" }, value), html("dd", { class: "range" }, small));
    const curve = drawn("attack-figure", (width) => drawCurve(width, chosen));
    const bars = drawn("attack-bars", (width) => {
      const point = data.attack[chosen];
      return point.overall ? drawBars(point.sites, width) : point.energy ? drawEnergy(width, point.energy) : "";
    });
    if (!data.overall) {
      find("attack").querySelector("[data-legend]").remove();
      find("attack-words").textContent = "ε is the largest change of a pixel, on pixels in [0, 1].";
    }
    const update = () => {
      chosen = Number(slider.value);
      const point = data.attack[chosen];
      const name = `ε = ${epsilon(point.eps)}`;
      find("eps-value").textContent = epsilon(point.eps);
      slider.setAttribute("aria-valuetext", name);
      put("attack-numbers",
        SERIES.map((series) => {
          const row = point.accuracy[series.key];
          return item(lineKey(series), series.label, percent(row.accuracy),
            `${row.correct} of ${row.n}; 95 % interval ${range(row.low, row.high)}`);
        }),
        point.harmed ? item(lineKey(null), "aliased + tangled", percent(point.harmed.aliasing),
          `median of ${point.n} images; band ${range(point.harmed.low, point.harmed.high)}`) : []);
      find("attack-sites-title").textContent = `Sites at ${name}`;
      const open = find("attack-site-table").querySelector("details")?.open;
      if (point.overall) put("attack-site-table", siteTable(point.sites, point.overall,
        `Fractions at ${name}, with 95 % intervals over ${point.n} images.`));
      else if (point.energy) put("attack-site-table", energyTable(point.energy, point.n));
      if (open) find("attack-site-table").querySelector("details").open = true;
      find("attack-table").querySelectorAll("tbody tr").forEach((row, i) => {
        row.classList.toggle("current", i === chosen);
      });
      curve();
      bars();
    };
    put("attack-table", table(`Over ε: accuracy with 95 % intervals${data.overall ? "; median and 1–99 % band over images of aliased + tangled" : ""}.`,
      ["ε", "Images", ...SERIES.map((series) => series.label), ...(data.overall ? ["aliased + tangled"] : [])],
      data.attack.map((point) => ({ cells: [epsilon(point.eps), String(point.n),
        ...SERIES.map(({ key }) => withRange(point.accuracy[key].accuracy, point.accuracy[key].low, point.accuracy[key].high)),
        ...(point.harmed ? [withRange(point.harmed.aliasing, point.harmed.low, point.harmed.high)] : [])] })),
      { summary: "Show every ε as a table" }));
    slider.addEventListener("input", update);
    update();
  };

  // -- explorer ----------------------------------------------------------------------------------

  const panel = (title, picture, ...caption) => html("figure", {}, html("h3", {}, title),
    html("div", { class: "picture" }, picture), html("figcaption", {}, ...caption));
  const missing = (text) => html("div", { class: "missing" }, text);
  const scaleBar = (kind, from, to) => html("div", { class: "scale" }, html("span", {}, from),
    html("i", { class: kind, "aria-hidden": "true" }), html("span", {}, to));
  const short = (x) => (Math.abs(x) >= 1e4 || (x !== 0 && Math.abs(x) < 1e-3) ? x.toExponential(1) : String(Number(x.toPrecision(3)))).replaceAll("-", "−");

  const sampleName = (sample) => {
    const parts = [`${sample.sample}`];
    if (sample.name) parts.push(sample.name);
    if (sample.correct !== null) parts.push(sample.correct ? "correct" : "incorrect");
    return parts.join(" · ");
  };

  const imagePanel = (sample) => {
    const facts = [];
    if (known(sample.label)) facts.push(`Class ${sample.label}`);
    if (known(sample.prediction)) facts.push(`predicted ${sample.prediction}`);
    const words = facts.length ? `${facts.join(", ")}.` : "";
    if (!sample.image) return panel("Image", missing("The image was not kept with the run, and its file was not found."), words);
    const { url, size, caption } = sample.image;
    return panel("Image", html("img", { src: url, width: size[0], height: size[1], "data-panel": "image",
      alt: `Image ${sample.sample}${sample.name ? `, ${sample.name}` : ""}` }),
    `${words} ${size[0]} × ${size[1]} pixels, ${caption}.`);
  };

  const showPanels = (sample, site, channel, picture) => {
    const where = `channel ${channel.channel} of ${site.name}`;
    const panels = [imagePanel(sample)];
    if (picture.dense) {
      const [low, high] = picture.range.map(short);
      const size = site.dense_shape.slice(-2);
      panels.push(panel("Dense signal", html("img", { src: picture.dense, class: "pixels", "data-panel": "dense",
        alt: `Dense signal of ${where}, ${size[0]} by ${size[1]} values from ${low} to ${high}` }),
      scaleBar("greys", low, high), `${times(size)} values, before decimation at rate ${times(site.rate)}.`));
      const { x, y, width, height } = site.box;
      const box = { x: 100 * x, y: 100 * y, width: 100 * width, height: 100 * height };
      panels.push(panel("Its spectrum", [html("img", { src: picture.spectrum, class: "pixels", "data-panel": "spectrum",
        alt: `Power spectrum of ${where} in decibels, zero frequency in the middle, with the new Nyquist band boxed` }),
      svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
        svg("rect", { ...box, class: "nyquist-halo" }), svg("rect", { ...box, class: "nyquist" }))],
      scaleBar("decibels", "−60 dB", "0 dB"),
      "Power below the strongest frequency; zero frequency in the middle. Dashed: the new Nyquist band. What lies outside it folds into it."));
    }
    const fractions = Object.fromEntries(categories.map(({ key }, i) => [key, picture.fractions[i]]));
    panels.push(panel("Category map", html("img", { src: picture.map, class: "pixels", "data-panel": "map",
      alt: `Category map of ${where}: ${shares(fractions)}` }),
    html("ul", { class: "shares" }, STACK.map((key) => html("li", {}, swatch(key), byKey[key].label,
      html("b", { "data-share": key }, percent(fractions[key]))))),
    `${times(picture.bins)} bins of the decimated spectrum, zero frequency in the middle.` +
      (data.accounting === "published" ? " These four partition the bins (exact accounting)." : "")));
    put("panels", panels);
    put("explorer-status", `${sampleName(sample)}; ${where}` +
      (site.windows > 1 ? `, first of ${site.windows} windows` : "") + `: ${shares(fractions)}.`);
  };

  const startExplorer = () => {
    put("explorer-notes", paragraphs(pictures.notes));
    if (!pictures.samples) {
      find("explorer-body").remove();
      return;
    }
    const [sampleBox, siteBox, channelBox] = ["sample", "site", "channel"].map(find);
    const options = (box, names) => box.replaceChildren(...names.map((name, i) => html("option", { value: i }, name)));
    options(sampleBox, pictures.samples.map(sampleName));
    options(siteBox, pictures.sites.map((site) => `${site.name} (${times(site.dense_shape)}, rate ${times(site.rate)})`));
    const channels = (place) => {
      options(channelBox, pictures.sites[siteBox.value].channels.map(({ channel, tangled }) =>
        `${channel} · tangled ${percent(tangled)} on average`));
      channelBox.value = Math.min(place, channelBox.options.length - 1);
    };
    /** Begin where the first image's map has most to show: the most even mixture of categories. */
    const mixture = (fractions) => fractions.reduce((sum, x) => sum - (x > 0 ? x * Math.log(x) : 0), 0);
    const fullest = pictures.pictures
      .flatMap((samples, site) => samples[0].map((picture, channel) => ({ site, channel, 
        mixture: mixture(picture.fractions) * Math.min(1, Math.max(...picture.bins) / 27) })))
      .reduce((best, each) => (each.mixture > best.mixture + 1e-9 ? each : best));
    const show = () => showPanels(pictures.samples[sampleBox.value], pictures.sites[siteBox.value],
      pictures.sites[siteBox.value].channels[channelBox.value],
      pictures.pictures[siteBox.value][sampleBox.value][channelBox.value]);
    siteBox.addEventListener("change", () => { channels(channelBox.selectedIndex); show(); });
    sampleBox.addEventListener("change", show);
    channelBox.addEventListener("change", show);
    find("explorer-form").addEventListener("submit", (event) => event.preventDefault());
    siteBox.value = fullest.site;
    channels(fullest.channel);
    show();
  };

  // -- the categories of the whole network and of each site ---------------------------------------

  const startCategories = () => {
    if (!data.overall) {
      for (const id of ["tiles", "ring", "sites", "groups", "explorer"]) find(id).remove();
      document.querySelectorAll("[data-categories]").forEach((each) => each.remove());
      return;
    }
    put("tiles", STACK.map((key) => html("div", {}, html("dt", {}, swatch(key), byKey[key].label),
      html("dd", { class: "value" }, percent(data.overall.mean[key])),
      html("dd", { class: "range" }, known(data.overall.low[key]) ? `95 % interval ${range(data.overall.low[key], data.overall.high[key])}` : "one image, no interval"))));
    put("ring-figure", drawRing());
    put("ring-sites", data.sites.map((site) => html("li", {}, site.name)));
    find("sites-words").textContent = `${data.sites.length} ${data.sites.length === 1 ? "site" : "sites"}, in the order in which they run` +
      (data.under ? `,${data.under}` : "") +
      (known(data.overall.low.tangled) ? ". The thin line at the end of a part is that part's own 95 % interval; the last part is what the others leave." : ".") +
      (data.floor ? ` The faint bar below is the floor: aliased + tangled of the low part alone, in which nothing aliases (${data.floor.n} ${data.floor.n === 1 ? "image" : "images"}).` : "");
    drawn("site-bars", (width) => drawBars(data.sites, width, data.floor && data.floor.sites));
    put("site-table", siteTable(data.sites, data.overall,
      `Fractions of bins with 95 % intervals over ${data.samples} ${data.samples === 1 ? "image" : "images"}.`, data.floor));
    find("groups-words").textContent = data.groups_words;
    if (data.groups) {
      drawn("groups-figure", drawGroups);
      put("groups-table", groupsTable());
    }
    startExplorer();
  };

  // -- the page ----------------------------------------------------------------------------------

  find("title").textContent = data.title;
  document.querySelectorAll("[data-legend]").forEach((list) => list.replaceChildren(
    ...STACK.map((key) => html("li", {}, swatch(key), byKey[key].label))));
  const energyTiles = (data.energy ? data.energy.rates : []).map((rate) => html("div", {},
    html("dt", {}, data.energy.rates.length > 1 ? `aliased energy, rate ${rate.rate}` : "aliased energy"),
    html("dd", { class: "value" }, percent(rate.value)),
    html("dd", { class: "range" }, `${known(rate.low) ? `95 % interval ${range(rate.low, rate.high)}` : "no interval"}; white noise ${percent(rate.white)}`)));
  if (energyTiles.length) put("energy-tiles", energyTiles);
  else find("energy-tiles").remove();
  put("summary-words", paragraphs(data.summary));
  startEnergy();
  startAblation();
  startConsistency();
  startCategories();
  startThresholds();
  if (data.attack.length) startAttack();
  else find("attack").remove();

  if (data.overall) find("accounting-words").textContent = data.accounting === "published"
    ? "Published accounting, as the authors' code did it: aliased bins are counted as no pass too, and each image's four counts at a site are then divided by their sum."
    : "Exact accounting: the four categories partition the bins.";
  put("about-table", table("The run", null, data.about.map(([name, value]) => ({ cells: [name, value] })), { open: true, words: true }));
  if (data.unsupported.length) {
    put("unsupported", html("h3", {}, "Not measured"), table("Places that resample but cannot be split into a dense operation and decimation.",
      ["Place", "Operation", "Reason"],
      data.unsupported.map(({ name, op, reason }) => ({ cells: [name, op, reason] })), { open: true, words: true }));
  }
  if (data.unreadable.length) {
    put("unreadable", html("h3", {}, "Images left out"), table("Images that could not be read.", ["Image", "Reason"],
      data.unreadable.map(([number, name, reason]) => ({ cells: [`${number} · ${name}`, reason] })), { open: true, words: true }));
  }
  put("contents", [...document.querySelectorAll("main section")].map((section) =>
    html("li", {}, html("a", { href: `#${section.id}` }, section.querySelector("h2").textContent))));
})();
