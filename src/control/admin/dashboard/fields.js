// The fields of a form, each bound to a place in the document. What a field cannot show stays as it is.

import { button, fresh, h, say } from './dom.js';
import { manual, place } from './document.js';

/** How a kind of field is made, shown and read; `read` gives undefined to take the member out. */
const KINDS = {
  text: { make: () => h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false' }), show: (input, value) => { input.value = value ?? ''; }, read: (input) => input.value || undefined },
  always: { make: () => h('input', { type: 'text', autocomplete: 'off' }), show: (input, value) => { input.value = value ?? ''; }, read: (input) => input.value },
  number: { make: () => h('input', { type: 'text', inputmode: 'numeric', autocomplete: 'off', class: 'number' }), show: (input, value) => { input.value = value ?? ''; },
    // What is no number is sent as it is written: the proxy says what is wrong with it.
    read: (input) => { const text = input.value.trim(); return text === '' ? undefined : /^-?\d+$/.test(text) ? Number(text) : text; } },
  check: { make: () => h('input', { type: 'checkbox' }), show: (input, value) => { input.checked = value === true; }, read: (input) => input.checked },
  select: { make: (spec) => h('select', null, spec.options.map((option) => { const [value, label] = [option].flat(); return h('option', { value }, label ?? value); })),
    show: (input, value) => {
      const wanted = value ?? '';
      if (![...input.options].some((option) => option.value === String(wanted))) input.append(h('option', { value: wanted }, wanted === '' ? 'default' : typeof wanted === 'object' ? 'as in the JSON' : wanted));
      input.value = wanted;
    },
    read: (input) => input.value || undefined },
  lines: { make: (spec) => h('textarea', { rows: spec.rows ?? 2, spellcheck: 'false' }), show: (input, value) => { input.value = Array.isArray(value) ? value.join('\n') : value ?? ''; },
    read: (input, spec) => { const list = input.value.split('\n').map((one) => one.trim()).filter(Boolean); return list.length ? (spec.numbers ? list.map((one) => (/^\d+$/.test(one) ? Number(one) : one)) : list) : spec.empty; } },
  pairs: { make: () => h('textarea', { rows: 2, spellcheck: 'false' }), show: (input, value) => { input.value = Object.entries(value ?? {}).map(([name, one]) => `${name} = ${one}`).join('\n'); },
    read: (input) => Object.fromEntries(input.value.split('\n').filter((line) => line.trim()).map((line) => { const at = line.indexOf('='); return at < 0 ? [line.trim(), ''] : [line.slice(0, at).trim(), line.slice(at + 1).trim()]; })) },
  json: { make: (spec) => h('textarea', { rows: spec.rows ?? 4, spellcheck: 'false', class: 'mono' }), show: (input, value) => { input.value = value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value, null, 1); },
    read: (input) => { const text = input.value.trim(); if (!text) return undefined; try { return JSON.parse(text); } catch { return text; } } },
};

/** One field. spec: { kind, label, options, placeholder, help, small } */
export function field(form, path, spec) {
  const kind = KINDS[spec.kind ?? 'text'];
  const id = fresh('f');
  const input = kind.make(spec);
  const get = spec.get ?? (() => form.get(path));
  input.id = id;
  if (spec.placeholder) input.placeholder = spec.placeholder;
  if (spec.size) input.size = spec.size;
  input.disabled = form.readOnly;
  kind.show(input, get() === undefined ? spec.default : get());
  const text = spec.help ?? (spec.small ? '' : manual(path));
  const help = text ? h('p', { class: 'help', id: `${id}-h` }, text) : null;
  const live = spec.reading ? h('p', { class: 'help reading', 'aria-live': 'polite' }, spec.reading(input.value)) : null;
  const error = h('p', { class: 'error', id: `${id}-e`, 'aria-live': 'polite' });
  input.setAttribute('aria-describedby', `${help ? `${id}-h ` : ''}${id}-e`);
  if (spec.small) input.title = manual(path);
  input.addEventListener(['check', 'select'].includes(spec.kind) ? 'change' : 'input', () => {
    const value = kind.read(input, spec);
    if (spec.set) spec.set(value);
    else form.set(path, value);
    if (live) say(live, spec.reading(input.value));
  });
  const label = h('label', { for: id }, spec.label);
  const check = spec.kind === 'check';
  return h('div', { class: `field ${check ? 'check' : ''} ${spec.wide ? 'wide' : ''}`, 'data-path': place(path) },
    check ? [h('div', { class: 'pair' }, input, label)] : [label, input], live, help, error);
}

/** A group with a place of its own, so that what is said of all of it is shown. */
export const group = (path, title, more, ...children) => h('fieldset', { 'data-path': place(path), ...more },
  h('legend', null, title), h('p', { class: 'error', 'aria-live': 'polite' }), children);

/** A section that folds; it remembers whether it is open. */
export function fold(form, name, title, ...children) {
  const element = h('details', { open: form.open.has(name), 'data-fold': name, ontoggle: () => { if (element.open) form.open.add(name); else form.open.delete(name); } },
    h('summary', null, title, h('span', { class: 'badge', hidden: true })), h('div', { class: 'fields' }, children));
  return element;
}

/** A switch for an object that may be absent, with its fields while it is there. */
export function optional(form, path, label, first, ...children) {
  const id = fresh('o');
  const there = form.get(path) !== undefined && form.get(path) !== null;
  const box = h('input', { type: 'checkbox', id, checked: there, disabled: form.readOnly, onchange: () => {
    form.set(path, box.checked ? first() : undefined);
    form.render(`#${CSS.escape(place(path))}`);
  } });
  box.dataset.focus = place(path);
  return h('div', { class: 'optional wide', 'data-path': place(path) },
    h('div', { class: 'pair' }, box, h('label', { for: id }, label)), h('p', { class: 'error', 'aria-live': 'polite' }),
    there && h('div', { class: 'fields' }, children));
}

/** The buttons of an entry of a list: up, down, away. */
export function moves(form, path, at, length, what) {
  if (form.readOnly) return null;
  const list = () => form.get(path);
  const move = (to) => () => { const [one] = list().splice(at, 1); list().splice(to, 0, one); form.changed(); form.render(place([...path, to])); };
  return h('div', { class: 'moves' },
    length > 1 && button('Up', move(at - 1), { disabled: at === 0, 'aria-label': `Move ${what} up` }),
    length > 1 && button('Down', move(at + 1), { disabled: at === length - 1, 'aria-label': `Move ${what} down` }),
    button('Remove', () => { list().splice(at, 1); form.changed(); form.render(place(path)); }, { 'aria-label': `Remove ${what}` }));
}

export const adder = (form, path, label, entry) => !form.readOnly && button(label, () => {
  const list = form.get(path);
  if (Array.isArray(list)) list.push(entry());
  else form.set(path, [entry()]);
  form.changed();
  form.render(place([...path, form.get(path).length - 1]));
}, { 'data-focus': place(path) });
