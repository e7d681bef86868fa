// Table: the same entries as rows, for screen readers always, for everyone when asked for.
import { h, setChildren, setText } from "./dom.js";
import { formatAge, formatBytes, formatCount, formatSeconds } from "./words.js";

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

export { Table };
