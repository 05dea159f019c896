// Graphs over the last minutes: lines, a read-out that the pointer and the arrow keys move, a summary
// in words, and the same numbers as a table.

import { fresh, h, replace, say, svg } from './dom.js';
import { clock } from './format.js';

const HEIGHT = 132;
const LEFT = 4;
const RIGHT = 4;
const TOP = 8;
const BOTTOM = 18;
const SPAN_LEAST = 60_000;
const SPAN_MOST = 300_000;

/** The least round number that is not below. */
function ceiling(value, binary) {
  if (!(value > 0)) return binary ? 1024 : 1;
  const base = binary ? 2 : 10;
  const unit = base ** Math.floor(Math.log(value) / Math.log(base));
  if (binary) return unit >= value ? unit : unit * 2;
  return [1, 2, 5, 10].map((step) => step * unit).find((step) => step >= value);
}

/** The path of one line; it breaks where samples are missing. */
function path(points, x, y, key) {
  let text = '';
  let pen = false;
  for (const point of points) {
    const value = point[key];
    if (point.gap || !Number.isFinite(value)) { pen = false; continue; }
    text += `${pen ? 'L' : 'M'}${x(point.t).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = true;
  }
  return text;
}

/** lines: { key, label, cls }; format: how a value is written; whole: values are whole numbers. */
export function graph({ title, lines, format, binary = false }) {
  const id = fresh('graph');
  const drawing = svg('svg', { height: HEIGHT, 'aria-hidden': 'true', focusable: 'false' });
  const read = h('span', { class: 'readout' });
  const summary = h('p', { class: 'hidden-label' });
  const cursor = h('div', {
    class: 'plot', tabindex: 0, role: 'slider', 'aria-labelledby': id, 'aria-describedby': `${id}-d`,
    'aria-valuemin': 0, 'aria-valuemax': 0, 'aria-valuenow': 0, 'aria-orientation': 'horizontal',
  }, drawing);
  summary.id = `${id}-d`;
  const rows = h('tbody');
  const numbers = h('details', { class: 'numbers', ontoggle: () => tabulate() },
    h('summary', null, 'Table'),
    h('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': `${title}, as a table` }, h('table', null, h('caption', { class: 'hidden-label' }, title),
      h('thead', null, h('tr', null, h('th', { scope: 'col' }, 'Time'), lines.map((line) => h('th', { scope: 'col', class: 'num' }, line.label)))), rows)));
  const legend = h('div', { class: 'legend' }, lines.map((line) =>
    h('span', null, h('i', { class: `key ${line.cls}`, 'aria-hidden': 'true' }), line.label)));
  const el = h('figure', { class: 'graph' },
    h('figcaption', null, h('span', { class: 'title', id }, title), legend, read), summary, cursor, numbers);
  let samples = [];
  let width = 300;
  // How much of the past is shown: a minute at first, then as much as there is.
  let spread = SPAN_LEAST;
  // Which sample is read out: its time, or null for the last.
  let at = null;

  const real = () => samples.filter((point) => !point.gap);
  const words = (point) => `${clock(point.t)}  ${lines.map((line) => `${line.label} ${format(point[line.key])}`).join(', ')}`;

  function tabulate() {
    if (!numbers.open) return;
    const list = real();
    const step = Math.max(1, Math.ceil(list.length / 30));
    replace(rows, list.filter((_, n) => (list.length - 1 - n) % step === 0).reverse().map((point) =>
      h('tr', null, h('th', { scope: 'row' }, clock(point.t)), lines.map((line) => h('td', { class: 'num' }, format(point[line.key]))))));
  }

  function draw() {
    const list = real();
    const now = samples.at(-1)?.t ?? Date.now();
    const age = list[0] ? now - list[0].t : 0;
    spread = Math.min(SPAN_MOST, Math.max(SPAN_LEAST, Math.ceil(age / 60_000) * 60_000));
    const from = now - spread;
    const top = ceiling(Math.max(0, ...list.flatMap((point) => lines.map((line) => point[line.key] || 0))), binary);
    const x = (t) => LEFT + Math.max(0, (t - from) / spread) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const level = y(top * share);
      parts.push(svg('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: level, y2: level }));
      if (share) parts.push(svg('text', { x: LEFT + 2, y: level + 11 }, format(top * share)));
    }
    const step = spread === SPAN_LEAST ? 15_000 : 60_000;
    for (let ago = 0; ago <= spread; ago += step) {
      const anchor = ago === 0 ? 'end' : ago === spread ? 'start' : 'middle';
      const label = step < 60_000 ? `-${ago / 1000} s` : `-${ago / 60_000} m`;
      parts.push(svg('text', { x: x(now - ago), y: HEIGHT - 4, 'text-anchor': anchor }, ago ? label : 'now'));
    }
    const recent = samples.filter((point) => point.t >= from);
    for (const line of lines) parts.push(svg('path', { class: `line ${line.cls}`, d: path(recent, x, y, line.key) }));
    const point = at === null ? null : list.reduce((best, one) => (Math.abs(one.t - at) < Math.abs(best.t - at) ? one : best), list[0] ?? { t: now });
    if (point) {
      parts.push(svg('line', { class: 'cursor', x1: x(point.t), x2: x(point.t), y1: TOP, y2: HEIGHT - BOTTOM }));
      for (const line of lines) {
        if (Number.isFinite(point[line.key])) parts.push(svg('circle', { class: `dot ${line.cls}`, cx: x(point.t), cy: y(point[line.key]), r: 3 }));
      }
    }
    drawing.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    drawing.setAttribute('width', width);
    drawing.replaceChildren(...parts);
    const shown = point ?? list.at(-1);
    say(read, shown ? words(shown) : '');
    const number = shown ? list.indexOf(shown) : 0;
    cursor.setAttribute('aria-valuemax', Math.max(0, list.length - 1));
    cursor.setAttribute('aria-valuenow', Math.max(0, number));
    cursor.setAttribute('aria-valuetext', shown ? words(shown) : 'no samples yet');
    say(summary, lines.map((line) => {
      const values = list.map((one) => one[line.key]).filter(Number.isFinite);
      return values.length ? `${line.label}: from ${format(Math.min(...values))} to ${format(Math.max(...values))}.` : '';
    }).join(' '));
    tabulate();
  }

  cursor.addEventListener('pointermove', (event) => {
    const box = cursor.getBoundingClientRect();
    const now = samples.at(-1)?.t ?? 0;
    at = now - spread + ((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * spread;
    draw();
  });
  cursor.addEventListener('pointerleave', () => { at = null; draw(); });
  cursor.addEventListener('blur', () => { at = null; draw(); });
  cursor.addEventListener('keydown', (event) => {
    const list = real();
    if (!list.length) return;
    const here = at === null ? list.length - 1 : list.findIndex((point) => point.t >= at);
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: list.length - 1, PageUp: here + 10, PageDown: here - 10 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    at = list[Math.min(Math.max(to, 0), list.length - 1)].t;
    draw();
  });
  new ResizeObserver(([entry]) => {
    const next = Math.max(120, Math.floor(entry.contentRect.width));
    if (next !== width) { width = next; draw(); }
  }).observe(cursor);
  draw();
  return { el, update(list) { samples = list; draw(); } };
}

/** A small line for a row of a table; the numbers beside it say the same. */
export const spark = () => svg('svg', { class: 'spark', width: 96, height: 18, viewBox: '0 0 96 18', 'aria-hidden': 'true', focusable: 'false' },
  svg('path', { class: 'line a' }), svg('path', { class: 'line b' }));

export function drawSpark(drawing, samples, keys) {
  const points = samples.slice(-60);
  const most = Math.max(1, ...points.flatMap((point) => keys.map((key) => point[key] || 0)));
  const now = points.at(-1)?.t ?? 0;
  const x = (t) => 96 - ((now - t) / 60_000) * 96;
  const y = (value) => 16.5 - (value / most) * 15;
  keys.forEach((key, at) => drawing.children[at]?.setAttribute('d', path(points.filter((point) => point.t > now - 60_000), x, y, key)));
}
