// Keyboard: what the keys do while a card has focus.

/** @param {any} page @param {KeyboardEvent} event */
function press(page, event) {
  if (event.key === "Escape" && page.detail.opened) page.detail.toggle(false);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (!page.shelf.list.contains(/** @type {Node} */ (event.target))) return;
  // The view that was drawn: a newer one may have come, and a place is counted in the cards that are seen.
  const { start, matched } = page.shelf.view;
  const at = start + [...page.shelf.tiles.keys()].indexOf(page.current);
  const columns = page.shelf.columns;
  const move = (to) => () => moveTo(page, Math.max(0, Math.min(matched - 1, to)));
  const actions = {
    ArrowLeft: move(at - 1),
    ArrowRight: move(at + 1),
    ArrowUp: move(at - columns < 0 ? at : at - columns),
    ArrowDown: move(at + columns >= matched ? at : at + columns),
    PageUp: move(at - 3 * columns),
    PageDown: move(at + 3 * columns),
    Home: move(0),
    End: move(matched - 1),
    Enter: () => page.detail.toggle(),
    " ": () => page.choose(page.current, { add: true }),
    Delete: () => page.detail.evictChosen(),
    Backspace: () => page.detail.evictChosen(),
    p: () => page.detail.togglePin(),
    P: () => page.detail.togglePin(),
  };
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
}

/** Move to a place; the kernel may have to send its entry first. @param {any} page @param {number} place */
function moveTo(page, place) {
  const { start, entries } = page.shelf.view;
  const there = entries[place - start];
  if (there) page.shelf.focus(there.id);
  else {
    page.awaited = place;
    page.shelf.askFor(Math.max(0, place - Math.floor(entries.length / 2)));
  }
}

export { press };
