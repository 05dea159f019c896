// One service: what it carries, its rules as they are read, its targets, its connections.

import { call, maybe, part, serviceUrl } from './api.js';
import { connectionTable } from './connections.js';
import { notice, open } from './dialog.js';
import { readPattern } from './document.js';
import { button, facts, h, link, replace, section, tag } from './dom.js';
import { count, plural } from './format.js';
import { latest, series } from './live.js';
import { alive, arrivals, throughput } from './overview.js';
import { planView } from './plan.js';
import { isOwn, oneService, owner } from './services.js';
import { drainDialog, targetTable } from './targets.js';

/** The document as a file would have it. */
export const bare = ({ _meta, ...rest }) => rest;

export const targetText = (target) => {
  if (target.srv) return `srv ${target.srv}`;
  const host = target.host ?? target.ip ?? '?';
  const where = host.startsWith?.('unix:') ? host : `${host.includes?.(':') ? `[${host}]` : host}:${target.port ?? 8080}`;
  return [where, target.ip && target.host && `at ${target.ip}`, target.tls && 'TLS', target.reject && 'refuses', target.backup && 'backup', target.tier && `tier ${target.tier}`, target.weight !== undefined && target.weight !== 1 && `weight ${target.weight}`].filter(Boolean).join(', ');
};

const conditions = (rule) => [
  rule.alpn?.length && `ALPN ${rule.alpn.join(', ')}`, rule.sources?.length && `from ${rule.sources.join(', ')}`,
  rule.clientCertificate && `client certificate ${Object.entries(rule.clientCertificate).map(([name, value]) => `${name} ${value}`).join(', ')}`,
].filter(Boolean);

function rulesTable(service) {
  const rules = service.rules ?? [];
  const byName = service.sni?.enabled;
  return h('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'Rules' }, h('table', null, h('caption', { class: 'hidden-label' }, 'Rules, in the order in which they are tried'),
    h('thead', null, h('tr', null, ['Rule', 'Pattern', 'Read as', 'Further conditions', 'Targets', 'Balancing'].map((text) => h('th', { scope: 'col' }, text)))),
    h('tbody', null, rules.map((rule, at) => h('tr', null,
      h('th', { scope: 'row' }, at),
      h('td', { class: 'mono wrap' }, rule.domain ?? '*'),
      h('td', { class: 'wrap' }, byName ? readPattern(rule.domain ?? '*').text : 'not used: the service does not route by name'),
      h('td', { class: 'wrap' }, conditions(rule).join('; ') || 'none'),
      h('td', { class: 'wrap' }, h('ul', { class: 'plainlist mono' }, (rule.targets ?? []).map((target) => h('li', null, targetText(target))), rule.discovery && h('li', null, `those found at ${rule.discovery.url}`))),
      h('td', null, rule.loadBalancing ?? service.loadBalancing ?? 'RoundRobin'))))));
}

async function remove(service, go) {
  const place = h('div');
  const held = latest(`service ${service.id}`).connections;
  const body = [h('p', null, `${service.name || service.id} is no longer served. ${Number.isFinite(held) ? `${plural(held, 'connection')} now.` : ''}`), place];
  call('DELETE', `${serviceUrl(service.id)}?dryRun=true`).then(({ data }) => { if (data?.listeners) replace(place, planView(data)); }, () => {});
  const done = await open({ title: `Delete ${service.name || service.id}?`, confirm: 'Delete', danger: true, body, act: async () => {
    await call('DELETE', serviceUrl(service.id), { headers: service._meta?.etag ? { 'If-Match': etag(service._meta.etag) } : {} });
    notice(`${service.name || service.id} was deleted`);
  } });
  if (done) go('#/services');
}

export const etag = (text) => (/^(W\/)?".*"$/.test(text) ? text : `"${text}"`);

async function copy(service) {
  const text = `${JSON.stringify(bare(service), null, 2)}\n`;
  try {
    await navigator.clipboard.writeText(text);
    notice('Copied as JSON');
  } catch {
    // Without a secure origin there is no clipboard: the text is there to be selected.
    const area = h('textarea', { readonly: true, rows: 20, 'aria-label': 'The service as JSON', value: text });
    open({ title: 'The service as JSON', wide: true, confirm: null, cancel: 'Close', body: [area] });
    area.select();
  }
}

export function serviceView({ id, go }) {
  const graphs = [throughput(), alive(), arrivals()];
  const head = h('div', { class: 'head' }, h('h1', null, id));
  const about = h('div');
  const rules = h('div');
  const targets = targetTable(id);
  const connections = connectionTable(() => ({ service: id }));
  let shown = '';

  function tick() {
    for (const one of graphs) one.update(series(`service ${id}`));
    targets.redraw();
  }

  async function refresh() {
    const service = await oneService(id);
    if (!service) {
      replace(head, h('h1', null, id));
      replace(about, h('p', { class: 'error', role: 'alert' }, 'There is no such service (any more). '), link('#/services', 'All services'));
      for (const part_ of [rules, ...graphs.map((one) => one.el)]) part_.hidden = true;
      return;
    }
    const addresses = ((await maybe('/api/tcp/addresses')) ?? []).filter((one) => one.services?.includes(id));
    const key = JSON.stringify([service, addresses]);
    if (key !== shown) {
      shown = key;
      const draining = Boolean(service.draining ?? service._meta?.draining);
      const own = isOwn(service);
      replace(head, h('h1', null, service.name || id), ' ',
        tag(service.enabled === false ? 'disabled' : draining ? 'draining' : 'served', service.enabled === false ? '' : draining ? 'warn' : 'good'),
        h('div', { class: 'actions' },
          own ? link(`#/services/${part(id)}/edit`, 'Edit', { class: 'button changes' }) : !service.partial && link(`#/services/${part(id)}/edit`, 'View as form', { class: 'button' }),
          !service.partial && button('Copy as JSON', () => copy(service)),
          button('Drain', () => drainDialog({
            what: service.name || id, draining: false, live: latest(`service ${id}`).connections,
            post: (body) => call('POST', `${serviceUrl(id)}/drain`, { body }) }).then(refresh), { class: 'changes', hidden: draining }),
          button('Put back', () => drainDialog({ what: service.name || id, draining: true, post: (body) => call('POST', `${serviceUrl(id)}/drain`, { body }) }).then(refresh), { class: 'changes', hidden: !draining }),
          own && button('Delete', () => remove(service, go), { class: 'danger changes' })));
      replace(about, service.description && h('p', { class: 'prose' }, service.description), !service.partial && facts([
        ['Id', h('span', { class: 'mono' }, service.id)], ['Address', h('span', { class: 'mono' }, `${service.interface}:${service.port}`)],
        ['Listener', addresses.map((one) => `${one.state}, ${plural(one.connections, 'connection')}`).join('; ')],
        ['TLS', service.tls], ['Client certificates', service.clientAuth], ['Routes by name', service.sni?.enabled ? 'yes' : 'no'],
        ['Where no rule fits', service.sni?.enabled ? (service.sni.forwardIfNoMatch && service.sni.forwardsTo ? targetText(service.sni.forwardsTo) : 'refused') : null],
        ['Balancing', service.loadBalancing ?? 'RoundRobin'], ['Health check', service.healthCheck ? `each ${service.healthCheck.interval ?? '–'}` : 'none'],
        ['Most connections', service.limits?.connections && count(service.limits.connections)],
        ['Owner', own ? 'this API' : [owner(service), service._meta?.place && [': edit ', h('span', { class: 'mono' }, service._meta.place)]]],
        ['Tags', (service.tags ?? []).join(', ')],
        ...Object.entries(service.metadata ?? {}),
      ]));
      replace(rules, !service.partial && section('Rules', null, rulesTable(service)));
    }
    await Promise.all([targets.refresh(), connections.refresh()]);
  }

  return {
    title: id,
    el: h('div', null, h('nav', { class: 'crumbs', 'aria-label': 'Where you are' }, link('#/services', 'Services')), head,
      h('div', { class: 'graphs' }, graphs.map((one) => one.el)), about, rules,
      section('Targets', null, targets.el), section('Connections', null, connections.el)),
    tick, refresh, every: 3000,
  };
}
