// Aliased + tangled bins had the threshold been another.

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
    [...Object.entries(sites).map(([name, values]) => ({ cells: [name, ...values.map(percentCell)] })),
      { cells: ["Mean", ...overall.map(percent)], attributes: { class: "current" } }], { sort: "thresholds" }));
};
