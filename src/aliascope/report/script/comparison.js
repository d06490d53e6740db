// Compared with other runs on the same images: paired differences, site by site.

const VALUES = { aliased_energy: "aliased energy" };
const valueName = (key) => VALUES[key] || byKey[key].label;

/** Ends and step of an axis around differences and 0, shared by the parts of a chart. */
const differenceAxis = (rows) => {
  const ends = rows.flatMap((row) => [row.difference, row.low, row.high, 0]).filter(known);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const span = Math.max(high - low, 0.01);
  const step = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5].find((each) => span / each <= 5) || 1;
  return { from: low - 0.05 * span, to: high + 0.05 * span, step };
};

const drawDifferences = (rows, width, label) => {
  const axis = differenceAxis(rows);
  const sites = rows.filter((row) => !row.overall).map((row) => ({ ...row, name: row.site }));
  const mean = rows.filter((row) => row.overall).map((row) => ({ ...row, name: "Mean", shown: "Mean" }));
  return chartOfSites(sites, width, (part, beside, last) =>
    differenceChart(last ? [...part, ...mean] : part, width, label, axis, beside));
};

const differenceChart = (rows, width, label, { from, to, step }, beside) => {
  const words = (row) => points(row.difference, row.low, row.high);
  const [left, right, line] = beside ? [NAMES, width - 150, 24] : [8, width - 8, 40];
  const scale = (x) => left + ((x - from) / (to - from)) * (right - left);
  const height = rows.length * line + 46;
  const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${label}; the table below has the numbers.` });
  for (let k = Math.ceil(from / step); k * step <= to; k += 1) {
    chart.append(svg("line", { x1: scale(k * step), x2: scale(k * step), y1: beside ? 4 : 18, y2: height - 42, class: k ? "grid" : "axis" }),
      svg("text", { x: scale(k * step), y: height - 26, class: "small value", "text-anchor": "middle" }, String(Number((100 * k * step).toFixed(1))).replace("-", "−")));
  }
  const room = Math.floor(((beside ? NAMES : width - 150) - 24) / (beside ? 7.1 : 7.6));
  rows.forEach((row, i) => {
    const y = i * line + (beside ? 14 : 26);
    const lift = beside ? -5 : 11;
    chart.append(svg("text", { x: 0, y: y - lift, class: `name${row.overall ? " verdict" : ""}` },
      squeezed(rows.length > MANY ? row.shown : row.name, room), svg("title", {}, row.name)),
    svg("text", { x: width, y: y - lift, class: "small value", "text-anchor": "end" }, words(row)));
    if (known(row.low)) chart.append(svg("line", { x1: scale(row.low), x2: scale(row.high), y1: y, y2: y, class: "whisker" }));
    if (known(row.difference)) chart.append(svg("circle", { cx: scale(row.difference), cy: y, r: row.overall ? 6 : 5, class: "energy",
      "data-difference": row.site }, svg("title", {}, `${row.name}: ${words(row)} points`)));
  });
  chart.append(svg("text", { x: (left + right) / 2, y: height - 6, class: "small", "text-anchor": "middle" }, "difference (points)"));
  return chart;
};

const differenceTable = (found, number) => {
  const p = (x) => valued(!known(x) ? "–" : x < 0.001 ? "<\u20090.001" : x.toFixed(3), x);
  const change = (row) => {
    const both = document.createDocumentFragment();
    both.append(known(row.difference) ? signed(row.difference) : "–", html("span", { class: "range" }, known(row.low) ? `${signed(row.low)} to ${signed(row.high)}` : ""));
    return valued(both, row.difference);
  };
  return table(`Means over the ${found.images} images that both have, of each image's own value (further up, energy is a ratio of sums over images); differences with 95 % intervals of paired differences (Student's t). p: two-sided, not adjusted for the number of sites.`,
    ["Site", "Value", "Before", "After", "Difference, points", "p"],
    found.rows.map((row) => ({ cells: [row.overall ? "Mean" : row.site, valueName(row.value), percentCell(row.before), percentCell(row.after), change(row), p(row.p)],
      attributes: row.overall ? { class: "current" } : {} })), { sort: `comparison-${number}` });
};

const startComparisons = () => {
  if (!data.comparisons.length) return find("comparison").remove();
  put("comparison-body", data.comparisons.map((found, i) => html("div", {},
    html("h3", {}, `${found.names[0]} → ${found.names[1]}`),
    html("div", { class: "prose" }, paragraphs(found.said)),
    html("h4", { id: `differences-title-${i}` }), html("div", { id: `differences-${i}` }),
    differenceTable(found, i + 1),
    found.notes.length ? html("div", { class: "prose quiet notes" }, html("p", {}, "What differs between the runs, and what was left out:"), html("ul", {}, found.notes.map((note) => html("li", {}, note)))) : null)));
  data.comparisons.forEach((found, i) => {
    const rows = found.rows.filter((row) => row.value === found.drawn);
    const label = `Change of ${found.drawn === "aliased_energy" ? "aliased energy" : `the ${valueName(found.drawn)} fraction`}, after − before`;
    find(`differences-title-${i}`).textContent = label;
    drawn(`differences-${i}`, (width) => drawDifferences(rows, width, label));
  });
};
