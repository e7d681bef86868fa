// Shelf: a grid of cards of one size, of which only those near what is scrolled to exist.
import { h, pushpin, setAttribute, setPicture, setText } from "./dom.js";
import { contents, describe, formatAge, formatBytes, plural, shortName, stemParts } from "./words.js";

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

export { Shelf, orderOf };
