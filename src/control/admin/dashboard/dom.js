// Making elements. Text is only ever set as text: nothing in these files parses markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value') element.value = value;
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  append(element, children);
  return element;
}

/** Appends texts and nodes; lists are flattened, what is empty is left out. */
export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** An element: h('a', { href: '#' }, 'text', …). Names that begin with `on` are listeners. */
export const h = (tag, properties, ...children) =>
  fill(document.createElement(tag), properties, children);

/** An element of a drawing. */
export const svg = (tag, properties, ...children) =>
  fill(document.createElementNS(SVG, tag), properties, children);

/** Sets a text where it has changed, so that readers hear of changes only. */
export function say(element, text) {
  const wanted = String(text ?? '');
  if (element.textContent !== wanted) element.textContent = wanted;
  return element;
}

/** Replaces what is in an element. */
export function replace(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

let last = 0;
/** An id that nothing else has. */
export const fresh = (prefix = 'x') => `${prefix}-${++last}`;

export const button = (label, onclick, more) =>
  h('button', { type: 'button', onclick, ...more }, label);

export const link = (href, text, more) => h('a', { href, ...more }, text);

/** A short word with a colour; the word says it all. */
export const tag = (text, kind = '') => h('span', { class: `tag ${kind}` }, text);

/** A list of names and values. */
export const facts = (pairs) =>
  h('dl', { class: 'facts' }, pairs.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined && pair[1] !== '')
    .map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))));

/** A part of a page with its heading. */
export const section = (title, more, ...children) => {
  const id = fresh('s');
  return h('section', { 'aria-labelledby': id, ...more },
    h('div', { class: 'head' }, h('h2', { id }, title)), ...children);
};
