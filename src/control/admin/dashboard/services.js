// The services: a table with what each carries now.

import { ApiError, get, maybe, part } from './api.js';
import { h, link, tag } from './dom.js';
import { byteRate, count, rate } from './format.js';
import { drawSpark, spark } from './graph.js';
import { latest, live, series } from './live.js';
import { table } from './table.js';

/** The services as documents; of a proxy that does not list them, what its traffic tells. */
export async function services() {
  const found = await maybe('/api/tcp/services');
  if (found) return { list: found, whole: true };
  return { list: (live.traffic?.services ?? []).map(({ id, name }) => ({ id, name, rules: [] })), whole: false };
}

export const owner = (service) => service._meta?.owner ?? '–';
export const isOwn = (service) => service._meta?.owner === 'api';

/** The patterns of a service, for one cell. */
const patterns = (service) => (service.sni?.enabled ? (service.rules ?? []).map((rule) => rule.domain ?? '*').join(', ') : '');
const targets = (service) => (service.rules ?? []).reduce((sum, rule) => sum + (rule.targets?.length ?? 0), 0);

/** Whether a text is found in what a service says of itself. */
export function matches(service, text) {
  const wanted = text.toLowerCase();
  const parts = [service.id, service.name, service.description, String(service.port), ...(service.tags ?? []),
    ...(service.rules ?? []).flatMap((rule) => [rule.domain, ...(rule.targets ?? []).flatMap((target) => [target.host, target.ip, `${target.host}:${target.port}`])])];
  return parts.some((one) => typeof one === 'string' && one.toLowerCase().includes(wanted));
}

export function serviceTable(empty) {
  const now = (row) => latest(`service ${row.id}`);
  return table({
    caption: 'Services', key: (row) => row.id, empty, sort: 0,
    columns: [
      { label: 'Service', head: true, by: (row) => (row.name || row.id).toLowerCase(), cls: 'wrap',
        make: (row) => h('span', null, link(`#/services/${part(row.id)}`, ''), h('span', { class: 'quiet mono' })),
        patch: (node, row) => {
          const [anchor, id] = node.children;
          const name = row.name || row.id;
          if (anchor.textContent !== name) anchor.textContent = name;
          const more = row.name && row.name !== row.id ? ` ${row.id}` : '';
          if (id.textContent !== more) id.textContent = more;
        } },
      { label: 'Address', text: (row) => (row.port ? `${row.interface ?? '0.0.0.0'}:${row.port}` : '–'), by: (row) => row.port, cls: 'mono' },
      { label: 'TLS', text: (row) => (row.tls ? `${row.tls}${row.clientAuth && row.clientAuth !== 'None' ? `, client ${row.clientAuth}` : ''}` : '–'), by: (row) => row.tls },
      { label: 'Rules', cls: 'wrap mono', text: (row) => patterns(row) || (row.rules?.length ? `${count(row.rules.length)}` : '–'), by: (row) => row.rules?.length },
      { label: 'Targets', num: true, text: (row) => (row.rules?.length ? count(targets(row)) : '–'), by: targets },
      { label: 'Connections', num: true, text: (row) => count(now(row).connections), by: (row) => now(row).connections },
      { label: 'Accepted', num: true, text: (row) => rate(now(row).accepted), by: (row) => now(row).accepted },
      { label: 'Failed', num: true, text: (row) => rate(now(row).failed), by: (row) => now(row).failed },
      { label: 'In', num: true, text: (row) => byteRate(now(row).bytesIn), by: (row) => now(row).bytesIn },
      { label: 'Out', num: true, text: (row) => byteRate(now(row).bytesOut), by: (row) => now(row).bytesOut },
      { label: 'Last minute', make: spark, patch: (node, row) => drawSpark(node, series(`service ${row.id}`), ['bytesIn', 'bytesOut']) },
      { label: 'Owner', text: owner, by: owner },
      { label: 'State', by: (row) => String(row.enabled), make: () => tag(''), patch: (node, row) => {
        const state = row.enabled === false ? 'disabled' : row.draining || row._meta?.draining ? 'draining' : 'served';
        node.textContent = state;
        node.className = `tag ${state === 'served' ? 'good' : state === 'draining' ? 'warn' : ''}`;
      } },
    ],
  });
}

export function servicesView({ query }) {
  const list = serviceTable('No services.');
  const create = link('#/new', 'New service', { class: 'button primary changes', hidden: true });
  const refresh = async () => {
    const found = await services();
    const wanted = query.get('q');
    create.hidden = !found.whole;
    list.update(wanted ? found.list.filter((one) => matches(one, wanted)) : found.list);
  };
  return {
    title: 'Services',
    el: h('div', null, h('div', { class: 'head' }, h('h1', null, 'Services'), create), list.el),
    refresh, every: 5000, tick: () => list.update(list.rows),
  };
}

/** One service, or what its file and traffic tell where this proxy has no services' API. */
export async function oneService(id) {
  try {
    return await get(`/api/tcp/services/${part(id)}`);
  } catch (error) {
    if (!(error instanceof ApiError) || !error.absent) throw error;
    const known = (live.traffic?.services ?? []).find((one) => one.id === id);
    return known ? { id, name: known.name, rules: [], partial: true } : null;
  }
}
