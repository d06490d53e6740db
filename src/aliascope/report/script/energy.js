// How much aliases: aliased energy of each site and rate.

const marks = {
  energy: () => [svg("line", { x1: 0, x2: 32, y1: 7, y2: 7, class: "whisker" }), svg("circle", { cx: 16, cy: 7, r: 5, class: "energy" })],
  edge: () => [svg("rect", { x: 0, y: 0, width: 32, height: 14, class: "edge" })],
  white: () => [svg("line", { x1: 16, x2: 16, y1: 0, y2: 14, class: "white" })],
};
const markKey = (mark) => svg("svg", { class: "key", viewBox: "0 0 32 14", "aria-hidden": "true" }, marks[mark]());

const drawEnergy = (width, { sites, rates } = data.energy) =>
  chartOfSites(sites, width, (part, beside, last) => energyChart(width, part, last ? rates : [], beside));

/** Many sites stand in one line each, with their names beside the chart where that is wide. */
const energyChart = (width, sites, rates, beside) => {
  const [left, right, line] = beside ? [NAMES, 92, 24] : [8, 8, 46];
  const scale = (x) => left + x * (width - left - right);
  const rows = [...sites.map((site) => ({ ...site, label: `${site.number}  ${sites.length > MANY ? site.shown : site.name}`, key: site.name })),
    ...rates.map((rate) => ({ ...rate, label: `Mean, rate ${rate.rate} (${rate.sites} ${rate.sites === 1 ? "site" : "sites"})`, key: rate.rate, mean: true }))];
  const height = rows.length * line + 30;
  const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": "Aliased energy of each site and rate, with its interval and what white noise has; the table below has the numbers." });
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    const x = scale(tick);
    chart.append(svg("line", { x1: x, x2: x, y1: beside ? 4 : 20, y2: height - 24, class: "grid" }),
      svg("text", { x, y: height - 8, class: "small value",
        "text-anchor": tick === 0 ? "start" : tick === 1 ? "end" : "middle" }, `${100 * tick}\u00a0%`));
  }
  rows.forEach((row, i) => {
    const top = i * line;
    const y = beside ? top + 14 : top + 31;
    const room = Math.floor(((beside ? NAMES : width) - (beside ? 24 : row.rough ? 116 : 84)) / (beside ? 7.1 : 7.6));
    chart.append(svg("text", { x: 0, y: beside ? y + 5 : top + 15, class: "name" },
      squeezed(row.label, room),
      svg("title", {}, row.name || row.label)));
    chart.append(svg("text", { x: beside ? width : width - right, y: beside ? y + 5 : top + 15, class: "small value", "text-anchor": "end" },
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

const energyTable = (energy = data.energy, images = data.samples, sort = "energy") => {
  const cells = (row) => [withRange(row.value, row.low, row.high), valued(known(row.value) ? range(row.edge_low, row.edge_high) : "–", row.edge_low), percentCell(row.white)];
  return table(`Share of the varying energy beyond the new Nyquist rate, with 95 % intervals over ${images} ${images === 1 ? "image" : "images"}.`,
    ["Site", "Rate", "Dense signal", "Aliased energy", "Cut ± 1 coefficient", "White noise"],
    [...energy.sites.map((site) => ({ cells: [site.name, sizeCell(site.rate), sizeCell(site.dense_shape), ...cells(site)] })),
      ...energy.rates.map((rate) => ({ cells: [`Mean of ${rate.sites} ${rate.sites === 1 ? "site" : "sites"}`, rate.rate, "", ...cells(rate)],
        attributes: { class: "current" } }))], { sort });
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
