// The addresses that are listened on.

import { get, maybe, part } from './api.js';
import { h, link, tag } from './dom.js';
import { count } from './format.js';
import { table } from './table.js';

/** The addresses; of a proxy that does not list them, from its services. */
export async function addresses() {
  const found = await maybe('/api/tcp/addresses');
  if (found) return found;
  const services = (await maybe('/api/tcp/services')) ?? [];
  const all = new Map();
  for (const one of services.filter((service) => service.enabled !== false)) {
    const address = `${one.interface}:${one.port}`;
    const entry = all.get(address) ?? { address, interface: one.interface, port: one.port, services: [], tls: [], state: 'listening' };
    entry.services.push(one.id);
    if (!entry.tls.includes(one.tls)) entry.tls.push(one.tls);
    all.set(address, entry);
  }
  return [...all.values()];
}

export function listenersView() {
  const list = table({
    caption: 'Listening addresses', key: (row) => row.address, empty: 'Nothing is listened on.', sort: 0,
    columns: [
      { label: 'Address', head: true, text: (row) => row.address, by: (row) => row.address, cls: 'mono' },
      { label: 'Port', num: true, text: (row) => row.port, by: (row) => row.port },
      { label: 'State', by: (row) => row.state, make: () => tag(''), patch: (node, row) => {
        node.textContent = row.state ?? '–';
        node.className = `tag ${row.state === 'listening' ? 'good' : 'warn'}`;
      } },
      { label: 'Connections', num: true, text: (row) => count(row.connections), by: (row) => row.connections },
      { label: 'TLS', text: (row) => (row.tls ?? []).join(', ') },
      { label: 'Services', cls: 'wrap', make: () => h('span'), patch: (node, row) => {
        const shown = JSON.stringify(row.services);
        if (node.dataset.shown === shown) return;
        node.dataset.shown = shown;
        node.replaceChildren(...(row.services ?? []).flatMap((id, at) => [at ? ', ' : '', link(`#/services/${part(id)}`, id)]));
      } },
    ],
  });
  return {
    title: 'Listeners',
    el: h('div', null, h('h1', null, 'Listeners'), list.el),
    every: 3000,
    async refresh() { list.update(await addresses()); },
  };
}
