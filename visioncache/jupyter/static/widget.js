// The page's side of CacheView: draws the snapshots that the kernel sends, and asks it to act.
// Text reaches the page as text only (textContent, setAttribute), never as markup.

/**
 * @typedef {{id: string, label: string, nbytes: number, shape: string, dtype: string, hits: number,
 *   used: number, stored: number, seconds: number, pinned: boolean, key: string}} Entry
 * Ages (`used`, `stored`) are in seconds when the snapshot was taken.
 *
 * @typedef {{id: string, label: string, nbytes: number}} Named
 *
 * @typedef {{size: number, max_size: number | null, nbytes: number, max_bytes: number | null,
 *   hits: number, store_hits: number, misses: number, evictions: number, seconds_saved: number,
 *   sort: "recency" | "bytes" | "hits", start: number, following: boolean, entries: Entry[],
 *   message: number, news: {counts: Record<string, number>, hit: Named[], evict: Named[]},
 *   history: [number, number, number, number][], history_seconds: number, advice: string}} View
 *
 * @typedef {{get(name: string): any, on(event: string, f: () => void): void,
 *   off(event: string, f: () => void): void, send(content: object): void}} Model
 */

const MIN_TILE_PX = 34;
const MAX_TILE_PX = 168;
const MIN_FREE_PX = 60;
const GAP_PX = 3;
/** The sparkline shows as much as there is, between these. */
const MIN_SPAN_S = 20;
const MAX_SPAN_S = 300;
const GHOST_MS = 1600;
const SPEAK_MS = 2000;
const CONFIRM_MS = 4000;
const PAGE_STEP = 36;
const SVG = "http://www.w3.org/2000/svg";
const SORTS = /** @type {const} */ ({ recency: "Recency", bytes: "Bytes", hits: "Hits" });
const COLUMNS = ["Image", "Bytes", "Shape", "Type", "Hits", "Used", "Cost", "Pinned"];

/** Pictures by entry, of every page that shows the same model. @type {WeakMap<object, Map<string, string>>} */
const albums = new WeakMap();

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

/** An age, in words short enough for a tile. @param {number} seconds */
function formatAge(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`;
}

/** @param {number} count @param {string} one @param {string} many */
function plural(count, one, many) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** The last part of a path or URL; the whole where there is none. @param {string} label */
function shortName(label) {
  return label.replace(/[\\/]+$/, "").split(/[\\/]/).pop() || label;
}

/**
 * An element with attributes, properties (`.name`) and children.
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

/** @param {string} tag @param {Record<string, any>} props */
function svg(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** What stands for an image that nobody has a picture of. */
function glyph() {
  const line = { fill: "none", stroke: "currentColor", "stroke-width": 1.6, "stroke-linejoin": "round" };
  return svg(
    "svg",
    { viewBox: "0 0 24 24", "aria-hidden": "true" },
    svg("rect", { ...line, x: 2.5, y: 4.5, width: 19, height: 15, rx: 2 }),
    svg("circle", { ...line, cx: 8, cy: 9.5, r: 1.7 }),
    svg("path", { ...line, d: "M3 17.5l5.5-4.5 3.5 2.7 4-4.2 5.2 5" }),
  );
}

function pushpin() {
  const d = "M9.5 1.5l5 5-2.2.6-2.6 2.6-.4 3.6-3.2-3.2L2 14.2l-.2-.2 4.1-4.1-3.2-3.2 3.6-.4 2.6-2.6z";
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d, fill: "currentColor" }));
}

/** @param {HTMLElement} place @param {string | undefined} url */
function setPicture(place, url) {
  const wanted = url ?? "";
  if (place.dataset.url === wanted) return;
  place.dataset.url = wanted;
  place.replaceChildren(url ? h("img", { src: url, alt: "", draggable: "false" }) : glyph());
}

/** @param {Element} element @param {string} text */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Everything about an entry in one sentence. @param {Entry} entry @param {number} late */
function describe(entry, late) {
  const parts = [
    entry.label,
    formatBytes(entry.nbytes),
    `${entry.shape} ${entry.dtype}`.trim(),
    plural(entry.hits, "hit", "hits"),
    `used ${formatAge(entry.used + late)}`,
  ];
  if (entry.pinned) parts.push("pinned");
  return parts.filter(Boolean).join(", ");
}

class Page {
  /** @param {Model} model @param {HTMLElement} el */
  constructor(model, el) {
    this.model = model;
    this.id = Math.random().toString(36).slice(2);
    /** @type {Map<string, HTMLElement>} */
    this.tiles = new Map();
    /** @type {View} */
    this.view = model.get("view");
    this.received = Date.now();
    this.message = -1;
    this.selected = "";
    /** How to find the entry that gets focus when the entries asked for arrive. @type {((ids: string[]) => string | undefined) | null} */
    this.awaited = null;
    this.unspoken = { hit: 0, evict: 0, hits: [], evicts: [] };
    this.spokenAt = 0;
    this.frame = 0;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.build(el);
    this.onView = () => this.arrive();
    this.onPictures = () => this.collect();
    model.on("change:view", this.onView);
    model.on("change:pictures", this.onPictures);
    this.onLeave = () => this.ask({ do: "hidden", page: this.id });
    window.addEventListener("pagehide", this.onLeave);
    this.resize = new ResizeObserver(() => this.schedule());
    this.resize.observe(this.list);
    this.ticker = setInterval(() => this.tick(), 1000);
    this.ask({ do: "shown", page: this.id });
    this.collect();
    this.draw();
    if (this.view.entries?.some((entry) => !this.album.has(entry.id))) this.ask({ do: "pictures" });
  }

  close() {
    this.model.off("change:view", this.onView);
    this.model.off("change:pictures", this.onPictures);
    window.removeEventListener("pagehide", this.onLeave);
    this.resize.disconnect();
    clearInterval(this.ticker);
    clearTimeout(this.confirming);
    clearTimeout(this.speaking);
    cancelAnimationFrame(this.frame);
    this.onLeave();
  }

  /** Ask the kernel to act; where there is none, nothing happens. @param {object} what */
  ask(what) {
    try {
      this.model.send(what);
    } catch {
      // a page without a kernel (an export) shows what was saved
    }
  }

  get album() {
    let album = albums.get(this.model);
    if (!album) albums.set(this.model, (album = new Map()));
    return album;
  }

  collect() {
    for (const [id, url] of Object.entries(this.model.get("pictures")?.urls ?? {})) {
      // Only what the kernel makes: an address from elsewhere would be fetched.
      if (typeof url === "string" && /^data:image\/(png|jpeg);base64,/.test(url)) this.album.set(id, url);
    }
    this.schedule();
  }

  arrive() {
    this.view = this.model.get("view");
    this.received = Date.now();
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

  // Once ---------------------------------------------------------------------------------------

  /** @param {HTMLElement} el */
  build(el) {
    const button = (text, onclick, props = {}) => h("button", { type: "button", onclick, ...props }, text);
    this.facts = h("dl", { class: "vcache-facts" });
    this.fact = Object.fromEntries(
      ["hit rate", "entries", "held", "saved", "evicted"].map((name) => {
        const value = h("dd");
        this.facts.append(h("div", {}, h("dt", {}, name), value));
        return [name, value];
      }),
    );
    this.areaPath = svg("path", { class: "vcache-area" });
    this.bytesPath = svg("path", { class: "vcache-bytes" });
    this.ratePath = svg("path", { class: "vcache-rate" });
    this.spark = svg(
      "svg",
      { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img" },
      this.areaPath,
      this.bytesPath,
      this.ratePath,
    );
    this.span = h("span");
    const caption = h("figcaption", {}, h("span", {}, "hit rate"), h("span", {}, "bytes"), this.span);
    this.earlier = button("", () => this.page(-1));
    this.later = button("", () => this.page(1));
    this.list = h("div", { class: "vcache-tiles", role: "listbox", "aria-orientation": "horizontal" });
    this.list.addEventListener("click", (event) => {
      const tile = /** @type {Element} */ (event.target).closest(".vcache-tile");
      if (tile) this.select(/** @type {HTMLElement} */ (tile).dataset.id ?? "", true);
    });
    this.list.addEventListener("focusin", (event) => {
      const tile = /** @type {Element} */ (event.target).closest(".vcache-tile");
      if (tile) this.select(/** @type {HTMLElement} */ (tile).dataset.id ?? "", false);
    });
    this.free = h("div", { class: "vcache-free", "aria-hidden": "true" });
    this.leftEnd = h("span");
    this.rightEnd = h("span");
    this.fill = h("div", { class: "vcache-fill" });
    this.track = h("div", { class: "vcache-track", "aria-hidden": "true" }, this.fill);
    this.held = h("span");
    this.advice = h("p", { class: "vcache-advice" });
    this.picture = h("div", { class: "vcache-picture", "aria-hidden": "true" });
    this.name = h("div", { class: "vcache-name" });
    this.about = h("div", { class: "vcache-small" });
    this.pin = button("Pin", () => this.togglePin());
    this.evict = button("Evict", () => this.evictSelected(), { class: "vcache-danger" });
    this.sorts = Object.entries(SORTS).map(([by, text]) =>
      button(text, () => this.ask({ do: "sort", by }), { "data-by": by }),
    );
    this.tableButton = button("Table", () => this.toggleTable(), { "aria-expanded": "false" });
    this.clear = button("Clear", () => this.confirmClear(), { class: "vcache-danger" });
    this.rows = h("tbody");
    this.caption = h("caption");
    const head = COLUMNS.map((text) =>
      h("th", { scope: "col", class: /Bytes|Hits|Cost/.test(text) ? "vcache-number" : null }, text),
    );
    this.table = h("table", {}, this.caption, h("thead", {}, h("tr", {}, ...head)), this.rows);
    this.tablePlace = h("div", { class: "vcache-unseen" }, this.table);
    this.live = h("div", { class: "vcache-unseen", "aria-live": "polite", role: "status" });
    this.root = h(
      "section",
      // JupyterLab's own way to say: no shortcut fires from in here (`d d` would delete the cell).
      { class: "vcache", "aria-label": "Vision feature cache", "data-lm-suppress-shortcuts": "true" },
      h("div", { class: "vcache-head" }, this.facts, h("figure", { class: "vcache-spark" }, this.spark, caption)),
      h("div", { class: "vcache-shelf" }, this.earlier, this.list, this.later),
      h("div", { class: "vcache-ends" }, this.leftEnd, this.rightEnd),
      h("div", { class: "vcache-budget" }, this.track, this.held),
      this.advice,
      h(
        "div",
        { class: "vcache-detail" },
        this.picture,
        h("div", { class: "vcache-about" }, this.name, this.about),
        this.pin,
        this.evict,
      ),
      h(
        "div",
        { class: "vcache-tools" },
        h("span", {}, "Sort by"),
        ...this.sorts,
        h("i"),
        this.tableButton,
        this.clear,
      ),
      this.tablePlace,
      this.live,
    );
    for (const kind of ["keydown", "keyup", "keypress"]) {
      this.root.addEventListener(kind, (event) => {
        if (kind === "keydown") this.key(event);
        if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
      });
    }
    el.append(this.root);
  }

  // Every snapshot -----------------------------------------------------------------------------

  draw() {
    const view = this.view;
    if (!view?.entries) return;
    const fresh = view.message !== this.message;
    const first = this.message === -1;
    this.message = view.message;
    this.drawFacts(view);
    this.drawSpark(view);
    this.drawTiles(view, fresh && !first);
    this.drawBudget(view);
    this.drawRows(view);
    this.drawDetail();
    for (const button of this.sorts) {
      button.setAttribute("aria-pressed", String(button.dataset.by === view.sort));
    }
    this.clear.disabled = !view.size;
    if (fresh && !first) this.tell(view.news);
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
    const number = (n) => n.toLocaleString("en");
    const stored = view.store_hits ? `, ${number(view.store_hits)} from the store` : "";
    show(
      "hit rate",
      lookups ? `${Math.round((100 * answered) / lookups)}%` : "–",
      lookups ? `${number(answered)} of ${number(lookups)}${stored}` : "",
    );
    show("entries", number(view.size), view.max_size == null ? "" : `of ${number(view.max_size)}`);
    show("held", formatBytes(view.nbytes), view.max_bytes == null ? "" : `of ${formatBytes(view.max_bytes)}`);
    show("saved", formatSeconds(view.seconds_saved), "");
    show("evicted", number(view.evictions), "");
    if (this.advice.textContent !== view.advice) this.advice.textContent = view.advice;
  }

  /** @param {View} view */
  drawSpark(view) {
    const length = view.history_seconds;
    const rows = view.history.map(([ago, ...rest]) => [ago * length + this.late, ...rest]);
    const span = Math.min(MAX_SPAN_S, Math.max(MIN_SPAN_S, ...rows.map(([ago]) => ago)));
    const points = rows.map(([ago, , , bytes], i) => {
      // The hit rate of a moment is that of the tenth of the picture before it.
      const recent = rows.slice(0, i + 1).filter(([when]) => when < ago + Math.max(5, span / 10));
      const hits = recent.reduce((sum, row) => sum + row[1], 0);
      const lookups = recent.reduce((sum, row) => sum + row[1] + row[2], 0);
      return { x: (100 * (span - ago)) / span, rate: lookups ? hits / lookups : null, bytes };
    });
    const shown = points.filter((point) => point.x >= 0);
    const top = Math.max(view.max_bytes ?? 0, ...shown.map((point) => point.bytes), 1);
    const steps = shown.map((p, i) => {
      const y = (29 - (28 * p.bytes) / top).toFixed(2);
      return i ? `H${p.x.toFixed(2)}V${y}` : `M${p.x.toFixed(2)} ${y}`;
    });
    const rise = shown.length ? `${steps.join("")}H100` : "";
    this.bytesPath.setAttribute("d", rise);
    this.areaPath.setAttribute("d", rise && `${rise}V30H${shown[0].x.toFixed(2)}Z`);
    let pen = "M";
    const line = shown
      .filter((p) => p.rate !== null)
      .map((p) => {
        const point = `${pen}${p.x.toFixed(2)} ${(29 - 28 * Number(p.rate)).toFixed(2)}`;
        pen = "L";
        return point;
      });
    if (line.length === 1) line.push("h0.01"); // a dot, by its round caps
    this.ratePath.setAttribute("d", line.join(""));
    const time = span < 120 ? `${Math.round(span)} s` : `${Math.round(span / 60)} min`;
    setText(this.span, `last ${time}`);
    const text = `Hit rate and bytes over the last ${time}; now ${this.fact["hit rate"].textContent} hits, ${formatBytes(view.nbytes)} held`;
    this.spark.setAttribute("aria-label", text);
  }

  /** @param {View} view @param {boolean} moving */
  drawTiles(view, moving) {
    const focused = this.list.contains(document.activeElement) ? this.selected : "";
    const places = moving && !this.calm.matches ? this.places() : new Map();
    const old = [...this.tiles.keys()];
    const kept = new Set(view.entries.map((entry) => entry.id));
    if (focused && !kept.has(focused)) {
      const at = old.indexOf(focused);
      const next = [...old.slice(at + 1), ...old.slice(0, at).reverse()].find((id) => kept.has(id));
      this.selected = next ?? view.entries.at(-1)?.id ?? "";
    } else if (!kept.has(this.selected)) this.selected = "";
    const lost = new Map(view.news.evict.map((item) => [item.id, item]));
    for (const id of old) {
      if (kept.has(id)) continue;
      const tile = this.tiles.get(id);
      const ghost = moving ? lost.get(id) : undefined;
      if (tile && ghost) this.haunt(tile, ghost);
      tile?.remove();
      this.tiles.delete(id);
    }
    const widths = this.widths(view);
    const ordered = new Map();
    let before = /** @type {Element | null} */ (null);
    view.entries.forEach((entry, i) => {
      const tile = this.tiles.get(entry.id) ?? this.makeTile(entry.id);
      this.fillTile(tile, entry, widths[i], moving);
      ordered.set(entry.id, tile);
      const wanted = before ? before.nextElementSibling : this.list.firstElementChild;
      // Ghosts stay where they appeared; a tile moves only when another one stands in its place.
      let here = wanted;
      while (here?.classList.contains("vcache-ghost")) here = here.nextElementSibling;
      if (here !== tile) this.list.insertBefore(tile, here);
      before = tile;
    });
    this.tiles = ordered;
    this.list.append(this.free);
    if (this.awaited) {
      this.selected = this.awaited([...this.tiles.keys()]) ?? "";
      this.awaited = null;
      this.tiles.get(this.selected)?.focus();
    } else if (focused) {
      const target = this.tiles.get(this.selected);
      if (target && target !== document.activeElement) target.focus({ preventScroll: true });
    }
    this.rove();
    this.settle(places);
    const count = view.entries.length;
    this.list.setAttribute(
      "aria-label",
      view.sort === "recency" ? "Entries, least to most recently used" : `Entries by ${view.sort}, most first`,
    );
    const after = view.size - view.start - count;
    const more = (button, n, arrow) => {
      button.hidden = n <= 0;
      setText(button, `${arrow}\n${n.toLocaleString("en")}\nmore`);
    };
    more(this.earlier, view.start, "◂");
    more(this.later, after, "▸");
    const ends = { recency: ["least recently used", "most recently used"], bytes: ["largest", "smallest"], hits: ["most hits", "fewest hits"] };
    setText(this.leftEnd, count ? ends[view.sort][0] : "");
    setText(this.rightEnd, count ? ends[view.sort][1] : "");
    const room = view.max_size == null ? "" : `room for ${plural(view.max_size - view.size, "more", "more")}`;
    const free = view.max_bytes == null ? room : `${formatBytes(Math.max(0, view.max_bytes - view.nbytes))} free`;
    setText(this.free, count ? free : "Nothing cached yet");
    this.free.style.visibility = this.free.clientWidth < MIN_FREE_PX ? "hidden" : "";
    if (view.following && view.sort === "recency" && !focused && moving) {
      this.list.scrollLeft = this.list.scrollWidth;
    }
  }

  /** Widths in proportion to bytes, as long as a tile can be seen and pointed at. @param {View} view */
  widths(view) {
    const sizes = view.entries.map((entry) => Math.max(1, entry.nbytes));
    let left = this.list.clientWidth - 2 * GAP_PX - GAP_PX * sizes.length;
    let bytes = sizes.reduce((sum, size) => sum + size, 0);
    // From the smallest: one that would be too narrow is widened at the expense of the larger ones.
    for (const size of [...sizes].sort((a, b) => a - b)) {
      if (bytes <= 0 || (left / bytes) * size >= MIN_TILE_PX) break;
      left -= MIN_TILE_PX;
      bytes -= size;
    }
    const scale = Math.min(left / bytes, MAX_TILE_PX / Math.max(1, ...sizes));
    return sizes.map((size) => Math.max(MIN_TILE_PX, Math.floor(size * scale)));
  }

  /** @param {string} id @returns {HTMLElement} */
  makeTile(id) {
    const tile = h(
      "div",
      { class: "vcache-tile", role: "option", tabindex: "-1", "data-id": id },
      h("div", { class: "vcache-picture" }),
      h(
        "div",
        { class: "vcache-words" },
        h("span", { class: "vcache-name" }, h("bdi")),
        h("span", { class: "vcache-small" }, h("span"), h("span", { class: "vcache-wide" })),
        h("span", { class: "vcache-small" }),
        h("span", { class: "vcache-small" }),
      ),
      h("span", { class: "vcache-badge", hidden: true }, pushpin(), h("span", {}, "pinned")),
    );
    tile.dataset.hits = "";
    return tile;
  }

  /** @param {HTMLElement} tile @param {Entry} entry @param {number} width @param {boolean} moving */
  fillTile(tile, entry, width, moving) {
    const [picture, words, badge] = /** @type {HTMLElement[]} */ ([...tile.children]);
    const [name, size, hits, age] = /** @type {HTMLElement[]} */ ([...words.children]);
    tile.style.width = `${width}px`;
    setPicture(picture, this.album.get(entry.id));
    setText(/** @type {HTMLElement} */ (name.firstElementChild), shortName(entry.label));
    setText(size.children[0], formatBytes(entry.nbytes, 2));
    setText(size.children[1], ` · ${entry.shape} ${entry.dtype}`);
    setText(hits, plural(entry.hits, "hit", "hits"));
    setText(age, formatAge(entry.used + this.late).replace(/ (?=s|m|h|d)/, "")); // tiles are narrow
    badge.hidden = !entry.pinned;
    tile.title = entry.label;
    tile.setAttribute("aria-label", describe(entry, this.late));
    tile.setAttribute("aria-selected", String(entry.id === this.selected));
    const before = tile.dataset.hits;
    if (moving && before !== "" && entry.hits > Number(before)) this.pulse(tile);
    tile.dataset.hits = String(entry.hits);
  }

  /** @param {View} view */
  drawBudget(view) {
    const bytes = view.max_bytes != null;
    const bound = bytes ? view.max_bytes : view.max_size;
    const used = bytes ? view.nbytes : view.size;
    const share = bound ? used / bound : 0;
    this.track.style.display = bound ? "" : "none";
    this.fill.style.width = `${Math.min(100, 100 * share)}%`;
    const amount = bytes ? formatBytes(used) : used.toLocaleString("en");
    const whole = bytes ? formatBytes(Number(bound)) : `${bound?.toLocaleString("en")} entries`;
    setText(this.held, bound ? `${amount} of ${whole} (${Math.round(100 * share)}%)` : "no budget set");
  }

  /** @param {View} view */
  drawRows(view) {
    const last = view.start + view.entries.length;
    const range = view.size > view.entries.length ? ` ${view.start + 1} to ${last} of ${view.size.toLocaleString("en")}` : "";
    setText(this.caption, `Entries${range}, ${this.list.getAttribute("aria-label")?.replace("Entries", "").replace(/^,? /, "")}`);
    view.entries.forEach((entry, i) => {
      const row = this.rows.children[i] ?? this.rows.appendChild(this.makeRow());
      const cells = [
        entry.label,
        formatBytes(entry.nbytes),
        entry.shape,
        entry.dtype,
        entry.hits.toLocaleString("en"),
        formatAge(entry.used + this.late),
        formatSeconds(entry.seconds),
        entry.pinned ? "pinned" : "no",
      ];
      cells.forEach((text, column) => setText(row.children[column], text));
    });
    while (this.rows.children.length > view.entries.length) this.rows.lastElementChild?.remove();
  }

  makeRow() {
    const cells = COLUMNS.map((text, i) =>
      i ? h("td", { class: /Bytes|Hits|Cost/.test(text) ? "vcache-number" : null }) : h("th", { scope: "row" }),
    );
    return h("tr", {}, ...cells);
  }

  drawDetail() {
    const entry = this.entry;
    this.picture.style.visibility = entry ? "" : "hidden";
    this.picture.style.display = entry ? "" : "none";
    this.pin.disabled = this.evict.disabled = !entry;
    if (!entry) {
      setText(this.name, this.view.size ? "Select an entry" : "Nothing cached yet");
      setText(this.about, this.view.size ? "Arrow keys move, P pins, Delete evicts" : "Entries appear here as the model encodes images");
      return;
    }
    setPicture(this.picture, this.album.get(entry.id));
    setText(this.name, entry.label);
    this.name.title = entry.label;
    const facts = [
      formatBytes(entry.nbytes),
      `${entry.shape} ${entry.dtype}`.trim(),
      plural(entry.hits, "hit", "hits"),
      `used ${formatAge(entry.used + this.late)}`,
      `stored ${formatAge(entry.stored + this.late)}`,
      entry.seconds ? `took ${formatSeconds(entry.seconds)}` : "",
      entry.pinned ? "pinned" : "",
      entry.key,
    ];
    setText(this.about, facts.filter(Boolean).join(" · "));
    setText(this.pin, entry.pinned ? "Unpin" : "Pin");
  }

  /** Seconds since the snapshot. */
  get late() {
    return (Date.now() - this.received) / 1000;
  }

  tick() {
    if (this.root.isConnected && !document.hidden) this.schedule();
  }

  // Motion and speech --------------------------------------------------------------------------

  places() {
    return new Map([...this.tiles].map(([id, tile]) => [id, tile.offsetLeft]));
  }

  /** Let tiles glide from where they stood. @param {Map<string, number>} places */
  settle(places) {
    for (const [id, from] of places) {
      const tile = this.tiles.get(id);
      const by = tile ? from - tile.offsetLeft : 0;
      if (tile && Math.abs(by) > 1) {
        tile.animate([{ transform: `translateX(${by}px)` }, { transform: "none" }], { duration: 260, easing: "ease-out" });
      }
    }
  }

  /** @param {HTMLElement} tile */
  pulse(tile) {
    tile.classList.add("vcache-pulsing");
    setTimeout(() => tile.classList.remove("vcache-pulsing"), 700);
    if (this.calm.matches) return;
    const ring = getComputedStyle(this.root).getPropertyValue("--vcache-accent");
    tile.animate(
      [{ boxShadow: `inset 0 0 0 4px ${ring}` }, { boxShadow: "inset 0 0 0 0 transparent" }],
      { duration: 700, easing: "ease-out" },
    );
  }

  /** Leave a ghost where an entry was evicted. @param {HTMLElement} tile @param {Named} item */
  haunt(tile, item) {
    const ghost = h(
      "div",
      { class: "vcache-ghost", "aria-hidden": "true", title: item.label },
      h("span", {}, "evicted"),
      h("span", {}, shortName(item.label)),
    );
    ghost.style.width = tile.style.width;
    tile.before(ghost);
    if (!this.calm.matches) ghost.animate([{ opacity: 1 }, { opacity: 0 }], { duration: GHOST_MS, easing: "ease-in" });
    setTimeout(() => ghost.remove(), GHOST_MS);
  }

  /** Say hits and evictions aloud, seldom enough to be listened to. @param {View["news"]} news */
  tell(news) {
    const said = this.unspoken;
    said.hit += news.counts.hit ?? 0;
    said.evict += news.counts.evict ?? 0;
    said.hits = [...said.hits, ...news.hit].slice(-3);
    said.evicts = [...said.evicts, ...news.evict].slice(-3);
    if (!said.hit && !said.evict) return;
    clearTimeout(this.speaking);
    const wait = Math.max(0, this.spokenAt + SPEAK_MS - Date.now());
    this.speaking = setTimeout(() => this.speak(), wait);
  }

  speak() {
    const { hit, evict, hits, evicts } = this.unspoken;
    const names = (items) => [...new Set(items.map((item) => shortName(item.label)))].join(", ");
    const parts = [];
    if (hit) parts.push(`${plural(hit, "hit", "hits")}: ${names(hits)}`);
    if (evict) parts.push(`${plural(evict, "entry", "entries")} evicted: ${names(evicts)}`);
    this.unspoken = { hit: 0, evict: 0, hits: [], evicts: [] };
    this.spokenAt = Date.now();
    setText(this.live, parts.join(". "));
  }

  // What a person does -------------------------------------------------------------------------

  /** @returns {Entry | undefined} */
  get entry() {
    return this.view.entries.find((entry) => entry.id === this.selected);
  }

  /** @param {string} id @param {boolean} focus */
  select(id, focus) {
    this.selected = id;
    for (const [other, tile] of this.tiles) tile.setAttribute("aria-selected", String(other === id));
    this.rove();
    this.drawDetail();
    if (focus) this.tiles.get(id)?.focus();
  }

  /** One tile is in the tab order: the selected one, or the first that Tab should reach. */
  rove() {
    const view = this.view;
    const home = this.tiles.has(this.selected)
      ? this.selected
      : (view.sort === "recency" ? view.entries.at(-1) : view.entries[0])?.id;
    for (const [id, tile] of this.tiles) tile.tabIndex = id === home ? 0 : -1;
  }

  /** @param {number} by */
  page(by) {
    const { start, size, sort, entries } = this.view;
    const next = Math.max(0, start + by * PAGE_STEP);
    const end = next + entries.length >= size;
    this.ask({ do: "window", start: end && sort === "recency" ? null : next });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.list.contains(/** @type {Node} */ (event.target))) return;
    const ids = [...this.tiles.keys()];
    const at = ids.indexOf(this.selected);
    const { start, size } = this.view;
    const move = (to) => {
      const beyond = to < 0 ? start > 0 : to >= ids.length && start + ids.length < size;
      if (beyond) {
        const [from, by] = [this.selected, Math.sign(to - at)];
        this.awaited = (there) => there[there.indexOf(from) + by]; // pages overlap
        this.page(by);
      } else this.select(ids[Math.max(0, Math.min(ids.length - 1, to))], true);
    };
    const far = (edge, position) => {
      if (edge) move(position);
      else {
        this.awaited = (there) => there.at(position ? -1 : 0);
        this.ask({ do: "window", start: position ? Math.max(0, size - ids.length) : 0 });
      }
    };
    const actions = {
      ArrowLeft: () => move(at - 1),
      ArrowUp: () => move(at - 1),
      ArrowRight: () => move(at + 1),
      ArrowDown: () => move(at + 1),
      Home: () => far(start === 0, 0),
      End: () => far(start + ids.length >= size, ids.length - 1),
      Delete: () => this.evictSelected(),
      Backspace: () => this.evictSelected(),
      p: () => this.togglePin(),
      P: () => this.togglePin(),
    };
    const action = actions[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  }

  togglePin() {
    const entry = this.entry;
    if (entry) this.ask({ do: entry.pinned ? "unpin" : "pin", id: entry.id });
  }

  evictSelected() {
    const entry = this.entry;
    if (!entry) return;
    // Its tile goes once the kernel has done it; focus, if it was on the button, stays in the list.
    if (!this.list.contains(document.activeElement)) this.tiles.get(entry.id)?.focus();
    this.ask({ do: "evict", id: entry.id });
  }

  confirmClear() {
    if (this.clear.dataset.sure) {
      this.ask({ do: "clear" });
      this.unsure();
      return;
    }
    this.clear.dataset.sure = "yes";
    setText(this.clear, `Really clear ${plural(this.view.size, "entry", "entries")}?`);
    this.confirming = setTimeout(() => this.unsure(), CONFIRM_MS);
  }

  unsure() {
    clearTimeout(this.confirming);
    delete this.clear.dataset.sure;
    setText(this.clear, "Clear");
  }

  toggleTable() {
    const open = this.tablePlace.classList.toggle("vcache-unseen");
    this.tableButton.setAttribute("aria-expanded", String(!open));
  }
}

/** @param {{model: Model, el: HTMLElement}} context */
function render({ model, el }) {
  const page = new Page(model, el);
  return () => page.close();
}

export default { render };
