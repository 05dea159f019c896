// What codes mean: /api/codes, asked once each.

import { get, part } from './api.js';
import { button, h } from './dom.js';
import { open } from './dialog.js';

const known = new Map();

/** What a code means, or null where the proxy cannot say. */
export async function meaning(code) {
  if (!known.has(code)) {
    try {
      known.set(code, await get(`/api/codes/${part(code)}`));
    } catch (error) {
      if (!error.absent) return null;
      known.set(code, null);
    }
  }
  return known.get(code);
}

const SHOWN = ['help', 'text', 'explanation', 'hint'];

/** The texts of a meaning: what it is in a few words, then paragraphs. */
export function texts(found) {
  const head = found.summary ?? found.title ?? '';
  const paragraphs = SHOWN.map((name) => found[name]).filter((text) => typeof text === 'string' && text !== head);
  return { head, paragraphs, example: typeof found.example === 'string' ? found.example : '' };
}

/** A button that shows what a code means. */
export function codeButton(code, label = code) {
  return button(label, async () => {
    const found = await meaning(code);
    const said = found ? texts(found) : { head: 'The proxy has no explanation of this code.', paragraphs: [] };
    open({
      title: `${code}: ${said.head}`, confirm: null, cancel: 'Close',
      body: [said.paragraphs.map((text) => h('p', { class: 'prose' }, text)), said.example && h('pre', null, said.example)],
    });
  }, { class: 'code', 'aria-label': `What ${label} means` });
}
