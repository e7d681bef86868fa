// Spark: hit rate and bytes over the last minutes.
import { h, setText, svg } from "./dom.js";
import { formatBytes } from "./words.js";

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

export { Spark };
