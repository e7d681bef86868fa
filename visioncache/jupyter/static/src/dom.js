// Elements: made in one call, changed only where they differ. Text reaches the page as text only
// (textContent, setAttribute), never as markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes, listeners (`onclick`) and children.
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

/** @param {string} tag @param {Record<string, any>} props @param {...(Node | string)} children */
function svg(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

const FRAME = "M4.5 4.5h15a2 2 0 0 1 2 2v11a2 2 0 0 1-2 2h-15a2 2 0 0 1-2-2v-11a2 2 0 0 1 2-2z";

/** What stands for an entry that has no picture, by its kind: one path, as there is one in every card. @type {Record<string, string>} */
const GLYPHS = {
  image: `${FRAME}M6.3 9.5a1.7 1.7 0 1 0 3.4 0a1.7 1.7 0 1 0-3.4 0M3 17.5l5.5-4.5 3.5 2.7 4-4.2 5.2 5`,
  video: `${FRAME}M10 9v6l5-3z`,
  tile: "M5 3h14a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2zM12 3v18M3 12h18",
  request: "M4.5 7.5h11a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2h-11a2 2 0 0 1-2-2v-8a2 2 0 0 1 2-2zM6 4.5h13.5a2 2 0 0 1 2 2V16",
  prefix: "M3 6h18M3 10.5h18M3 15h12M19 13v6m-3-3h6",
};

/** @param {string} kind */
function glyph(kind) {
  const line = { fill: "none", stroke: "currentColor", "stroke-width": 1.6, "stroke-linejoin": "round", "stroke-linecap": kind === "prefix" ? "round" : "butt" };
  return svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { ...line, d: GLYPHS[kind] ?? GLYPHS.image }));
}

function pushpin() {
  const d = "M9.5 1.5l5 5-2.2.6-2.6 2.6-.4 3.6-3.2-3.2L2 14.2l-.2-.2 4.1-4.1-3.2-3.2 3.6-.4 2.6-2.6z";
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d, fill: "currentColor" }));
}

/** Show a picture, or the glyph of a kind. @param {HTMLElement} place @param {string | undefined} url @param {string} kind */
function setPicture(place, url, kind) {
  const wanted = url || kind;
  if (place.dataset.shows === wanted) return;
  place.dataset.shows = wanted;
  place.replaceChildren(url ? h("img", { src: url, alt: "", draggable: "false" }) : glyph(kind));
}

/** Only what the kernel makes: an address from elsewhere would be fetched. @param {unknown} url */
function isPicture(url) {
  return typeof url === "string" && /^data:image\/(png|jpeg);base64,/.test(url);
}

/** Of a text that is there the letters change, which costs less than another text in its place.
 * @param {Element} element @param {string} text */
function setText(element, text) {
  const only = element.firstChild;
  if (only?.nodeType === Node.TEXT_NODE && !only.nextSibling && text) {
    if (only.nodeValue !== text) only.nodeValue = text;
  } else if (element.textContent !== text) element.textContent = text;
}

/** @param {Element} element @param {string} name @param {string} value */
function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Make a list's children as many as its items, and fill each. @template T
 * @param {Element} parent @param {T[]} items @param {() => Element} make @param {(child: any, item: T, i: number) => void} fill */
function setChildren(parent, items, make, fill) {
  items.forEach((item, i) => fill(parent.children[i] ?? parent.appendChild(make()), item, i));
  while (parent.children.length > items.length) parent.lastElementChild?.remove();
}

export { glyph, h, isPicture, pushpin, setAttribute, setChildren, setPicture, setText, svg };
