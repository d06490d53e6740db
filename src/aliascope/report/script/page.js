// The page: what there is of the run is started, the rest taken away.

// -- the categories of the whole network and of each site

const startCategories = () => {
  if (!data.overall) {
    for (const id of ["tiles", "ring", "sites", "groups", "explorer"]) find(id).remove();
    document.querySelectorAll("[data-categories]").forEach((each) => each.remove());
    return;
  }
  put("tiles", ORDER.map((key) => html("div", {}, html("dt", {}, swatch(key), byKey[key].label),
    html("dd", { class: "value" }, percent(data.overall.mean[key])),
    html("dd", { class: "range" }, known(data.overall.low[key]) ? `95 % interval ${range(data.overall.low[key], data.overall.high[key])}` : "one image, no interval"))));
  put("ring-figure", drawRing());
  put("ring-sites", ringTable());
  find("sites-words").textContent = `${data.sites.length} ${data.sites.length === 1 ? "site" : "sites"}, in the order in which they run` +
    (data.under ? `,${data.under}` : "") +
    (known(data.overall.low.tangled) ? ". The thin line at the left end of a part is that part's own 95 % interval; the leftmost is what the others leave." : ".") +
    (data.floor ? ` The faint bar below is the floor: aliased + tangled of the low part alone, in which nothing aliases (${data.floor.n} ${data.floor.n === 1 ? "image" : "images"}).` : "");
  drawn("site-bars", (width) => drawBars(data.sites, width, data.floor && data.floor.sites));
  put("site-table", siteTable(data.sites, data.overall,
    `Fractions of bins with 95 % intervals over ${data.samples} ${data.samples === 1 ? "image" : "images"}.`, data.floor));
  find("groups-words").textContent = data.groups_words;
  if (data.groups) {
    drawn("groups-figure", drawGroups);
    put("groups-table", groupsTable());
  }
  startExplorer();
};

// -- the page

const startVerdict = () => {
  put("verdict", data.verdict.said.map(({ head, words }) => [html("dt", {}, head), html("dd", {}, words)]).flat());
  if (!data.verdict.missing.length) return find("missing").remove();
  put("missing", html("h3", {}, "Not measured"), html("ul", {}, data.verdict.missing.map(({ what, command }) =>
    html("li", {}, `${what}: `, html("code", {}, command)))));
};

find("title").textContent = data.title;
document.querySelectorAll("[data-legend]").forEach((list) => list.replaceChildren(
  ...ORDER.map((key) => html("li", {}, swatch(key), byKey[key].label))));
const energyTiles = (data.energy ? data.energy.rates : []).map((rate) => html("div", {},
  html("dt", {}, data.energy.rates.length > 1 ? `aliased energy, rate ${rate.rate}` : "aliased energy"),
  html("dd", { class: "value" }, percent(rate.value)),
  html("dd", { class: "range" }, `${known(rate.low) ? `95 % interval ${range(rate.low, rate.high)}` : "no interval"}; white noise ${percent(rate.white)}`)));
if (energyTiles.length) put("energy-tiles", energyTiles);
else find("energy-tiles").remove();
startVerdict();
if (data.summary.length) put("summary-words", paragraphs(data.summary));
else find("summary-details").remove();
startEnergy();
startAblation();
startConsistency();
startComparisons();
startCategories();
startThresholds();
if (data.attack.length) startAttack();
else find("attack").remove();

if (data.overall) find("accounting-words").textContent = data.accounting === "published"
  ? "Published accounting, as the authors' code did it: aliased bins are counted as no pass too, and each image's four counts at a site are then divided by their sum."
  : "Exact accounting: the four categories partition the bins.";
put("about-table", table("The run", null, data.about.map(([name, value]) => ({ cells: [name, value] })), { open: true, words: true }));
if (data.unsupported.length) {
  put("unsupported", html("h3", {}, "Not measured"), table("Places that resample but cannot be split into a dense operation and decimation.",
    ["Place", "Operation", "Reason"],
    data.unsupported.map(({ name, op, reason }) => ({ cells: [name, op, reason] })), { open: true, words: true }));
}
if (data.unreadable.length) {
  put("unreadable", html("h3", {}, "Images left out"), table("Images that could not be read.", ["Image", "Reason"],
    data.unreadable.map(([number, name, reason]) => ({ cells: [`${number} · ${name}`, reason] })), { open: true, words: true }));
}
put("contents", [...document.querySelectorAll("main section")].map((section) =>
  html("li", {}, html("a", { href: `#${section.id}` }, section.querySelector("h2").textContent))));

/** A print shows what is folded away, at the width of a sheet. */
const folded = [];
window.addEventListener("beforeprint", () => {
  folded.push(...document.querySelectorAll("details:not([open])"));
  folded.forEach((each) => { each.open = true; });
  printing = true;
  drawings.forEach((again) => again(true, SHEET));
});
window.addEventListener("afterprint", () => {
  printing = false;
  folded.splice(0).forEach((each) => { each.open = false; });
  drawings.forEach((again) => again(true));
});
link.go();
