// Tables that are told anew each second and touch only what has changed, so that the focus and the
// eye stay where they are.

import { button, h, say } from './dom.js';
import { count } from './format.js';

const PAGE = 100;

/**
 * columns: { label, text(row) | make(row) + patch(node, row), by(row), num, cls }. `by` makes a column
 * one that can be sorted by. `detail(row)` makes a row that opens.
 */
export function table({ caption, columns, key, empty = 'none', sort = null, descending = false, page = PAGE, onSort }) {
  const state = { sort, descending, page: 0, rows: [] };
  const known = new Map();
  const body = h('tbody');
  const heads = columns.map((column, at) => {
    const inside = column.by
      ? button(column.label, () => {
        state.descending = state.sort === at ? !state.descending : Boolean(column.num);
        state.sort = at;
        state.page = 0;
        draw();
        onSort?.(at, state.descending);
      }, { class: 'sort' })
      : column.label || h('span', { class: 'hidden-label' }, column.name ?? 'Actions');
    return h('th', { scope: 'col', class: column.num ? 'num' : column.cls ?? '' }, inside);
  });
  const nothing = h('p', { class: 'quiet', hidden: true }, empty);
  const where = h('span', { class: 'quiet' });
  const turn = (by) => () => { state.page += by; draw(); };
  const back = button('Previous', turn(-1));
  const forth = button('Next', turn(1));
  const pager = h('div', { class: 'pager', hidden: true }, back, where, forth);
  const element = h('table', null, h('caption', { class: 'hidden-label' }, caption), h('thead', null, h('tr', null, heads)), body);
  const el = h('div', { class: 'table' }, h('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': caption }, element), nothing, pager);

  function ordered() {
    const by = columns[state.sort]?.by;
    if (!by) return state.rows;
    const sign = state.descending ? -1 : 1;
    const keyed = state.rows.map((row, at) => [by(row), at, row]);
    keyed.sort(([a, i], [b, j]) => {
      if (a === b) return i - j;
      if (a === null || a === undefined || Number.isNaN(a)) return 1;
      if (b === null || b === undefined || Number.isNaN(b)) return -1;
      return (typeof a === 'string' ? a.localeCompare(b, 'en', { numeric: true }) : a - b) * sign;
    });
    return keyed.map(([, , row]) => row);
  }

  function line(row) {
    const id = key(row);
    let made = known.get(id);
    if (!made) {
      const cells = columns.map((column) => {
        const cell = h(column.head ? 'th' : 'td', { scope: column.head ? 'row' : null, class: column.num ? 'num' : column.cls ?? '' });
        if (column.make) cell.append(column.make(row));
        return cell;
      });
      made = { element: h('tr', null, cells), cells };
      known.set(id, made);
    }
    columns.forEach((column, at) => {
      const cell = made.cells[at];
      if (column.make) column.patch?.(cell.firstChild, row);
      else say(cell, column.text(row));
    });
    return made.element;
  }

  function draw() {
    const all = ordered();
    const pages = Math.max(1, Math.ceil(all.length / page));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const shown = all.slice(state.page * page, (state.page + 1) * page);
    heads.forEach((head, at) => {
      if (!columns[at].by) return;
      const direction = state.sort === at ? (state.descending ? 'descending' : 'ascending') : 'none';
      if (head.getAttribute('aria-sort') !== direction) head.setAttribute('aria-sort', direction);
    });
    const keep = new Set(shown.map(key));
    for (const [id, made] of known) {
      if (keep.has(id)) continue;
      made.element.remove();
      known.delete(id);
    }
    shown.forEach((row, at) => {
      const wanted = line(row);
      if (body.children[at] !== wanted) body.insertBefore(wanted, body.children[at] ?? null);
    });
    element.hidden = all.length === 0;
    nothing.hidden = all.length > 0;
    pager.hidden = pages === 1;
    back.disabled = state.page === 0;
    forth.disabled = state.page === pages - 1;
    say(where, `${count(state.page * page + 1)} to ${count(state.page * page + shown.length)} of ${count(all.length)}`);
  }

  return { el, update(rows) { state.rows = rows ?? []; draw(); }, get rows() { return state.rows; } };
}
