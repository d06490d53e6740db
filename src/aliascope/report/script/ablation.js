// Does it matter: what interventions change, stage by stage.

const signed = (x) => {
  const size = Math.abs(100 * x).toFixed(1);
  return size === "0.0" ? size : `${x < 0 ? "−" : "+"}${size}`;
};
const points = (x, low, high) => (known(x) ? `${signed(x)}${known(low) ? ` [${signed(low)}, ${signed(high)}]` : ""}` : "–");
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
