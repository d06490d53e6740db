// Shift consistency: maps over shifts, curves over their distance.

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
