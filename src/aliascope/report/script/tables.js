// Tables: beneath a summary or open, and sorted by a click on a column's head.

/** A cell, and what it is sorted by. */
const valued = (cell, value) => ({ cell, value });
const withRange = (value, low, high) => {
  const cell = document.createDocumentFragment();
  cell.append(percent(value), html("span", { class: "range" }, range(low, high)));
  return valued(cell, value);
};
const percentCell = (x) => valued(percent(x), x);
const sizeCell = (sizes) => valued(times(sizes), sizes.reduce((product, n) => product * n, 1));

const cellOf = (cell) => (cell && cell.cell !== undefined ? cell.cell : cell);
const valueOf = (cell) => (cell && cell.cell !== undefined ? cell.value : cell);
const unknown = (x) => !known(x) || x === "" || x === "–" || Number.isNaN(x);

/** Unknown values last, whichever way; digits in names by their value. */
const inOrder = (a, b, turned) => {
  if (unknown(a) || unknown(b)) return unknown(a) - unknown(b);
  const order = typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true });
  return turned ? -order : order;
};

/** Let the heads of a table sort its rows: once, the other way, and back to the order in which sites run. */
const sortable = (name, heads, columns, body, rows) => {
  const key = `sort-${name}`;
  const slugs = columns.map((column) => column.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, ""));
  const first = (at) => (rows.some((row) => typeof row.values[at] === "number") ? "down" : "up");
  const sort = (at, way) => {
    const order = at < 0 ? rows : [...rows].sort((a, b) => inOrder(a.values[at], b.values[at], way === "down"));
    body.replaceChildren(...order.map((row) => row.element));
    heads.forEach((head, i) => {
      if (i === at) head.setAttribute("aria-sort", way === "down" ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };
  const chosen = () => {
    const [slug, way] = (link.get(key) || "").split(",");
    return [slugs.indexOf(slug), way === "down" ? "down" : "up"];
  };
  heads.forEach((head, at) => head.firstChild.addEventListener("click", () => {
    const [now, way] = chosen();
    const next = now !== at ? first(at) : way === first(at) ? (way === "down" ? "up" : "down") : null;
    link.set({ [key]: next && `${slugs[at]},${next}` }, head.closest("section").id);
    sort(next ? at : -1, next);
  }));
  link.follow(key, () => {
    const [at, way] = chosen();
    sort(at, way);
    if (at >= 0 && body.closest("details")) body.closest("details").open = true;
  });
};

let tables = 0;
const table = (caption, columns, rows,
  { open = false, summary = "Show the numbers as a table", words = false, sort = null, kind = null } = {}) => {
  const made = rows.map((row) => ({
    last: row.attributes?.class === "current",
    values: row.cells.map(valueOf),
    element: html("tr", row.attributes || {}, row.cells.map((cell, i) => fill(
      document.createElement(i === 0 ? "th" : "td"), i === 0 ? { scope: "row" } : {}, [cellOf(cell)]))),
  }));
  const moving = made.filter((row) => !sort || !row.last);
  const body = html("tbody", {}, moving.map((row) => row.element));
  const heads = (columns || []).map((name) => html("th", { scope: "col" },
    sort ? html("button", { type: "button", class: "sort" }, name) : name));
  // The caption stands outside the box that scrolls, so that it wraps at the page's width.
  const id = `caption-${(tables += 1)}`;
  const label = html("p", { class: "caption", id }, caption);
  const box = html("div", { class: `scroll ${kind || ""}`.trim(), role: "region", tabindex: "0", "aria-labelledby": id },
    html("table", { class: words ? "words" : columns && columns.length > 9 ? "wide" : null, "aria-labelledby": id, "data-table": sort },
      columns ? html("thead", {}, html("tr", {}, heads)) : null,
      body, sort ? html("tbody", {}, made.filter((row) => row.last).map((row) => row.element)) : null));
  const whole = open ? html("div", {}, label, box) : html("details", {}, html("summary", {}, summary), label, box);
  if (sort) sortable(sort, heads, columns, body, moving);
  return whole;
};
