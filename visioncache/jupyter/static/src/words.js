// Words: how sizes, times and names are written. No element is touched here.

/** @param {number} size @param {number} [digits] */
function formatBytes(size, digits = 3) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (size >= (unit ? 1000 : 1024) && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const places = Math.max(digits, Math.ceil(Math.log10(size + 1)));
  return `${unit ? Number(size.toPrecision(places)) : size} ${units[unit]}`;
}

/** @param {number} seconds */
function formatSeconds(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** An age, in words short enough for a card. @param {number} seconds */
function formatAge(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`;
}

/** Made once: to look a language up for each number took most of a frame. */
const COUNT = new Intl.NumberFormat("en");

/** @param {number} count */
function formatCount(count) {
  return COUNT.format(count);
}

/** @param {number} count @param {string} one @param {string} many */
function plural(count, one, many) {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** The last part of a path or URL; the whole where there is none. @param {string} label */
function shortName(label) {
  return label.replace(/[\\/]+$/, "").split(/[\\/]/).pop() || label;
}

/**
 * A name in two parts, of which the first may be cut: the stem counts, so its end stays; the extension goes.
 * @param {string} label @returns {[string, string]}
 */
function stemParts(label) {
  const name = shortName(label);
  const stem = name.replace(/(?<=.)\.[A-Za-z][A-Za-z0-9]{1,4}$/, "");
  const letters = [...stem];
  const tail = Math.min(6, Math.floor(letters.length / 2));
  return [letters.slice(0, letters.length - tail).join(""), letters.slice(letters.length - tail).join("")];
}

/** How large an entry is, in the units of its kind. @param {Entry} entry */
function contents(entry) {
  return [
    entry.tokens ? plural(entry.tokens, "token", "tokens") : "",
    entry.images ? plural(entry.images, "image", "images") : "",
  ].filter(Boolean);
}

/** Everything about an entry, part by part. @param {Entry} entry @param {number} late */
function facts(entry, late) {
  return [
    entry.kind === "image" ? "" : entry.kind,
    formatBytes(entry.nbytes),
    ...contents(entry),
    `${entry.shape} ${entry.dtype}`.trim(),
    plural(entry.hits, "hit", "hits"),
    `used ${formatAge(entry.used + late)}`,
    `stored ${formatAge(entry.stored + late)}`,
    entry.seconds ? `took ${formatSeconds(entry.seconds)}` : "",
    entry.pinned ? "pinned" : "",
  ].filter(Boolean);
}

/** An entry in one sentence, for who hears it. @param {Entry} entry @param {number} late */
function describe(entry, late) {
  return [entry.label, ...facts(entry, late).filter((fact) => !/^(stored|took)/.test(fact))].join(", ");
}

export { contents, describe, facts, formatAge, formatBytes, formatCount, formatSeconds, plural, shortName, stemParts };
