// The link: what is looked at stands in the address, after the section's name: #sites?sort-sites=tangled,down

const link = (() => {
  let state = new URLSearchParams(location.hash.split("?")[1] || "");
  const readers = new Map();
  const place = () => location.hash.slice(1).split("?")[0];
  const write = (section) => {
    const text = String(state);
    const hash = section || text ? `#${section}${text ? `?${text}` : ""}` : "";
    try {
      history.replaceState(null, "", location.href.split("#")[0] + hash);
    } catch {
      // A page shown inside another one may have no address of its own; it works without.
    }
  };
  window.addEventListener("hashchange", () => {
    if (!location.hash.includes("?")) return write(place());
    state = new URLSearchParams(location.hash.split("?")[1]);
    readers.forEach((read) => read());
    go();
  });
  /** The browser finds no element of this name, as the address goes on after the section's. */
  const go = () => location.hash.includes("?") && find(place())?.scrollIntoView({ behavior: "instant" });
  return {
    get: (key) => state.get(key),
    set: (changes, section = place()) => {
      for (const [key, value] of Object.entries(changes)) {
        if (known(value)) state.set(key, value);
        else state.delete(key);
      }
      write(section);
    },
    /** Read now, and again where another link is followed. */
    follow: (name, read) => {
      readers.set(name, read);
      read();
    },
    go,
  };
})();
