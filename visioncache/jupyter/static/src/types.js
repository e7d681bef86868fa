// Types: what the kernel sends, for whoever reads or checks the other files.

/**
 * @typedef {{id: string, label: string, nbytes: number, shape: string, dtype: string, hits: number,
 *   used: number, stored: number, seconds: number, pinned: boolean, key: string, kind: string,
 *   tokens: number, images: number}} Entry
 * Ages (`used`, `stored`) are in seconds when the snapshot was taken.
 *
 * @typedef {{id: string, label: string, nbytes: number}} Named
 *
 * @typedef {{size: number, max_size: number | null, nbytes: number, max_bytes: number | null,
 *   fullest: "entries" | "bytes", hits: number, store_hits: number, misses: number, evictions: number,
 *   seconds_saved: number, sort: "recency" | "bytes" | "hits", start: number, matched: number,
 *   filtered: boolean, following: boolean, entries: Entry[], message: number,
 *   news: {counts: Record<string, number>, hit: Named[], evict: Named[]},
 *   history: [number, number, number, number][], history_seconds: number, advice: string}} View
 *
 * @typedef {{get(name: string): any, on(event: string, f: (...args: any[]) => void): void,
 *   off(event: string, f: (...args: any[]) => void): void, send(content: object): void}} Model
 */
