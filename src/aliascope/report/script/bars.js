// Site by site: stacked bars of the four categories, in their order, so that tangled ends at the right.

const drawBars = (sites, width, floors = null) =>
  chartOfSites(sites, width, (part, beside) => barChart(part, width, floors, beside));

const barChart = (sites, width, floors, beside) => {
  const many = sites.length > MANY;
  const short = width < 480; // no room to say that the number is that of aliased + tangled
  const LINE = beside ? 26 : floors ? 60 : 52;
  const [left, right, from0, thick] = beside ? [NAMES, 8, 2, 15] : [1, 8, 22, 22];
  const scale = (x) => left + x * (width - 1 - left - right);
  const height = sites.length * LINE + 26;
  const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": "Stacked bars of the four categories for each site; the table below has the numbers." });
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    const x = scale(tick);
    chart.append(svg("line", { x1: x, x2: x, y1: beside ? 2 : 20, y2: height - 22, class: "grid" }),
      svg("text", { x, y: height - 6, class: "small value",
        "text-anchor": tick === 0 ? "start" : tick === 1 ? "end" : "middle" }, `${100 * tick}\u00a0%`));
  }
  sites.forEach((site, i) => {
    const top = i * LINE;
    const room = Math.floor((beside ? NAMES - 24 : width - (floors ? (short ? 150 : 250) : 118)) / (beside ? 7.1 : 7.6));
    const name = `${site.number}  ${many ? site.shown : site.name}`;
    chart.append(svg("text", { x: 0, y: top + 15, class: "name" },
      squeezed(name, room),
      svg("title", {}, site.name)));
    if (!beside) chart.append(svg("text", { x: width - right, y: top + 15, class: "small value", "text-anchor": "end" },
      floors ? `${short ? "" : "aliased + tangled "}${percent(site.mean.aliased + site.mean.tangled)}, floor ${percent(floors[site.name])}`
        : `tangled ${percent(site.mean.tangled)}`));
    let from = 0;
    const whiskers = [];
    [...ORDER].reverse().forEach((key, k) => { // from the right
      const share = site.mean[key];
      if (share > 0) {
        chart.append(svg("rect", { x: scale(1 - from - share), y: top + from0, width: Math.max(0, scale(share) - scale(0)),
          height: thick, fill: byKey[key].colour, class: `part${key === "no_pass" ? " grey" : ""}`, "data-key": key },
          svg("title", {}, `${site.name}: ${byKey[key].label} ${percent(share)} (${range(site.low[key], site.high[key])})`)));
      }
      // The last part ends at the left whatever its size, so an interval there would mislead.
      if (known(site.low[key]) && k < 3 && site.high[key] - site.low[key] > 1e-4) {
        const y = top + from0 + (k + 1) * (thick / 4);
        const [x1, x2] = [site.low[key], site.high[key]].map((end) => scale(1 - Math.min(1, Math.max(0, from + end))));
        whiskers.push(svg("line", { x1, x2, y1: y, y2: y, class: "halo" }),
          svg("line", { x1, x2, y1: y, y2: y, class: "whisker" }));
      }
      from += share;
    });
    chart.append(...whiskers);
    if (floors && known(floors[site.name])) {
      chart.append(svg("rect", { x: scale(1 - floors[site.name]), y: top + from0 + thick + 1, width: Math.max(0, scale(floors[site.name]) - scale(0)), height: 5,
        fill: byKey.tangled.colour, class: "floor", "data-floor": site.name },
        svg("title", {}, `${site.name}: floor of aliased + tangled ${percent(floors[site.name])}`)));
    }
  });
  return chart;
};

const siteTable = (sites, overall, caption, floor = null, sort = "sites") => table(caption,
  ["Site", "Operation", "Rate", "Dense signal", ...ORDER.map((key) => byKey[key].label), ...(floor ? ["floor of aliased + tangled"] : [])],
  [
    ...sites.map((site) => ({ cells: [site.name, site.op, sizeCell(site.rate), sizeCell(site.dense_shape),
      ...ORDER.map((key) => withRange(site.mean[key], site.low[key], site.high[key])),
      ...(floor ? [percentCell(floor.sites[site.name])] : [])] })),
    { cells: [`Mean of ${sites.length} ${sites.length === 1 ? "site" : "sites"}`, "", "", "",
      ...ORDER.map((key) => withRange(overall.mean[key], overall.low[key], overall.high[key])),
      ...(floor ? [percent(floor.overall)] : [])],
      attributes: { class: "current" } },
  ], { sort });
