// Elements, numbers in words, tables and drawings. Every string of the run goes through textContent or setAttribute.

const data = JSON.parse(document.getElementById("data").textContent);
const pictures = JSON.parse(document.getElementById("pictures").textContent);
const categories = data.categories;
const ORDER = data.order_of_categories;
const byKey = Object.fromEntries(categories.map((c) => [c.key, c]));

const find = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const fill = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
};
const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const put = (id, ...children) => find(id).replaceChildren(...children.flat());
const paragraphs = (texts) => texts.map((text) => html("p", {}, text));

// -- numbers

const known = (x) => x !== null && x !== undefined;
const number = (x) => (100 * x).toFixed(1);
const percent = (x) => (known(x) ? `${number(x)}\u00a0%` : "–");
const range = (low, high) => (known(low) ? `${number(low)}–${number(high)}\u00a0%` : "one image");
const times = (sizes) => sizes.join("\u2009×\u2009");
/** A name in so many characters, without its middle where it is longer. */
const squeezed = (name, room) => {
  if (name.length <= room) return name;
  const kept = Math.max(4, room - 1);
  return `${name.slice(0, Math.ceil(kept / 2))}…${name.slice(name.length - Math.floor(kept / 2))}`;
};
/** Names without what most of them begin with, by whole words between dots. */
const brief = (names) => {
  let prefix = "";
  for (;;) {
    const counts = new Map();
    for (const name of names.filter((each) => each.startsWith(prefix))) {
      const end = name.indexOf(".", prefix.length) + 1;
      if (end) counts.set(name.slice(0, end), (counts.get(name.slice(0, end)) || 0) + 1);
    }
    const [longer, count] = [...counts].reduce((best, each) => (each[1] > best[1] ? each : best), ["", 0]);
    if (names.length < 3 || count < 0.8 * names.length) break;
    prefix = longer;
  }
  return names.map((name) => (prefix.length > 3 && name.startsWith(prefix) ? `…${name.slice(prefix.length)}` : name));
};
/** A name that may wrap after its dots. */
const wrapping = (name) => name.split(/(?<=\.)/).flatMap((part, i) => (i ? [html("wbr"), part] : [part]));
const epsilon = (x) => String(Number(x.toPrecision(6)));
const shares = (fractions) =>
  ORDER.map((key) => `${byKey[key].label} ${percent(fractions[key])}`).join(", ");

// -- pieces

const swatch = (key) =>
  html("span", { class: "swatch", "aria-hidden": "true" },
    svg("svg", { viewBox: "0 0 12 12" },
      svg("rect", { x: 0.5, y: 0.5, width: 11, height: 11, rx: 2, fill: byKey[key].colour,
        class: key === "no_pass" ? "grey" : null })));

/** Black or white, whichever is easier to read on a colour. */
const inkOn = (rgb) => {
  const linear = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#ffffff" : "#000000";
};
const rgbOf = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
/** The first site lightest, the last nearly the full colour, as in the published ring. */
const shade = (hex, i, n) => {
  const strength = 0.12 + 0.73 * (n > 1 ? i / (n - 1) : 1);
  return rgbOf(hex).map((v) => Math.round(255 - strength * (255 - v)));
};

const MANY = 12; // sites; of more, each takes one line
const NAMES = 310; // pixels of the column of names beside a chart of many sites
const SHEET_SITES = 34; // of those, how many fit a printed page
let printing = false;

/** Draw a chart of sites, with the numbers in which they run; on paper in parts that fit a page. */
const chartOfSites = (sites, width, draw) => {
  const shown = brief(sites.map((site) => site.name));
  const numbered = sites.map((site, i) => ({ ...site, number: i + 1, shown: shown[i] }));
  const beside = sites.length > MANY && width >= 640;
  if (!printing || sites.length <= MANY) return [draw(numbered, beside, true)];
  const parts = [];
  for (let from = 0; from < sites.length; from += SHEET_SITES) {
    parts.push(draw(numbered.slice(from, from + SHEET_SITES), beside, from + SHEET_SITES >= sites.length));
  }
  return parts;
};

/** Draw now and whenever the width changes; text keeps its size. */
const drawings = [];
const SHEET = 660; // pixels between the margins of a printed A4 page
const drawn = (id, draw) => {
  const place = find(id);
  let width = 0;
  const again = (force, most = Infinity) => {
    const now = Math.min(most, Math.floor(place.clientWidth));
    if (now > 60 && (force || now !== width)) {
      width = now;
      place.replaceChildren(...[draw(now)].flat());
    }
  };
  drawings.push(again);
  again(true);
  return () => again(true);
};
window.addEventListener("resize", () => drawings.forEach((again) => again(false)));
