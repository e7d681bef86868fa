// Bars: what is held, each entry as wide as its bytes and free space as wide as what is free; and how
// near either bound is.
import { h, setAttribute, setChildren, setText } from "./dom.js";
import { formatBytes, formatCount, plural, shortName } from "./words.js";

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

export { Bars };
