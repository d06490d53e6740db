// Images that were classified correctly, and the others.

/** Ends and step of an axis around values, in round numbers. */
const axisAround = (values) => {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const span = Math.max(high - low, 0.01);
  const step = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2].find((each) => span / each <= 4) || 0.25;
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
  const height = Math.ceil(ORDER.length / columns) * block - 20;
  const words = ORDER.map((key) => `${byKey[key].label}: ` + names.map((name) =>
    `${name} ${percent(groups[name].categories[key].quantiles[2])}`).join(", ")).join("; ");
  const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `Box plots of each category; medians: ${words}.` });
  ORDER.forEach((key, i) => {
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
    ORDER.map((key) => ({ cells: [byKey[key].label, cell(correct, key), cell(incorrect, key),
      ...(test ? [test[key].p < 0.001 ? test[key].p.toExponential(1) : test[key].p.toFixed(3),
        `${percent(test[key].larger)} of pairs`] : [])] })),
    { open: true });
};
