// One search over everything that has a name.

import { get, maybe, part } from './api.js';
import { h, link, replace, section } from './dom.js';
import { plural } from './format.js';
import { matches, services } from './services.js';

const MOST = 50;

export function searchView({ query }) {
  const text = query.get('q') ?? '';
  const wanted = text.toLowerCase();
  const place = h('div', { 'aria-live': 'polite' });
  const has = (...parts) => parts.flat().some((one) => typeof one === 'string' && one.toLowerCase().includes(wanted));
  const group = (title, items) => items.length > 0 && section(`${title}: ${items.length}`, null,
    h('ul', { class: 'plainlist' }, items.slice(0, MOST).map((item) => h('li', null, item))), items.length > MOST && h('p', { class: 'quiet' }, `The first ${MOST}.`));
  async function refresh() {
    const [{ list }, targets, certificates, connections] = await Promise.all([
      services(), maybe('/api/tcp/targets'), maybe('/api/certificates'), get('/api/tcp/connections?limit=2000')]);
    const found = [
      group('Services', list.filter((one) => matches(one, text)).map((one) => [link(`#/services/${part(one.id)}`, one.name || one.id), h('span', { class: 'quiet mono' }, ` ${one.id} ${one.port ?? ''}`)])),
      group('Targets', (targets ?? []).filter((one) => has(one.target, one.addresses ?? [])).map((one) => [link(`#/services/${part(one.service)}`, one.target), h('span', { class: 'quiet' }, ` of ${one.service}, ${one.health?.status ?? ''}`)])),
      group('Certificates', (certificates ?? []).filter((one) => has(one.names ?? [], one.subject, one.file, one.sha256)).map((one) => [link('#/certificates', (one.names ?? []).join(', ') || one.subject)])),
      group('Connections', connections.connections.filter((one) => has(one.remote, one.sni, one.target, one.id)).map((one) => [
        link(`#/connections?${new URLSearchParams(one.sni ? { sni: one.sni } : { source: (one.remote ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '') })}`, `${one.remote ?? 'unknown'} to ${one.target ?? 'no target'}`), h('span', { class: 'quiet' }, one.sni ? ` ${one.sni}` : '')])),
    ].filter(Boolean);
    replace(place, found.length ? found : h('p', { class: 'quiet' }, 'Nothing found.'));
    place.setAttribute('aria-label', plural(found.length, 'group'));
  }
  return { title: `Search: ${text}`, el: h('div', null, h('h1', null, `Search: ${text}`), place), refresh, every: 0 };
}
