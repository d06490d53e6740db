// Under attack: accuracy and aliasing over epsilon, with a slider.

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
      `Fractions at ${name}, with 95 % intervals over ${point.n} images.`, null, "attack"));
    else if (point.energy) put("attack-site-table", energyTable(point.energy, point.n, "attack"));
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
  slider.addEventListener("input", () => {
    update();
    link.set({ condition: data.attack[chosen].condition }, "attack");
  });
  link.follow("attack", () => {
    slider.value = Math.max(0, data.attack.findIndex((point) => point.condition === link.get("condition")));
    update();
  });
};
