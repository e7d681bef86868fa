// Tools: search, filters, order, the table, and emptying the cache after a second look.
import { h, setText } from "./dom.js";
import { formatCount, plural } from "./words.js";

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

export { Tools };
