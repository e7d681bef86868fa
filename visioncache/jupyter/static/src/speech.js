// Speech: hits and evictions said aloud, seldom enough to be listened to.
import { h, setText } from "./dom.js";
import { plural, shortName } from "./words.js";

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

export { Speech };
