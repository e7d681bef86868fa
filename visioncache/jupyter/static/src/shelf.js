// Shelf: a grid of cards of one size, of which only those near what is scrolled to exist.
import { h, pushpin, setPicture, setText } from "./dom.js";
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
    this.asked = -1;
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
   * @param {number} late @param {boolean} moving @param {{places: Map<string, number[]>, width: number}} before */
  draw(view, album, selected, current, late, moving, before) {
    this.view = view;
    const lost = new Map(view.news.evict.map((item) => [item.id, item]));
    const kept = new Set(view.entries.map((entry) => entry.id));
    for (const [id, tile] of this.tiles) {
      if (kept.has(id)) continue;
      const ghost = moving ? lost.get(id) : undefined;
      if (ghost) this.haunt(tile, ghost);
      tile.remove();
      this.tiles.delete(id);
      this.spare.push(tile);
    }
    const most = Math.max(1, ...view.entries.map((entry) => entry.nbytes));
    const ordered = new Map();
    view.entries.forEach((entry, i) => {
      const tile = this.tiles.get(entry.id) ?? this.makeTile(entry.id);
      this.fillTile(tile, entry, entry.nbytes / most, album.get(entry.id), selected.has(entry.id), late, moving);
      ordered.set(entry.id, tile);
      if (this.list.children[i] !== tile) this.list.insertBefore(tile, this.list.children[i] ?? null);
    });
    this.tiles = ordered;
    this.lay(view, before.width);
    const home = this.tiles.has(current) ? current : (view.sort === "recency" ? view.entries.at(-1) : view.entries[0])?.id;
    for (const [id, tile] of this.tiles) tile.tabIndex = id === home ? 0 : -1;
    this.list.setAttribute("aria-label", `Entries, ${orderOf(view)}`);
    this.scroller.hidden = !view.entries.length;
    this.empty.hidden = view.entries.length > 0;
    setText(this.empty, view.size ? "No entry is like that" : "Nothing cached yet");
    if (moving && !this.page.calm()) this.settle(before.places);
    if (this.pinnedToEnd && view.following && view.sort === "recency" && !this.list.contains(document.activeElement)) {
      this.scroller.scrollTop = this.scroller.scrollHeight;
    }
  }

  /** Leave room for the rows that don't exist, so that the scroll bar is true. @param {View} view @param {number} width */
  lay(view, width) {
    this.columns = Math.max(1, Math.floor((width + GAP_PX) / (CARD_PX + GAP_PX)));
    this.list.style.gridTemplateColumns = `repeat(${this.columns}, minmax(0, 1fr))`;
    const offset = view.start % this.columns;
    const above = Math.floor(view.start / this.columns);
    const here = Math.ceil((offset + view.entries.length) / this.columns);
    const below = Math.max(0, Math.ceil(view.matched / this.columns) - above - here);
    this.list.style.paddingTop = `${above * ROW_PX}px`;
    this.list.style.paddingBottom = `${below * ROW_PX}px`;
    let first = true;
    for (const tile of this.tiles.values()) {
      tile.style.gridColumnStart = first && offset ? String(offset + 1) : "";
      first = false;
    }
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

  /** @param {string} id @returns {HTMLElement} */
  makeTile(id) {
    const used = this.spare.pop();
    if (used) {
      used.dataset.id = id;
      used.dataset.hits = "";
      return used;
    }
    const tile = h(
      "div",
      { class: "vcache-tile", role: "option", tabindex: "-1", "data-id": id },
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
    tile.dataset.hits = "";
    return tile;
  }

  /** @param {HTMLElement} tile @param {Entry} entry @param {number} share @param {string | undefined} url
   * @param {boolean} selected @param {number} late @param {boolean} moving */
  fillTile(tile, entry, share, url, selected, late, moving) {
    const [picture, words, badge, weight] = /** @type {HTMLElement[]} */ ([...tile.children]);
    const [name, size, use] = /** @type {HTMLElement[]} */ ([...words.children]);
    const [head, tail] = stemParts(entry.label);
    tile.dataset.kind = entry.kind;
    setPicture(picture, url, entry.kind);
    setText(name.children[0], head);
    setText(name.children[1], tail);
    setText(size, [entry.kind === "image" ? "" : entry.kind, formatBytes(entry.nbytes, 2)].filter(Boolean).join(" · "));
    const amount = entry.kind === "prefix" ? contents(entry) : [];
    const age = formatAge(entry.used + late).replace(/ (?=s|m|h|d)/, ""); // cards are narrow
    setText(use, amount.length ? amount.join(", ") : `${plural(entry.hits, "hit", "hits")}, ${age}`);
    badge.hidden = !entry.pinned;
    weight.style.width = `${100 * share}%`;
    tile.title = entry.label;
    tile.setAttribute("aria-label", describe(entry, late));
    tile.setAttribute("aria-selected", String(selected));
    const before = tile.dataset.hits;
    if (moving && before !== "" && entry.hits > Number(before)) this.pulse(tile);
    tile.dataset.hits = String(entry.hits);
  }

  measure() {
    const places = new Map([...this.tiles].map(([id, tile]) => [id, [tile.offsetLeft, tile.offsetTop]]));
    return { places, width: this.scroller.clientWidth || this.scroller.parentElement?.clientWidth || 0 };
  }

  /** Let cards glide from where they stood; those that came from far away are just there. @param {Map<string, number[]>} places */
  settle(places) {
    const moved = [];
    for (const [id, [left, top]] of places) {
      const tile = this.tiles.get(id);
      if (!tile) continue;
      const [x, y] = [left - tile.offsetLeft, top - tile.offsetTop];
      if (Math.abs(x) + Math.abs(y) > 1 && Math.abs(y) < 4 * ROW_PX) moved.push({ tile, x, y });
    }
    for (const { tile, x, y } of moved) {
      tile.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: 260, easing: "ease-out" });
    }
  }

  /** @param {HTMLElement} tile */
  pulse(tile) {
    tile.classList.add("vcache-pulsing");
    setTimeout(() => tile.classList.remove("vcache-pulsing"), 700);
    if (this.page.calm()) return;
    const ring = getComputedStyle(this.root).getPropertyValue("--vcache-accent");
    tile.animate([{ boxShadow: `inset 0 0 0 4px ${ring}` }, { boxShadow: "inset 0 0 0 0 transparent" }], { duration: 700, easing: "ease-out" });
  }

  /** Leave a ghost where an entry was evicted. @param {HTMLElement} tile @param {Named} item */
  haunt(tile, item) {
    const ghost = h("div", { class: "vcache-ghost", "aria-hidden": "true", title: item.label }, h("span", {}, "evicted"), h("span", {}, shortName(item.label)));
    const [left, top] = [tile.offsetLeft, tile.offsetTop];
    Object.assign(ghost.style, { left: `${left}px`, top: `${top}px`, width: `${tile.offsetWidth}px` });
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
