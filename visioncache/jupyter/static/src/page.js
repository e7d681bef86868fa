// The page's side of CacheView: draws the snapshots that the kernel sends, and asks it to act.
import { Bars } from "./bars.js";
import { Detail } from "./detail.js";
import { h, isPicture, setText } from "./dom.js";
import { press } from "./keyboard.js";
import { Shelf, orderOf } from "./shelf.js";
import { Spark } from "./spark.js";
import { Speech } from "./speech.js";
import { Table } from "./table.js";
import { Tools } from "./tools.js";
import { formatBytes, formatCount, formatSeconds } from "./words.js";

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
