// A service's document: places in it, what its patterns mean, what the schema says of its keys.

import { maybe } from './api.js';

/** A place as diagnostics write it: rules[0].targets[1].port. */
export const place = (path) => path.reduce((text, key) => (typeof key === 'number' ? `${text}[${key}]` : text ? `${text}.${key}` : key), '');

/** A diagnostic's place within the service, whatever file it is in. */
export const within = (text) => String(text ?? '').replace(/^\$\.?/, '').replace(/^services\[\d+\]\.?/, '');

export const read = (document_, path) => path.reduce((value, key) => (value === null || value === undefined ? undefined : value[key]), document_);

/** Sets a member and makes the objects on the way; undefined takes it out. */
export function write(document_, path, value) {
  let at = document_;
  path.slice(0, -1).forEach((key, n) => {
    if (at[key] === null || typeof at[key] !== 'object') {
      if (value === undefined) return;
      at[key] = typeof path[n + 1] === 'number' ? [] : {};
    }
    if (at) at = at[key];
  });
  const key = path.at(-1);
  if (at === null || typeof at !== 'object') return;
  if (value === undefined) delete at[key];
  else at[key] = value;
}

/** How a name pattern is read. The proxy decides; this says it while somebody types. */
export function readPattern(text) {
  const inside = /^(Regex|Wildcard)\((.*)\)$/s.exec(text);
  if (inside) return inside[1] === 'Regex' ? { kind: 'regex', text: `regular expression over the whole name: ${inside[2]}` } : { kind: 'glob', text: `glob: ${inside[2]}` };
  if (text === '*') return { kind: 'any', text: 'every name, and connections without one' };
  if (/^[A-Za-z0-9_.-]+$/.test(text)) return { kind: 'exact', text: `exactly ${text.toLowerCase().replace(/\.$/, '')}` };
  if (/^[A-Za-z0-9_.*-]+$/.test(text) && !text.includes('.*')) return { kind: 'glob', text: 'glob; * crosses dots' };
  return text ? { kind: 'regex', text: 'regular expression over the whole name' } : { kind: 'none', text: 'empty: matches nothing' };
}

/** A new service, where the proxy has no template. */
export const blank = () => ({
  name: '', description: '', enabled: true, port: null, interface: '0.0.0.0', tls: 'Disabled', clientAuth: 'None',
  sni: { enabled: false, forwardIfNoMatch: false }, rules: [{ domain: '*', targets: [{ host: '', port: 8080, tls: false }] }], tags: [], metadata: {},
});

let schema = null;

/** Asks for the schema, whose texts are the manual of the form. */
export async function loadSchema() {
  schema ??= (await maybe('/api/schema').catch(() => null)) ?? {};
}

function follow(node) {
  let at = node;
  for (let steps = 0; at && steps < 8; steps += 1) {
    if (at.$ref) {
      const found = at.$ref.replace(/^#\//, '').split('/').reduce((place_, key) => place_?.[key], schema);
      at = { ...found, ...(at.description && { description: at.description }) };
    } else if (at.anyOf && !at.properties) {
      const chosen = at.anyOf.find((one) => one.$ref || one.properties) ?? null;
      if (!chosen) return at;
      at = { ...chosen, ...(at.description && { description: at.description }) };
    } else return at;
  }
  return at;
}

/** The first sentences of what the manual says of a key. */
export function manual(path) {
  let at = follow({ $ref: '#/$defs/Service' });
  for (const key of path) {
    at = follow(typeof key === 'number' ? at?.items : at?.properties?.[key]);
    if (!at) return '';
  }
  const text = (at.description ?? '').replaceAll('`', '').replaceAll(/\s+/g, ' ');
  if (text.length <= 160) return text;
  const end = text.slice(0, 160).lastIndexOf('. ');
  return end > 40 ? text.slice(0, end + 1) : `${text.slice(0, 157)}…`;
}
