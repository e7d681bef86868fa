// Made of static/src by tools/build_widget.py; change those files, then `make widget`.

// Types: what the kernel sends, for whoever reads or checks the other files.

/**
 * @typedef {{id: string, label: string, nbytes: number, shape: string, dtype: string, hits: number,
 *   used: number, stored: number, seconds: number, pinned: boolean, key: string, kind: string,
 *   tokens: number, images: number}} Entry
 * Ages (`used`, `stored`) are in seconds when the snapshot was taken.
 *
 * @typedef {{id: string, label: string, nbytes: number}} Named
 *
 * @typedef {{size: number, max_size: number | null, nbytes: number, max_bytes: number | null,
 *   fullest: "entries" | "bytes", hits: number, store_hits: number, misses: number, evictions: number,
 *   seconds_saved: number, sort: "recency" | "bytes" | "hits", start: number, matched: number,
 *   filtered: boolean, following: boolean, entries: Entry[], message: number,
 *   news: {counts: Record<string, number>, hit: Named[], evict: Named[]},
 *   history: [number, number, number, number][], history_seconds: number, advice: string}} View
 *
 * @typedef {{get(name: string): any, on(event: string, f: (...args: any[]) => void): void,
 *   off(event: string, f: (...args: any[]) => void): void, send(content: object): void}} Model
 */

// Elements: made in one call, changed only where they differ. Text reaches the page as text only
// (textContent, setAttribute), never as markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes, listeners (`onclick`) and children.
 * @param {string} tag @param {Record<string, any>} [props] @param {...(Node | string)} children
 * @returns {any}
 */
function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/** @param {string} tag @param {Record<string, any>} props @param {...(Node | string)} children */
function svg(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

const FRAME = "M4.5 4.5h15a2 2 0 0 1 2 2v11a2 2 0 0 1-2 2h-15a2 2 0 0 1-2-2v-11a2 2 0 0 1 2-2z";

/** What stands for an entry that has no picture, by its kind: one path, as there is one in every card. @type {Record<string, string>} */
const GLYPHS = {
  image: `${FRAME}M6.3 9.5a1.7 1.7 0 1 0 3.4 0a1.7 1.7 0 1 0-3.4 0M3 17.5l5.5-4.5 3.5 2.7 4-4.2 5.2 5`,
  video: `${FRAME}M10 9v6l5-3z`,
  tile: "M5 3h14a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2zM12 3v18M3 12h18",
  request: "M4.5 7.5h11a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2h-11a2 2 0 0 1-2-2v-8a2 2 0 0 1 2-2zM6 4.5h13.5a2 2 0 0 1 2 2V16",
  prefix: "M3 6h18M3 10.5h18M3 15h12M19 13v6m-3-3h6",
};

/** @param {string} kind */
function glyph(kind) {
  const line = { fill: "none", stroke: "currentColor", "stroke-width": 1.6, "stroke-linejoin": "round", "stroke-linecap": kind === "prefix" ? "round" : "butt" };
  return svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { ...line, d: GLYPHS[kind] ?? GLYPHS.image }));
}

function pushpin() {
  const d = "M9.5 1.5l5 5-2.2.6-2.6 2.6-.4 3.6-3.2-3.2L2 14.2l-.2-.2 4.1-4.1-3.2-3.2 3.6-.4 2.6-2.6z";
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d, fill: "currentColor" }));
}

/** Show a picture, or the glyph of a kind. @param {HTMLElement} place @param {string | undefined} url @param {string} kind */
function setPicture(place, url, kind) {
  const wanted = url || kind;
  if (place.dataset.shows === wanted) return;
  place.dataset.shows = wanted;
  place.replaceChildren(url ? h("img", { src: url, alt: "", draggable: "false" }) : glyph(kind));
}

/** Only what the kernel makes: an address from elsewhere would be fetched. @param {unknown} url */
function isPicture(url) {
  return typeof url === "string" && /^data:image\/(png|jpeg);base64,/.test(url);
}

/** Of a text that is there the letters change, which costs less than another text in its place.
 * @param {Element} element @param {string} text */
function setText(element, text) {
  const only = element.firstChild;
  if (only?.nodeType === Node.TEXT_NODE && !only.nextSibling && text) {
    if (only.nodeValue !== text) only.nodeValue = text;
  } else if (element.textContent !== text) element.textContent = text;
}

/** @param {Element} element @param {string} name @param {string} value */
function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Make a list's children as many as its items, and fill each. @template T
 * @param {Element} parent @param {T[]} items @param {() => Element} make @param {(child: any, item: T, i: number) => void} fill */
function setChildren(parent, items, make, fill) {
  items.forEach((item, i) => fill(parent.children[i] ?? parent.appendChild(make()), item, i));
  while (parent.children.length > items.length) parent.lastElementChild?.remove();
}

// Words: how sizes, times and names are written. No element is touched here.

/** @param {number} size @param {number} [digits] */
function formatBytes(size, digits = 3) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (size >= (unit ? 1000 : 1024) && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const places = Math.max(digits, Math.ceil(Math.log10(size + 1)));
  return `${unit ? Number(size.toPrecision(places)) : size} ${units[unit]}`;
}

/** @param {number} seconds */
function formatSeconds(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** An age, in words short enough for a card. @param {number} seconds */
function formatAge(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`;
}

/** Made once: to look a language up for each number took most of a frame. */
const COUNT = new Intl.NumberFormat("en");

/** @param {number} count */
function formatCount(count) {
  return COUNT.format(count);
}

/** @param {number} count @param {string} one @param {string} many */
function plural(count, one, many) {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** The last part of a path or URL; the whole where there is none. @param {string} label */
function shortName(label) {
  return label.replace(/[\\/]+$/, "").split(/[\\/]/).pop() || label;
}

/**
 * A name in two parts, of which the first may be cut: the stem counts, so its end stays; the extension goes.
 * @param {string} label @returns {[string, string]}
 */
function stemParts(label) {
  const name = shortName(label);
  const stem = name.replace(/(?<=.)\.[A-Za-z][A-Za-z0-9]{1,4}$/, "");
  const letters = [...stem];
  const tail = Math.min(6, Math.floor(letters.length / 2));
  return [letters.slice(0, letters.length - tail).join(""), letters.slice(letters.length - tail).join("")];
}

/** How large an entry is, in the units of its kind. @param {Entry} entry */
function contents(entry) {
  return [
    entry.tokens ? plural(entry.tokens, "token", "tokens") : "",
    entry.images ? plural(entry.images, "image", "images") : "",
  ].filter(Boolean);
}

/** Everything about an entry, part by part. @param {Entry} entry @param {number} late */
function facts(entry, late) {
  return [
    entry.kind === "image" ? "" : entry.kind,
    formatBytes(entry.nbytes),
    ...contents(entry),
    `${entry.shape} ${entry.dtype}`.trim(),
    plural(entry.hits, "hit", "hits"),
    `used ${formatAge(entry.used + late)}`,
    `stored ${formatAge(entry.stored + late)}`,
    entry.seconds ? `took ${formatSeconds(entry.seconds)}` : "",
    entry.pinned ? "pinned" : "",
  ].filter(Boolean);
}

/** An entry in one sentence, for who hears it. @param {Entry} entry @param {number} late */
function describe(entry, late) {
  return [entry.label, ...facts(entry, late).filter((fact) => !/^(stored|took)/.test(fact))].join(", ");
}

// Bars: what is held, each entry as wide as its bytes and free space as wide as what is free; and how
// near either bound is.

/** Below this a part of the bar is a line: its edges would be all of it. */
const EDGED_PX = 5;

class Bars {
  /** @param {(id: string) => void} choose */
  constructor(choose) {
    this.parts = h("div", { class: "vcache-parts" });
    this.free = h("span", { class: "vcache-free" });
    this.strip = h("div", { class: "vcache-strip", "aria-hidden": "true" }, this.parts, this.free);
    this.strip.addEventListener("click", (event) => {
      const id = /** @type {HTMLElement} */ (event.target).dataset?.id;
      if (id) choose(id);
    });
    this.fill = h("div", { class: "vcache-fill" });
    this.track = h("div", { class: "vcache-track", "aria-hidden": "true" }, this.fill);
    this.bytes = h("span");
    this.entries = h("span");
    this.words = h("div", { class: "vcache-bounds" }, this.bytes, this.entries);
    this.root = h("div", { class: "vcache-budget" }, this.strip, this.track, this.words);
  }

  /** @param {View} view @param {Set<string>} selected @param {number} width */
  draw(view, selected, width) {
    const whole = Math.max(view.max_bytes ?? 0, view.nbytes, 1);
    const shown = view.entries.reduce((sum, entry) => sum + entry.nbytes, 0);
    const parts = view.entries.map((entry) => ({ id: entry.id, bytes: entry.nbytes, title: `${shortName(entry.label)}, ${formatBytes(entry.nbytes)}`, pinned: entry.pinned }));
    const others = view.size - view.entries.length;
    if (others > 0) {
      const bytes = Math.max(0, view.nbytes - shown);
      const rest = { id: "", bytes, title: `${plural(others, "other entry", "other entries")}, ${formatBytes(bytes)}`, pinned: false };
      if (view.start > 0 && !view.filtered) parts.unshift(rest);
      else parts.push(rest);
    }
    let at = 0;
    setChildren(this.parts, parts, () => h("i"), (part, { id, bytes, title, pinned }) => {
      const share = bytes / whole;
      part.style.marginLeft = `${100 * at}%`;
      part.style.width = `${100 * share}%`;
      at += share;
      const kind = [id ? "" : "vcache-others", pinned ? "vcache-held-fast" : "", share * width > EDGED_PX ? "vcache-edged" : "", selected.has(id) ? "vcache-chosen" : ""];
      setAttribute(part, "class", kind.filter(Boolean).join(" "));
      setAttribute(part, "data-id", id);
      setAttribute(part, "title", title);
    });
    const free = Math.max(0, (view.max_bytes ?? 0) - view.nbytes);
    this.free.style.left = `${100 * at}%`;
    setText(this.free, free ? `${formatBytes(free)} free` : "");
    this.free.style.visibility = width * (1 - at) < 80 ? "hidden" : "";
    this.drawBounds(view);
  }

  /** The bound that is nearest comes first. @param {View} view */
  drawBounds(view) {
    const share = (used, bound) => (bound ? ` (${Math.round((100 * used) / bound)}%)` : "");
    this.track.hidden = view.max_size == null;
    const full = view.max_size ? view.size / view.max_size : 0;
    this.fill.style.width = `${Math.min(100, 100 * full)}%`;
    this.fill.classList.toggle("vcache-full", full >= 1);
    const bytes = view.max_bytes == null ? `${formatBytes(view.nbytes)} held, no bound on bytes` : `${formatBytes(view.nbytes)} of ${formatBytes(view.max_bytes)}`;
    const entries = view.max_size == null ? `${plural(view.size, "entry", "entries")}, no bound on their number` : `${formatCount(view.size)} of ${plural(view.max_size, "entry", "entries")}`;
    setText(this.bytes, bytes + share(view.nbytes, view.max_bytes));
    setText(this.entries, entries + share(view.size, view.max_size));
    const first = view.fullest === "entries" ? this.entries : this.bytes;
    for (const words of [this.bytes, this.entries]) words.classList.toggle("vcache-nearest", words === first);
    if (this.words.firstElementChild !== first) this.words.prepend(first);
  }
}

// Detail: the entry that was chosen last, with what can be done to it; opened, a large picture and all facts.

class Detail {
  /** @param {{ask: (what: object) => void, chosen: () => string[]}} page */
  constructor(page) {
    this.page = page;
    this.opened = false;
    /** Large pictures, by entry: the latest one only. @type {{id: string, url: string, said: string}} */
    this.large = { id: "", url: "", said: "" };
    this.picture = h("button", { type: "button", class: "vcache-picture", "aria-expanded": "false", onclick: () => this.toggle() });
    this.name = h("div", { class: "vcache-name" });
    this.about = h("div", { class: "vcache-small" });
    this.list = h("ul", { class: "vcache-all" });
    this.pin = h("button", { type: "button", onclick: () => this.togglePin() }, "Pin");
    this.evict = h("button", { type: "button", class: "vcache-danger", title: "Remove it from memory and from the store", onclick: () => this.evictChosen() }, "Evict");
    this.root = h(
      "div",
      { class: "vcache-detail" },
      this.picture,
      h("div", { class: "vcache-about" }, this.name, this.about, this.list),
      h("div", { class: "vcache-actions" }, this.pin, this.evict),
    );
    /** @type {Entry | undefined} */
    this.entry = undefined;
  }

  /** @param {boolean} [open] */
  toggle(open = !this.opened) {
    this.opened = open && this.entry !== undefined;
    if (this.opened && this.entry && this.large.id !== this.entry.id) this.page.ask({ do: "picture", ids: [this.entry.id] });
    this.page.redraw();
  }

  togglePin() {
    if (this.entry) this.page.ask({ do: this.entry.pinned ? "unpin" : "pin", ids: this.page.chosen() });
  }

  evictChosen() {
    const ids = this.page.chosen();
    if (ids.length) this.page.ask({ do: "evict", ids });
  }

  /** A large picture has come. @param {any} content */
  receive(content) {
    if (typeof content?.picture !== "string") return;
    this.large = { id: content.picture, url: isPicture(content.url) ? content.url : "", said: String(content.said ?? "") };
    this.page.redraw();
  }

  /** @param {View} view @param {Entry | undefined} entry @param {Map<string, string>} album @param {number} late */
  draw(view, entry, album, late) {
    if (entry && this.opened && entry.id !== this.entry?.id && this.large.id !== entry.id) this.page.ask({ do: "picture", ids: [entry.id] });
    this.entry = entry;
    if (!entry) this.opened = false;
    const several = this.page.chosen().length;
    this.root.classList.toggle("vcache-open", this.opened);
    this.picture.hidden = !entry;
    this.pin.disabled = this.evict.disabled = !entry;
    this.list.hidden = !this.opened;
    if (!entry) {
      setText(this.name, view.size ? "Select an entry" : "Nothing cached yet");
      setText(this.about, view.size ? "Arrow keys move, Enter opens, P pins, Delete evicts" : "Entries appear here as the model encodes images");
      return;
    }
    const large = this.opened && this.large.id === entry.id;
    setPicture(this.picture, (large && this.large.url) || album.get(entry.id), entry.kind);
    this.picture.setAttribute("aria-expanded", String(this.opened));
    this.picture.setAttribute("aria-label", this.opened ? "Close the large picture" : "Open a large picture");
    setText(this.name, several > 1 ? `${plural(several, "entry", "entries")}, the last: ${entry.label}` : entry.label);
    this.name.title = entry.label;
    const said = large ? this.large.said : "";
    setText(this.about, this.opened ? said : [...facts(entry, late), entry.key].join(" · "));
    setChildren(this.list, this.opened ? [...facts(entry, late), `key ${entry.key}`] : [], () => h("li"), setText);
    setText(this.pin, entry.pinned ? "Unpin" : "Pin");
  }
}

// Keyboard: what the keys do while a card has focus.

/** @param {any} page @param {KeyboardEvent} event */
function press(page, event) {
  if (event.key === "Escape" && page.detail.opened) page.detail.toggle(false);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (!page.shelf.list.contains(/** @type {Node} */ (event.target))) return;
  // The view that was drawn: a newer one may have come, and a place is counted in the cards that are seen.
  const { start, matched } = page.shelf.view;
  const at = start + [...page.shelf.tiles.keys()].indexOf(page.current);
  const columns = page.shelf.columns;
  const move = (to) => () => moveTo(page, Math.max(0, Math.min(matched - 1, to)));
  const actions = {
    ArrowLeft: move(at - 1),
    ArrowRight: move(at + 1),
    ArrowUp: move(at - columns < 0 ? at : at - columns),
    ArrowDown: move(at + columns >= matched ? at : at + columns),
    PageUp: move(at - 3 * columns),
    PageDown: move(at + 3 * columns),
    Home: move(0),
    End: move(matched - 1),
    Enter: () => page.detail.toggle(),
    " ": () => page.choose(page.current, { add: true }),
    Delete: () => page.detail.evictChosen(),
    Backspace: () => page.detail.evictChosen(),
    p: () => page.detail.togglePin(),
    P: () => page.detail.togglePin(),
  };
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
}

/** Move to a place; the kernel may have to send its entry first. @param {any} page @param {number} place */
function moveTo(page, place) {
  const { start, entries } = page.shelf.view;
  const there = entries[place - start];
  if (there) page.shelf.focus(there.id);
  else {
    page.awaited = place;
    page.shelf.askFor(Math.max(0, place - Math.floor(entries.length / 2)));
  }
}

// Shelf: a grid of cards of one size, of which only those near what is scrolled to exist.

const CARD_PX = 116;
const ROW_PX = 128; // a card and the gap below it; the style sheet has the same
const GAP_PX = 6;
const GHOST_MS = 1600;

class Shelf {
  /** @param {{ask: (what: object) => void, choose: (id: string, how: {add?: boolean, open?: boolean}) => void, calm: () => boolean}} page */
  constructor(page) {
    this.page = page;
    /** @type {Map<string, HTMLElement>} */
    this.tiles = new Map();
    /** Cards of entries that are gone, to be filled again. @type {HTMLElement[]} */
    this.spare = [];
    this.columns = 1;
    /** Empty places in the first row that exists, and rows above it that don't. */
    this.offset = this.above = 0;
    this.pinnedToEnd = true;
    this.list = h("div", { class: "vcache-tiles", role: "listbox", tabindex: "-1", "aria-orientation": "horizontal", "aria-multiselectable": "true" });
    this.scroller = h("div", { class: "vcache-shelf" }, this.list);
    this.empty = h("div", { class: "vcache-empty" });
    this.root = h("div", { class: "vcache-case" }, this.scroller, this.empty);
    const idOf = (event) => /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest(".vcache-tile"))?.dataset.id;
    this.list.addEventListener("click", (event) => {
      const id = idOf(event);
      if (id) page.choose(id, { add: event.ctrlKey || event.metaKey, open: true });
    });
    this.list.addEventListener("focusin", (event) => {
      const id = idOf(event);
      if (id) page.choose(id, { focus: true });
    });
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
  }

  /** @param {View} view @param {Map<string, string>} album @param {Set<string>} selected @param {string} current
   * @param {number} late @param {boolean} moving @param {number} width of the list, before anything was written */
  draw(view, album, selected, current, late, moving, width) {
    this.view = view;
    const before = moving ? this.places(width) : new Map();
    this.fill(view, album, selected, late, moving);
    this.lay(view, width);
    const home = this.tiles.has(current) ? current : (view.sort === "recency" ? view.entries.at(-1) : view.entries[0])?.id;
    for (const [id, tile] of this.tiles) setAttribute(tile, "tabindex", id === home ? "0" : "-1");
    this.list.setAttribute("aria-label", `Entries, ${orderOf(view)}`);
    this.scroller.hidden = !view.entries.length;
    this.empty.hidden = view.entries.length > 0;
    setText(this.empty, view.size ? "No entry is like that" : "Nothing cached yet");
    for (const item of moving ? view.news.evict : []) {
      const place = before.get(item.id);
      if (!place || this.tiles.has(item.id)) continue;
      this.haunt(place, item);
      before.delete(item.id);
    }
    if (moving && !this.page.calm()) this.settle(before, this.places(width));
    if (this.pinnedToEnd && view.following && view.sort === "recency" && !this.list.contains(document.activeElement)) {
      this.scroller.scrollTop = this.scroller.scrollHeight;
    }
  }

  /** Give every entry its card. A card whose entry is gone takes a new one where it stands: to take a card out of
   * the page and put it back costs more than all that is written on it. @param {View} view
   * @param {Map<string, string>} album @param {Set<string>} selected @param {number} late @param {boolean} moving */
  fill(view, album, selected, late, moving) {
    const rank = new Map(view.entries.map((entry, i) => [entry.id, i]));
    const old = new Map([...this.tiles.values()].map((tile, i) => [tile, i]));
    const free = new Set(this.spare);
    for (const [id, tile] of this.tiles) if (!rank.has(id)) free.add(tile);
    // What stands here and goes further than the card that is wanted has to come is left for later.
    const leave = (here, tile, i) => free.has(here) || rank.get(here.dataset.id) - i > old.get(tile) - old.get(here);
    const most = Math.max(1, ...view.entries.map((entry) => entry.nbytes));
    const ordered = new Map();
    let here = /** @type {HTMLElement | null} */ (this.list.firstElementChild);
    view.entries.forEach((entry, i) => {
      let tile = this.tiles.get(entry.id);
      if (tile) {
        while (here && here !== tile && old.get(tile) > old.get(here) && leave(here, tile, i)) here = here.nextElementSibling;
      } else {
        tile = here && free.has(here) ? here : (free.values().next().value ?? this.makeTile());
        free.delete(tile);
        tile.dataset.id = entry.id;
        tile.dataset.hits = ""; // what it counted was another entry's
      }
      if (tile === here) here = here.nextElementSibling;
      else this.list.insertBefore(tile, here);
      this.fillTile(tile, entry, entry.nbytes / most, album.get(entry.id), selected.has(entry.id), late, moving);
      ordered.set(entry.id, tile);
    });
    for (const tile of free) tile.remove();
    this.spare = [...free];
    this.tiles = ordered;
  }

  get width() {
    return this.scroller.clientWidth || this.scroller.parentElement?.clientWidth || 0;
  }

  /** Leave room for the rows that don't exist, so that the scroll bar is true. @param {View} view @param {number} width */
  lay(view, width) {
    this.columns = Math.max(1, Math.floor((width + GAP_PX) / (CARD_PX + GAP_PX)));
    this.list.style.gridTemplateColumns = `repeat(${this.columns}, minmax(0, 1fr))`;
    this.offset = view.start % this.columns;
    this.above = Math.floor(view.start / this.columns);
    const here = Math.ceil((this.offset + view.entries.length) / this.columns);
    const below = Math.max(0, Math.ceil(view.matched / this.columns) - this.above - here);
    this.list.style.paddingTop = `${this.above * ROW_PX}px`;
    this.list.style.paddingBottom = `${below * ROW_PX}px`;
    let first = true;
    for (const tile of this.tiles.values()) {
      tile.style.gridColumnStart = first && this.offset ? String(this.offset + 1) : "";
      first = false;
    }
  }

  /** Where every card stands; reckoned, as to measure it would lay everything out. @param {number} width */
  places(width) {
    const step = (width + GAP_PX) / this.columns;
    /** @type {Map<string, {x: number, y: number, width: number}>} */
    const places = new Map();
    let at = this.offset;
    for (const id of this.tiles.keys()) {
      const row = this.above + Math.floor(at / this.columns);
      places.set(id, { x: (at % this.columns) * step, y: row * ROW_PX, width: step - GAP_PX });
      at += 1;
    }
    return places;
  }

  /** Ask for the cards around what is scrolled to, once they are not there. */
  scrolled() {
    const view = this.view;
    if (!view) return;
    const top = this.scroller.scrollTop;
    this.pinnedToEnd = top + this.scroller.clientHeight >= this.scroller.scrollHeight - ROW_PX / 2;
    const first = Math.floor(top / ROW_PX) * this.columns;
    const last = Math.min(view.matched, Math.ceil((top + this.scroller.clientHeight) / ROW_PX) * this.columns);
    if (first >= view.start && last <= view.start + view.entries.length) return;
    const spare = Math.max(0, view.entries.length - (last - first));
    this.askFor(Math.max(0, Math.floor((first - spare / 2) / this.columns) * this.columns));
  }

  /** @param {number} start */
  askFor(start) {
    const view = this.view;
    if (!view) return;
    const end = start + view.entries.length >= view.matched;
    this.page.ask({ do: "window", start: end && view.sort === "recency" ? null : start });
  }

  /** Bring a card into view and give it focus. @param {string} id */
  focus(id) {
    const tile = this.tiles.get(id);
    tile?.focus({ preventScroll: true });
    tile?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Keep focus on a card, or on the list while that is scrolled away; nothing moves. @param {string} id */
  keepFocus(id) {
    const place = this.tiles.get(id) ?? this.list;
    if (document.activeElement !== place) place.focus({ preventScroll: true });
  }

  /** @returns {HTMLElement} */
  makeTile() {
    return h(
      "div",
      { class: "vcache-tile", role: "option", tabindex: "-1" },
      h("div", { class: "vcache-picture" }),
      h(
        "div",
        { class: "vcache-words" },
        h("span", { class: "vcache-name" }, h("span"), h("span")),
        h("span", { class: "vcache-small" }),
        h("span", { class: "vcache-small" }),
      ),
      h("span", { class: "vcache-badge", hidden: true }, pushpin(), h("span", {}, "pinned")),
      h("i", { class: "vcache-weight" }),
    );
  }

  /** @param {HTMLElement} tile @param {Entry} entry @param {number} share @param {string | undefined} url
   * @param {boolean} selected @param {number} late @param {boolean} moving */
  fillTile(tile, entry, share, url, selected, late, moving) {
    const [picture, words, badge, weight] = /** @type {HTMLElement[]} */ ([...tile.children]);
    const [name, size, use] = /** @type {HTMLElement[]} */ ([...words.children]);
    const [head, tail] = stemParts(entry.label);
    setAttribute(tile, "data-kind", entry.kind);
    setPicture(picture, url, entry.kind);
    setText(name.children[0], head);
    setText(name.children[1], tail);
    setText(size, [entry.kind === "image" ? "" : entry.kind, formatBytes(entry.nbytes, 2)].filter(Boolean).join(" · "));
    const amount = entry.kind === "prefix" ? contents(entry) : [];
    const age = formatAge(entry.used + late).replace(/ (?=s|m|h|d)/, ""); // cards are narrow
    setText(use, amount.length ? amount.join(", ") : `${plural(entry.hits, "hit", "hits")}, ${age}`);
    if (badge.hidden === entry.pinned) badge.hidden = !entry.pinned;
    weight.style.width = `${100 * share}%`;
    setAttribute(tile, "title", entry.label);
    setAttribute(tile, "aria-label", describe(entry, late));
    setAttribute(tile, "aria-selected", String(selected));
    const before = tile.dataset.hits;
    if (moving && before !== "" && entry.hits > Number(before)) this.pulse(tile);
    tile.dataset.hits = String(entry.hits);
  }

  /** Let cards glide from where they stood; those that came from far away are just there.
   * @param {Map<string, {x: number, y: number}>} before @param {Map<string, {x: number, y: number}>} after */
  settle(before, after) {
    for (const [id, to] of after) {
      const from = before.get(id);
      if (!from) continue;
      const [x, y] = [from.x - to.x, from.y - to.y];
      if (Math.abs(x) + Math.abs(y) <= 1 || Math.abs(y) >= 4 * ROW_PX) continue;
      this.tiles.get(id)?.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: 260, easing: "ease-out" });
    }
  }

  /** @param {HTMLElement} tile */
  pulse(tile) {
    tile.classList.add("vcache-pulsing");
    setTimeout(() => tile.classList.remove("vcache-pulsing"), 700);
    if (this.page.calm()) return;
    tile.animate([{ boxShadow: "inset 0 0 0 4px var(--vcache-accent)" }, { boxShadow: "inset 0 0 0 0 transparent" }], { duration: 700, easing: "ease-out" });
  }

  /** Leave a ghost where an entry was evicted. @param {{x: number, y: number, width: number}} place @param {Named} item */
  haunt({ x, y, width }, item) {
    const ghost = h("div", { class: "vcache-ghost", "aria-hidden": "true", title: item.label }, h("span", {}, "evicted"), h("span", {}, shortName(item.label)));
    Object.assign(ghost.style, { left: `${x}px`, top: `${y}px`, width: `${width}px` });
    this.scroller.append(ghost);
    if (!this.page.calm()) ghost.animate([{ opacity: 1 }, { opacity: 0 }], { duration: GHOST_MS, easing: "ease-in" });
    setTimeout(() => ghost.remove(), GHOST_MS);
  }
}

/** In which order the entries are. @param {View} view */
function orderOf(view) {
  return { recency: "least to most recently used", bytes: "by bytes, most first", hits: "by hits, most first" }[view.sort];
}

// Spark: hit rate and bytes over the last minutes.

/** It shows as much as there is, between these. */
const MIN_SPAN_S = 20;
const MAX_SPAN_S = 300;

class Spark {
  constructor() {
    this.area = svg("path", { class: "vcache-area" });
    this.bytes = svg("path", { class: "vcache-bytes" });
    this.rate = svg("path", { class: "vcache-rate" });
    this.picture = svg("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img" }, this.area, this.bytes, this.rate);
    this.span = h("span");
    const caption = h("figcaption", {}, h("span", {}, "hit rate"), h("span", {}, "bytes"), this.span);
    this.root = h("figure", { class: "vcache-spark" }, this.picture, caption);
  }

  /** @param {View} view @param {number} late @param {string} rate */
  draw(view, late, rate) {
    const length = view.history_seconds;
    const rows = view.history.map(([ago, ...rest]) => [ago * length + late, ...rest]);
    const span = Math.min(MAX_SPAN_S, Math.max(MIN_SPAN_S, ...rows.map(([ago]) => ago)));
    const shown = this.points(rows, span).filter((point) => point.x >= 0);
    const top = Math.max(view.max_bytes ?? 0, ...shown.map((point) => point.bytes), 1);
    const steps = shown.map((p, i) => {
      const y = (29 - (28 * p.bytes) / top).toFixed(2);
      return i ? `H${p.x.toFixed(2)}V${y}` : `M${p.x.toFixed(2)} ${y}`;
    });
    const rise = shown.length ? `${steps.join("")}H100` : "";
    this.bytes.setAttribute("d", rise);
    this.area.setAttribute("d", rise && `${rise}V30H${shown[0].x.toFixed(2)}Z`);
    const line = shown.filter((p) => p.rate !== null).map((p, i) => `${i ? "L" : "M"}${p.x.toFixed(2)} ${(29 - 28 * Number(p.rate)).toFixed(2)}`);
    if (line.length === 1) line.push("h0.01"); // a dot, by its round caps
    this.rate.setAttribute("d", line.join(""));
    const time = span < 120 ? `${Math.round(span)} s` : `${Math.round(span / 60)} min`;
    setText(this.span, `last ${time}`);
    this.picture.setAttribute("aria-label", `Hit rate and bytes over the last ${time}; now ${rate} hits, ${formatBytes(view.nbytes)} held`);
  }

  /** The hit rate of a moment is that of the tenth of the picture before it. @param {number[][]} rows @param {number} span */
  points(rows, span) {
    return rows.map(([ago, , , bytes], i) => {
      const recent = rows.slice(0, i + 1).filter(([when]) => when < ago + Math.max(5, span / 10));
      const hits = recent.reduce((sum, row) => sum + row[1], 0);
      const lookups = recent.reduce((sum, row) => sum + row[1] + row[2], 0);
      return { x: (100 * (span - ago)) / span, rate: lookups ? hits / lookups : null, bytes };
    });
  }
}

// Speech: hits and evictions said aloud, seldom enough to be listened to.

const SPEAK_MS = 2000;

class Speech {
  constructor() {
    this.root = h("div", { class: "vcache-unseen", "aria-live": "polite", role: "status" });
    this.spokenAt = 0;
    this.forget();
  }

  forget() {
    this.unspoken = { hit: 0, evict: 0, hits: [], evicts: [] };
  }

  /** @param {View["news"]} news */
  tell(news) {
    const said = this.unspoken;
    said.hit += news.counts.hit ?? 0;
    said.evict += news.counts.evict ?? 0;
    said.hits = [...said.hits, ...news.hit].slice(-3);
    said.evicts = [...said.evicts, ...news.evict].slice(-3);
    if (!said.hit && !said.evict) return;
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => this.speak(), Math.max(0, this.spokenAt + SPEAK_MS - Date.now()));
  }

  speak() {
    const { hit, evict, hits, evicts } = this.unspoken;
    const names = (items) => [...new Set(items.map((item) => shortName(item.label)))].join(", ");
    const parts = [];
    if (hit) parts.push(`${plural(hit, "hit", "hits")}: ${names(hits)}`);
    if (evict) parts.push(`${plural(evict, "entry", "entries")} evicted: ${names(evicts)}`);
    this.forget();
    this.spokenAt = Date.now();
    setText(this.root, parts.join(". "));
  }

  close() {
    clearTimeout(this.speaking);
  }
}

// Table: the same entries as rows, for screen readers always, for everyone when asked for.

const COLUMNS = ["Image", "Bytes", "Shape", "Type", "Hits", "Used", "Cost", "Pinned"];
const NUMBERS = /Bytes|Hits|Cost/;

/** Safari has no idle callbacks. */
const later = window.requestIdleCallback ? (act) => requestIdleCallback(act, { timeout: 500 }) : (act) => setTimeout(act, 100);
const never = window.cancelIdleCallback ?? clearTimeout;

class Table {
  constructor() {
    this.due = 0;
    this.rows = h("tbody");
    this.caption = h("caption");
    const head = COLUMNS.map((text) => h("th", { scope: "col", class: NUMBERS.test(text) ? "vcache-number" : null }, text));
    this.root = h("div", { class: "vcache-unseen" }, h("table", {}, this.caption, h("thead", {}, h("tr", {}, ...head)), this.rows));
  }

  /** @returns {boolean} whether it is seen now */
  toggle() {
    return !this.root.classList.toggle("vcache-unseen");
  }

  makeRow() {
    return h("tr", {}, ...COLUMNS.map((text, i) => h(i ? "td" : "th", { scope: i ? null : "row", class: NUMBERS.test(text) ? "vcache-number" : null })));
  }

  /** Draw it in this frame where it is seen; for who hears it, when there is nothing else to do.
   * @param {View} view @param {number} late @param {string} order */
  draw(view, late, order) {
    this.close();
    if (!this.rows.children.length || !this.root.classList.contains("vcache-unseen")) this.fill(view, late, order);
    else this.due = later(() => this.fill(view, late, order));
  }

  close() {
    never(this.due);
    this.due = 0;
  }

  /** @param {View} view @param {number} late @param {string} order */
  fill(view, late, order) {
    const last = view.start + view.entries.length;
    const range = view.matched > view.entries.length ? ` ${formatCount(view.start + 1)} to ${formatCount(last)} of ${formatCount(view.matched)}` : "";
    setText(this.caption, `Entries${range}, ${order}`);
    const most = Math.max(1, ...view.entries.map((entry) => entry.nbytes));
    setChildren(this.rows, view.entries, () => this.makeRow(), (row, entry) => {
      const cells = [
        entry.label,
        formatBytes(entry.nbytes),
        entry.shape,
        entry.dtype,
        formatCount(entry.hits),
        formatAge(entry.used + late),
        formatSeconds(entry.seconds),
        entry.pinned ? "pinned" : "no",
      ];
      cells.forEach((text, column) => setText(row.children[column], text));
      row.children[1].style.setProperty("--share", `${(100 * entry.nbytes) / most}%`);
    });
  }
}

// Tools: search, filters, order, the table, and emptying the cache after a second look.

const SORTS = /** @type {const} */ ({ recency: "Recency", bytes: "Bytes", hits: "Hits" });
const CONFIRM_MS = 4000;
const TYPING_MS = 150;

class Tools {
  /** @param {{ask: (what: object) => void, toggleTable: () => boolean}} page */
  constructor(page) {
    this.page = page;
    const later = () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.filter(), TYPING_MS);
    };
    this.text = h("input", { type: "search", placeholder: "Search names", "aria-label": "Search names", oninput: later });
    this.bytes = h("input", { type: "text", size: "7", placeholder: "any", title: "Such as 500 KiB or 1 MiB", "aria-label": "At least so many bytes", oninput: later });
    this.hits = h("input", { type: "number", min: "0", placeholder: "any", "aria-label": "At least so many hits", oninput: later });
    this.pinned = h("input", { type: "checkbox", onchange: () => this.filter() });
    this.found = h("output");
    this.filters = h(
      "div",
      { class: "vcache-tools vcache-filters", role: "search" },
      this.text,
      h("label", {}, "size ≥ ", this.bytes),
      h("label", {}, "hits ≥ ", this.hits),
      h("label", {}, this.pinned, " pinned"),
      this.found,
    );
    this.sorts = Object.entries(SORTS).map(([by, text]) =>
      h("button", { type: "button", "data-by": by, onclick: () => page.ask({ do: "sort", by }) }, text),
    );
    this.table = h("button", { type: "button", "aria-expanded": "false", onclick: () => this.table.setAttribute("aria-expanded", String(page.toggleTable())) }, "Table");
    this.clear = h("button", { type: "button", class: "vcache-danger", onclick: () => this.confirm() }, "Clear");
    this.root = h("div", { class: "vcache-tools" }, h("span", {}, "Sort by"), ...this.sorts, h("i"), this.table, this.clear);
    this.size = 0;
  }

  filter() {
    this.page.ask({ do: "filter", text: this.text.value, bytes: this.bytes.value, hits: Number(this.hits.value) || 0, pinned: this.pinned.checked });
  }

  /** @param {View} view */
  draw(view) {
    this.size = view.size;
    for (const button of this.sorts) button.setAttribute("aria-pressed", String(button.dataset.by === view.sort));
    this.clear.disabled = !view.size;
    setText(this.found, view.filtered ? `${plural(view.matched, "entry", "entries")} of ${formatCount(view.size)}` : "");
  }

  confirm() {
    if (this.clear.dataset.sure) {
      this.page.ask({ do: "clear" });
      this.unsure();
      return;
    }
    this.clear.dataset.sure = "yes";
    setText(this.clear, `Really clear ${plural(this.size, "entry", "entries")}?`);
    this.confirming = setTimeout(() => this.unsure(), CONFIRM_MS);
  }

  unsure() {
    clearTimeout(this.confirming);
    delete this.clear.dataset.sure;
    setText(this.clear, "Clear");
  }

  close() {
    clearTimeout(this.typing);
    clearTimeout(this.confirming);
  }
}

// The page's side of CacheView: draws the snapshots that the kernel sends, and asks it to act.

const FACTS = ["hit rate", "entries", "held", "saved", "evicted"];
/** What JupyterLab puts on a widget when its kernel is gone. */
const DEAD = ".jupyter-widgets-disconnected";

/** Pictures by entry, of every page that shows the same model. @type {WeakMap<object, Map<string, string>>} */
const albums = new WeakMap();

class Page {
  /** @param {Model} model @param {HTMLElement} el */
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.id = Math.random().toString(36).slice(2);
    /** @type {View} */
    this.view = model.get("view");
    this.received = Date.now();
    this.message = -1;
    this.dead = false;
    this.current = "";
    /** @type {Set<string>} */
    this.selected = new Set();
    /** The place that gets focus when its entry arrives. @type {number | null} */
    this.awaited = null;
    this.frame = 0;
    const calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.calm = () => calm.matches;
    this.build(el);
    this.listen();
    this.ask({ do: "shown", page: this.id });
    this.collect();
    this.draw();
    if (this.view.entries?.some((entry) => !this.album.has(entry.id))) this.ask({ do: "pictures" });
  }

  listen() {
    this.heard = {
      "change:view": () => this.arrive(),
      "change:pictures": () => this.collect(),
      "msg:custom": (content) => this.detail.receive(content),
      comm_live_update: () => this.checkKernel(),
    };
    for (const [event, hear] of Object.entries(this.heard)) this.model.on(event, hear);
    this.onLeave = () => this.ask({ do: "hidden", page: this.id });
    window.addEventListener("pagehide", this.onLeave);
    this.resize = new ResizeObserver(() => this.schedule());
    this.resize.observe(this.root);
    this.watch = new MutationObserver(() => this.checkKernel());
    this.watch.observe(this.el, { attributes: true, attributeFilter: ["class"] });
    // Of the model, anywidget hands on a part; whether its kernel is there, the whole one knows.
    const whole = this.model.widget_manager?.get_model?.(this.view.widget);
    whole?.then?.((found) => {
      this.whole = found;
      this.checkKernel();
    }, () => {});
    this.ticker = setInterval(() => this.tick(), 1000);
    // The table that stands in for the widget, where a page dropped the styles that would hide it.
    for (const table of document.querySelectorAll("[data-vcache-static]")) {
      if (table.getAttribute("data-vcache-static") === this.view.widget) table.hidden = true;
    }
  }

  close() {
    for (const [event, hear] of Object.entries(this.heard)) this.model.off(event, hear);
    window.removeEventListener("pagehide", this.onLeave);
    this.resize.disconnect();
    this.watch.disconnect();
    clearInterval(this.ticker);
    this.tools.close();
    this.table.close();
    this.speech.close();
    cancelAnimationFrame(this.frame);
    this.onLeave();
  }

  /** Ask the kernel to act; where there is none, nothing happens. @param {object} what */
  ask(what) {
    if (this.dead) return;
    try {
      this.model.send(what);
    } catch {
      // a page without a kernel (an export) shows what was saved
    }
  }

  /** Say it, stop the clock and disable every button once the kernel is gone. */
  checkKernel() {
    const dead = this.whole?.comm_live === false || this.el.closest(DEAD) !== null;
    if (dead === this.dead) return;
    this.dead = dead;
    this.stoppedAt = dead ? this.late : 0;
    this.root.classList.toggle("vcache-dead", dead);
    for (const control of this.controls) control.disabled = dead;
    setText(this.notice, dead ? "The kernel that this view followed is gone; this is what it saw last. Run the cell again." : "");
    this.schedule();
  }

  get controls() {
    return /** @type {NodeListOf<HTMLButtonElement | HTMLInputElement>} */ (this.root.querySelectorAll("button, input"));
  }

  get album() {
    let album = albums.get(this.model);
    if (!album) albums.set(this.model, (album = new Map()));
    return album;
  }

  collect() {
    for (const [id, url] of Object.entries(this.model.get("pictures")?.urls ?? {})) if (isPicture(url)) this.album.set(id, url);
    this.schedule();
  }

  arrive() {
    this.view = this.model.get("view");
    this.received = Date.now();
    this.schedule();
  }

  redraw() {
    this.schedule();
  }

  schedule() {
    if (!this.frame) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.draw();
      });
    }
  }

  /** Seconds since the snapshot; no more of them once the kernel is gone. */
  get late() {
    return this.dead && this.stoppedAt ? this.stoppedAt : (Date.now() - this.received) / 1000;
  }

  tick() {
    if (!this.dead && this.root.isConnected && !document.hidden) this.schedule();
  }

  /** @param {HTMLElement} el */
  build(el) {
    this.facts = h("dl", { class: "vcache-facts" });
    this.fact = Object.fromEntries(FACTS.map((name) => [name, h("dd")]));
    for (const name of FACTS) this.facts.append(h("div", {}, h("dt", {}, name), this.fact[name]));
    this.spark = new Spark();
    this.shelf = new Shelf(this);
    this.bars = new Bars((id) => this.choose(id, { open: true, focus: true }));
    this.detail = new Detail(this);
    this.table = new Table();
    this.tools = new Tools(this);
    this.speech = new Speech();
    this.advice = h("p", { class: "vcache-advice" });
    this.notice = h("p", { class: "vcache-notice", role: "status" });
    this.ends = [h("span"), h("span")];
    this.inside = h(
      "div",
      {},
      h("div", { class: "vcache-head" }, this.facts, this.spark.root),
      this.bars.root,
      this.advice,
      this.tools.filters,
      this.shelf.root,
      h("div", { class: "vcache-ends" }, ...this.ends),
      this.detail.root,
      this.tools.root,
      this.table.root,
      this.speech.root,
    );
    // JupyterLab's own way to say: no shortcut fires from in here (`d d` would delete the cell).
    this.root = h("section", { class: "vcache", "aria-label": "Vision feature cache", "data-lm-suppress-shortcuts": "true" }, this.notice, this.inside);
    for (const kind of ["keydown", "keyup", "keypress"]) {
      this.root.addEventListener(kind, (event) => {
        if (kind === "keydown") press(this, event);
        if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
      });
    }
    // A click on what was open when the pointer went down closes it: focus has moved there by then.
    this.pressed = "";
    this.pressing = false;
    this.root.addEventListener(
      "pointerdown",
      () => {
        this.pressing = true;
        this.pressed = this.detail.opened ? this.current : "";
      },
      { capture: true },
    );
    this.root.addEventListener("pointerup", () => (this.pressing = false));
    el.append(this.root);
  }

  draw() {
    const view = this.view;
    if (!view?.entries) return;
    const fresh = view.message !== this.message;
    const moving = fresh && this.message !== -1;
    this.message = view.message;
    const focused = this.shelf.list.contains(document.activeElement);
    this.keepCurrent(view, focused);
    // Read before anything is written: each measure after a change would lay everything out anew.
    const bar = this.bars.strip.clientWidth;
    const width = this.shelf.width;
    this.drawFacts(view);
    this.spark.draw(view, this.late, this.fact["hit rate"].textContent);
    this.bars.draw(view, this.selected, bar);
    this.shelf.draw(view, this.album, this.selected, this.current, this.late, moving, width);
    if (focused) this.shelf.keepFocus(this.current);
    this.land(view);
    const count = view.entries.length;
    const ends = { recency: ["least recently used", "most recently used"], bytes: ["largest", "smallest"], hits: ["most hits", "fewest hits"] }[view.sort];
    this.ends.forEach((end, i) => setText(end, count > 1 ? ends[i] : ""));
    this.table.draw(view, this.late, orderOf(view));
    this.detail.draw(view, this.entry, this.album, this.late);
    this.tools.draw(view);
    if (moving) this.speech.tell(view.news);
    if (this.dead) for (const control of this.controls) control.disabled = true;
  }

  /** What is gone is not selected, and focus goes to a neighbour; what was scrolled away stays chosen.
   * @param {View} view @param {boolean} focused */
  keepCurrent(view, focused) {
    const ids = new Set(view.entries.map((entry) => entry.id));
    const scrolled = view.size > 0 && (view.start !== this.start || !this.shelf.tiles.has(this.current));
    this.start = view.start;
    if (this.current && !ids.has(this.current) && !scrolled) {
      const old = [...this.shelf.tiles.keys()];
      const at = old.indexOf(this.current);
      const near = [...old.slice(at + 1), ...old.slice(0, Math.max(0, at)).reverse()].find((id) => ids.has(id));
      this.current = (focused && at >= 0 && (near ?? view.entries.at(-1)?.id)) || "";
      this.select(this.current ? [this.current] : []);
    }
  }

  /** Give focus to the place that was waited for. @param {View} view */
  land(view) {
    if (this.awaited === null) return;
    const entry = view.entries[Math.min(this.awaited, view.matched - 1) - view.start];
    if (!entry) return;
    this.awaited = null;
    this.shelf.focus(entry.id);
  }

  /** @param {View} view */
  drawFacts(view) {
    const answered = view.hits + view.store_hits;
    const lookups = answered + view.misses;
    const show = (name, value, of) => {
      const text = `${value} ${of}`;
      if (this.fact[name].dataset.text === text) return;
      this.fact[name].dataset.text = text;
      this.fact[name].replaceChildren(value, ...(of ? [" ", h("small", {}, of)] : []));
    };
    const stored = view.store_hits ? `, ${formatCount(view.store_hits)} from the store` : "";
    show("hit rate", lookups ? `${Math.round((100 * answered) / lookups)}%` : "–", lookups ? `${formatCount(answered)} of ${formatCount(lookups)}${stored}` : "");
    show("entries", formatCount(view.size), view.max_size == null ? "" : `of ${formatCount(view.max_size)}`);
    show("held", formatBytes(view.nbytes), view.max_bytes == null ? "" : `of ${formatBytes(view.max_bytes)}`);
    show("saved", formatSeconds(view.seconds_saved), "");
    show("evicted", formatCount(view.evictions), "");
    setText(this.advice, view.advice);
  }

  // What a person does -------------------------------------------------------------------------

  /** @returns {Entry | undefined} */
  get entry() {
    if (!this.current) return undefined;
    const drawn = this.view.entries.find((entry) => entry.id === this.current);
    if (drawn) this.seen = drawn;
    return this.seen?.id === this.current ? this.seen : undefined;
  }

  /** What actions are about: what is selected, else the entry in focus. */
  chosen() {
    return this.selected.size ? [...this.selected] : this.current ? [this.current] : [];
  }

  /** @param {string[]} ids */
  select(ids) {
    this.selected = new Set(ids);
    this.ask({ do: "select", ids });
  }

  /** @param {string} id @param {{add?: boolean, open?: boolean, focus?: boolean}} how */
  choose(id, { add = false, open = false, focus = false }) {
    this.current = id;
    if (add) {
      const ids = new Set(this.selected);
      if (!ids.delete(id)) ids.add(id);
      this.select([...ids]);
    } else if (!(focus && this.pressing)) this.select([id]); // a click that follows will say what it adds
    this.detail.entry = this.entry;
    if (open && !add) this.detail.toggle(this.pressed !== id);
    else this.schedule();
  }

  toggleTable() {
    this.schedule();
    return this.table.toggle();
  }
}

/** @param {{model: Model, el: HTMLElement}} context */
function render({ model, el }) {
  const page = new Page(model, el);
  return () => page.close();
}

export default { render };
