// Detail: the entry that was chosen last, with what can be done to it; opened, a large picture and all facts.
import { h, isPicture, setChildren, setPicture, setText } from "./dom.js";
import { facts, plural } from "./words.js";

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

export { Detail };
