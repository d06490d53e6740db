// The ring: the four categories outside, what each site adds to them inside.

/** Place labels beside their parts; of small parts side by side, below each other. */
const apart = (labels) => {
  const height = 31;
  for (const label of labels) {
    label.side = label.x > 34 ? "start" : label.x < -34 ? "end" : "middle";
    label.y += label.y > 60 ? 12 : label.y < -60 ? -14 : 0;
  }
  for (const side of ["start", "end"]) {
    const column = labels.filter((label) => label.side === side).sort((a, b) => a.y - b.y);
    column.forEach((label, i) => { if (i) label.y = Math.max(label.y, column[i - 1].y + height); });
    const beyond = column.length ? Math.max(0, column[column.length - 1].y - 150) : 0;
    const close = column.some((label, i) => i && label.y - column[i - 1].y <= height + 0.01);
    // A stack grew downwards from its first label; centre it around where its parts are.
    const lift = Math.max(beyond, close ? (column[column.length - 1].y - column[0].y) / 4 : 0);
    column.forEach((label) => { label.y -= lift; });
  }
};

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
  const ring = svg("svg", { viewBox: "-222 -168 444 336", role: "img", width: "100%",
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
      ring.append(svg("path", { d: wedge(innerFrom, innerFrom + part, 99, 58), fill: `rgb(${rgb})`, class: `part${grey}`, "data-wedge": i },
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
  apart(labels);
  for (const { x, y, side, label, total } of labels) {
    ring.append(svg("text", { x, y: y - 2, "text-anchor": side }, label),
      svg("text", { x, y: y + 13, "text-anchor": side, class: "value" }, percent(total)));
  }
  return ring;
};

/** The sites beside the ring, numbered as in it; one that is pointed at shows in the ring. */
const ringTable = () => {
  const energy = new Map((data.energy ? data.energy.sites : []).map((site) => [site.name, site]));
  const floors = data.floor && data.floor.sites;
  const shown = brief(data.sites.map((site) => site.name));
  const whole = table("Sites, numbered as in the ring. Click on a column's head to sort.",
    ["No.", "Site", ...(data.energy ? ["Aliased energy"] : []), "Aliased + tangled", ...(floors ? ["Floor"] : [])],
    data.sites.map((site, i) => ({
      attributes: { "data-site": i },
      cells: [valued(String(i + 1), i + 1), valued(html("span", { title: site.name }, ...wrapping(shown[i])), site.name),
        ...(data.energy ? [percentCell(energy.get(site.name)?.value)] : []),
        percentCell(site.mean.aliased + site.mean.tangled), ...(floors ? [percentCell(floors[site.name])] : [])],
    })), { open: true, sort: "network", kind: "tall" });
  const lit = (row) => document.querySelectorAll("[data-wedge]").forEach((wedge) =>
    wedge.classList.toggle("dimmed", row !== null && wedge.dataset.wedge !== row.dataset.site));
  whole.addEventListener("mouseover", (event) => lit(event.target.closest("[data-site]")));
  whole.addEventListener("mouseleave", () => lit(null));
  return whole;
};
