// The explorer: image, dense signal, spectrum and category map of a channel.

const panel = (title, picture, ...caption) => html("figure", {}, html("h3", {}, title),
  picture.className === "framed" ? picture : html("div", { class: "picture" }, picture), html("figcaption", {}, ...caption));
const cycles = (x) => String(Number(x.toFixed(3))).replace("-", "−");
/** A picture of a spectrum between its frequencies; y runs down, as the picture does. */
const withTicks = (picture, { x, y }, unit) => {
  const ticks = (places, side) => html("div", { class: `ticks ${side}`, "aria-hidden": "true" }, places.map(([frequency, place], i) => {
    const tick = html("span", { class: i === 0 ? "first" : i === places.length - 1 ? "last" : null }, cycles(frequency));
    tick.style[side === "across" ? "left" : "top"] = `${(100 * place).toFixed(2)}%`;
    return tick;
  }));
  return html("div", { class: "framed" }, ticks(y, "down"), html("div", { class: "picture" }, picture), ticks(x, "across"),
    html("p", { class: "unit" }, unit));
};
const missing = (text) => html("div", { class: "missing" }, text);
const scaleBar = (kind, from, to) => html("div", { class: "scale" }, html("span", {}, from),
  html("i", { class: kind, "aria-hidden": "true" }), html("span", {}, to));
const short = (x) => (Math.abs(x) >= 1e4 || (x !== 0 && Math.abs(x) < 1e-3) ? x.toExponential(1) : String(Number(x.toPrecision(3)))).replaceAll("-", "−");

const sampleName = (sample) => {
  const parts = [`${sample.sample}`];
  if (sample.name) parts.push(sample.name);
  if (sample.correct !== null) parts.push(sample.correct ? "correct" : "incorrect");
  return parts.join(" · ");
};

const imagePanel = (sample) => {
  const facts = [];
  if (known(sample.label)) facts.push(`Class ${sample.label}`);
  if (known(sample.prediction)) facts.push(`predicted ${sample.prediction}`);
  const words = facts.length ? `${facts.join(", ")}.` : "";
  if (!sample.image) return panel("Image", missing("The image was not kept with the run, and its file was not found."), words);
  const { url, size, caption } = sample.image;
  return panel("Image", html("img", { src: url, width: size[0], height: size[1], "data-panel": "image",
    alt: `Image ${sample.sample}${sample.name ? `, ${sample.name}` : ""}` }),
  `${words} ${size[0]} × ${size[1]} pixels, ${caption}.`);
};

const showPanels = (sample, site, channel, picture) => {
  const where = `channel ${channel.channel} of ${site.name}`;
  const panels = [imagePanel(sample)];
  if (picture.dense) {
    const [low, high] = picture.range.map(short);
    const size = site.dense_shape.slice(-2);
    panels.push(panel("Dense signal", html("img", { src: picture.dense, class: "pixels", "data-panel": "dense",
      alt: `Dense signal of ${where}, ${size[0]} by ${size[1]} values from ${low} to ${high}` }),
    scaleBar("greys", low, high), `${times(size)} values, before decimation at rate ${times(site.rate)}.`));
    const { x, y, width, height } = site.box;
    const box = { x: 100 * x, y: 100 * y, width: 100 * width, height: 100 * height };
    panels.push(panel("Its spectrum", withTicks([html("img", { src: picture.spectrum, class: "pixels", "data-panel": "spectrum",
      alt: `Power spectrum of ${where} in decibels, zero frequency in the middle, with the new Nyquist band boxed` }),
    svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { ...box, class: "nyquist-halo" }), svg("rect", { ...box, class: "nyquist" }))], site.ticks, "cycles a sample"),
    scaleBar("decibels", "−60 dB", "0 dB"),
    "Power below the strongest frequency; zero frequency in the middle. Dashed: the new Nyquist band. What lies outside it folds into it."));
  }
  const fractions = Object.fromEntries(categories.map(({ key }, i) => [key, picture.fractions[i]]));
  panels.push(panel("Category map", withTicks(html("img", { src: picture.map, class: "pixels", "data-panel": "map",
    alt: `Category map of ${where}: ${shares(fractions)}` }), { x: site.ticks.map_x, y: site.ticks.map_y }, "cycles a kept sample"),
  html("ul", { class: "shares" }, ORDER.map((key) => html("li", {}, swatch(key), byKey[key].label,
    html("b", { "data-share": key }, percent(fractions[key]))))),
  `${times(picture.bins)} bins of the decimated spectrum, zero frequency in the middle.` +
    (data.accounting === "published" ? " These four partition the bins (exact accounting)." : "")));
  put("panels", panels);
  put("explorer-status", `${sampleName(sample)}; ${where}` +
    (site.windows > 1 ? `, first of ${site.windows} windows` : "") + `: ${shares(fractions)}.`);
};

const startExplorer = () => {
  put("explorer-notes", paragraphs(pictures.notes));
  if (!pictures.samples) {
    find("explorer-body").remove();
    return;
  }
  const [sampleBox, siteBox, channelBox] = ["sample", "site", "channel"].map(find);
  const options = (box, names) => box.replaceChildren(...names.map((name, i) => html("option", { value: i }, name)));
  options(sampleBox, pictures.samples.map(sampleName));
  options(siteBox, pictures.sites.map((site) => `${site.name} (${times(site.dense_shape)}, rate ${times(site.rate)})`));
  const channels = (place) => {
    options(channelBox, pictures.sites[siteBox.value].channels.map(({ channel, tangled }) =>
      `${channel} · tangled ${percent(tangled)} on average`));
    channelBox.value = Math.min(place, channelBox.options.length - 1);
  };
  /** Begin where the first image's map has most to show: the most even mixture of categories. */
  const mixture = (fractions) => fractions.reduce((sum, x) => sum - (x > 0 ? x * Math.log(x) : 0), 0);
  const fullest = pictures.pictures
    .flatMap((samples, site) => samples[0].map((picture, channel) => ({ site, channel, 
      mixture: mixture(picture.fractions) * Math.min(1, Math.max(...picture.bins) / 27) })))
    .reduce((best, each) => (each.mixture > best.mixture + 1e-9 ? each : best));
  const show = () => showPanels(pictures.samples[sampleBox.value], pictures.sites[siteBox.value],
    pictures.sites[siteBox.value].channels[channelBox.value],
    pictures.pictures[siteBox.value][sampleBox.value][channelBox.value]);
  const pick = (box, at) => {
    if (at >= 0) box.value = at;
    return at >= 0;
  };
  const chosen = () => {
    const site = pictures.sites[siteBox.value];
    link.set({ site: site.name, image: pictures.samples[sampleBox.value].sample, channel: site.channels[channelBox.value].channel }, "explorer");
    show();
  };
  /** What a link names, as far as it is on the page; else where there is most to see. */
  const restore = () => {
    const numbered = (key, list, name) => list.findIndex((each) => String(each[name]) === link.get(key));
    pick(sampleBox, numbered("image", pictures.samples, "sample")) || pick(sampleBox, 0);
    const there = pick(siteBox, pictures.sites.findIndex((site) => site.name === link.get("site")));
    if (!there) siteBox.value = fullest.site;
    channels(there ? 0 : fullest.channel);
    pick(channelBox, numbered("channel", pictures.sites[siteBox.value].channels, "channel"));
    show();
  };
  siteBox.addEventListener("change", () => { channels(channelBox.selectedIndex); chosen(); });
  sampleBox.addEventListener("change", chosen);
  channelBox.addEventListener("change", chosen);
  find("explorer-form").addEventListener("submit", (event) => event.preventDefault());
  link.follow("explorer", restore);
};
