// @ts-check
/** What the status page does to its elements. Texts are set as texts: nothing that the service says is taken for markup. */

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`there is no #${id}`);
  return element;
}

/** @template {HTMLElement} E @param {string} id @param {new () => E} kind @returns {E} */
export function elementOf(id, kind) {
  const element = byId(id);
  if (!(element instanceof kind)) throw new Error(`#${id} is something else`);
  return element;
}

/** Leaves what is the same alone, for whoever has it selected or read to them. @param {HTMLElement} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @typedef {'good' | 'warn' | 'bad' | ''} Tone */

/** @param {HTMLElement} element @param {Tone} tone */
export function setTone(element, tone) {
  for (const each of /** @type {const} */ (['good', 'warn', 'bad'])) element.classList.toggle(each, each === tone);
}

/** @param {string} id @param {string} text @param {Tone} [tone] */
export function show(id, text, tone = '') {
  const element = byId(id);
  setText(element, text);
  setTone(element, tone);
}

/**
 * @typedef {object} Cell
 * @property {string} text
 * @property {string} [small] below it
 * @property {Tone} [tone]
 * @property {boolean} [isId]
 * @property {string} [title]
 * @property {{ readonly label: string; readonly name: string; readonly act: () => void } | undefined} [button]
 */

/** @param {HTMLElement} element @param {Cell} cell */
function fill(element, { text, small, tone = '', isId = false, title = '', button }) {
  const [body, below] = element.children;
  if (!(body instanceof HTMLElement) || !(below instanceof HTMLElement)) return;
  setText(body, text);
  setTone(body, tone);
  if (element.title !== title) element.title = title;
  body.classList.toggle('id', isId);
  setText(below, small ?? '');
  below.hidden = small === undefined;
  element.classList.toggle('blank', text === '' && button === undefined);
  const known = element.querySelector('button');
  if (button === undefined) known?.remove();
  else if (known === null) {
    const made = document.createElement('button');
    made.type = 'button';
    made.textContent = button.label;
    made.setAttribute('aria-label', button.name);
    made.addEventListener('click', button.act);
    element.append(made);
  }
}

/** Where the focus goes when what had it is gone. @param {HTMLElement} table */
function keepFocus(table) {
  const heading = table.closest('section')?.querySelector('h2');
  if (heading instanceof HTMLElement && heading.tabIndex === -1) heading.focus();
}

/**
 * Brings the rows of a table up to date without making those anew that stay: what has the focus keeps it.
 *
 * @template Item
 * @param {string} id of the table
 * @param {readonly Item[]} items
 * @param {(item: Item) => string} keyOf
 * @param {(item: Item) => readonly Cell[]} cellsOf the first heads the row
 */
export function showRows(id, items, keyOf, cellsOf) {
  const table = elementOf(id, HTMLTableElement);
  const [body] = table.tBodies;
  if (body === undefined) return;
  const labels = [...table.querySelectorAll('thead th')].map(({ textContent }) => textContent);
  const known = new Map([...body.rows].map((row) => [row.dataset['key'], row]));
  const hadFocus = body.contains(document.activeElement);
  items.forEach((item, place) => {
    const key = keyOf(item);
    const cells = cellsOf(item);
    const row = known.get(key) ?? newRow(key, labels);
    known.delete(key);
    cells.forEach((cell, index) => {
      const element = row.cells[index];
      if (element !== undefined) fill(element, cell);
    });
    // Moving a row takes the focus from what is in it.
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] ?? null);
  });
  for (const row of known.values()) row.remove();
  if (hadFocus && !body.contains(document.activeElement)) keepFocus(table);
  table.hidden = items.length === 0;
}

/**
 * On small screens a row is no longer laid out as one, and is called one all the same.
 *
 * @param {string} key @param {readonly string[]} labels
 */
function newRow(key, labels) {
  const row = document.createElement('tr');
  row.dataset['key'] = key;
  row.setAttribute('role', 'row');
  labels.forEach((label, place) => {
    const cell = document.createElement(place === 0 ? 'th' : 'td');
    cell.setAttribute('role', place === 0 ? 'rowheader' : 'cell');
    cell.dataset['label'] = label;
    cell.append(document.createElement('span'), document.createElement('small'));
    row.append(cell);
  });
  return row;
}

/** @type {string[]} */
const announcements = [];

/** Says something once to whoever does not see the page. @param {string} text */
export function announce(text) {
  announcements.push(text);
  setText(byId('announcer'), announcements.splice(0).join(' '));
}
