// Targets with their health, and draining them.

import { call, get, part } from './api.js';
import { open, notice } from './dialog.js';
import { button, facts, fresh, h, link, tag } from './dom.js';
import { byteRate, count, plural, rate, span, when } from './format.js';
import { latest } from './live.js';
import { table } from './table.js';

const KINDS = { Up: 'good', Down: 'bad', Ejected: 'warn', Pending: 'warn' };

/** Asks how to drain, and does it. `post(body)` is the call. */
export async function drainDialog({ what, draining, post, live }) {
  if (draining) {
    return open({ title: `Put ${what} back`, confirm: 'Put back', body: [h('p', null, 'It gets new connections again.')], act: async () => { await post({ drain: false }); notice(`${what} is back`); } });
  }
  const id = fresh('after');
  const after = h('input', { id, placeholder: 'never', autocomplete: 'off', size: 8 });
  return open({
    title: `Drain ${what}`, confirm: 'Drain', danger: true,
    body: [
      h('p', null, `It gets no new connections. ${Number.isFinite(live) ? `${plural(live, 'connection')} now.` : ''}`),
      h('label', { for: id }, 'Cut those that are left after'), after, h('p', { class: 'help' }, 'As 30s, 5m, 1h. Empty: they run to their own end.'),
    ],
    act: async () => {
      const closeAfter = after.value.trim();
      await post({ drain: true, ...(closeAfter && { closeAfter }) });
      notice(`${what} is draining`);
    },
  });
}

function detail(row) {
  const health = row.health ?? {};
  const failure = health.lastFailure;
  open({
    title: row.target, confirm: null, cancel: 'Close', wide: true,
    body: [
      facts([
        ['Service', row.service], ['Rule', row.rule], ['Addresses', (row.addresses ?? []).join(', ')], ['State', row.draining ? `${health.status}, draining` : health.status],
        ['Since', health.since && when(health.since)], ['Changes', count(health.changes)], ['Connections', count(health.connections)],
        ['Weight', row.weight], ['Tier', row.tier], ['Share', `${health.share} %`], ['Most connections', row.maxConnections],
        ['Checks passed', health.checked ? count(health.passed) : 'never checked'], ['Checks failed', count(health.failed)],
        ['Last check', health.lastCheck && `${when(health.lastCheck)}, took ${span(health.took)}`],
        ['Ejected', health.ejections ? `${plural(health.ejections, 'time')}${health.ejectedUntil ? `, until ${when(health.ejectedUntil)}` : ''}` : null],
      ]),
      failure && [h('h3', null, `Last check that failed, ${when(failure.at)}`), h('p', null, failure.reason),
        failure.transcript?.length > 0 && h('pre', { tabindex: 0, 'aria-label': 'What was said' }, failure.transcript.join('\n'))],
    ],
  });
}

/** The table of targets; `of`: only those of one service. */
export function targetTable(of) {
  const rates = (row) => latest(`target ${row.service} ${row.target}`);
  const moved = (row) => (rates(row).bytesIn ?? NaN) + (rates(row).bytesOut ?? NaN);
  const list = table({
    caption: of ? `Targets of ${of}` : 'Targets', key: (row) => `${row.service} ${row.rule} ${row.target}`, empty: 'No targets.',
    columns: [
      { label: 'Target', head: true, by: (row) => row.target, make: (row) => button(row.target, () => detail(node(row)), { class: 'mono plain' }) },
      !of && { label: 'Service', by: (row) => row.service, make: (row) => link(`#/services/${part(row.service)}`, row.service) },
      { label: 'Rule', num: true, text: (row) => row.rule, by: (row) => row.rule },
      { label: 'State', by: (row) => row.health?.status, make: () => tag(''), patch: (tagged, row) => {
        const status = row.health?.status ?? '–';
        tagged.textContent = row.draining ? `${status}, draining` : status;
        tagged.className = `tag ${row.draining ? 'warn' : KINDS[status] ?? ''}`;
      } },
      { label: 'Why', cls: 'wrap', text: (row) => (row.health?.status === 'Up' ? '' : row.health?.lastFailure?.reason ?? '') },
      { label: 'Connections', num: true, text: (row) => count(row.health?.connections), by: (row) => row.health?.connections },
      { label: 'Accepted', num: true, text: (row) => rate(rates(row).accepted), by: (row) => rates(row).accepted },
      { label: 'In', num: true, text: (row) => byteRate(rates(row).bytesIn), by: (row) => rates(row).bytesIn },
      { label: 'Out', num: true, text: (row) => byteRate(rates(row).bytesOut), by: moved },
      { label: 'Share', num: true, text: (row) => `${row.health?.share ?? '–'} %` },
      { label: 'Weight', num: true, text: (row) => `${row.weight}${row.tier ? ` tier ${row.tier}` : ''}`, by: (row) => row.weight },
      { label: 'Checks', num: true, text: (row) => (row.health?.checked ? `${count(row.health.passed)} / ${count(row.health.failed)}` : 'none') },
      { label: '', name: 'Drain', cls: 'changes', make: (row) => button('', () => {
        const now = node(row);
        drainDialog({
          what: now.target, draining: now.draining, live: now.health?.connections,
          post: (body) => call('POST', '/api/tcp/targets/drain', { body: { target: now.target, service: now.service, ...body } }),
        }).then(() => refresh());
      }), patch: (made, row) => {
        made.hidden = row.draining === undefined;
        made.textContent = row.draining ? 'Put back' : 'Drain';
        made.setAttribute('aria-label', `${made.textContent} ${row.target}`);
      } },
    ].filter(Boolean),
  });
  /** What a row is by now. */
  const node = (row) => list.rows.find((one) => one.service === row.service && one.rule === row.rule && one.target === row.target) ?? row;
  async function refresh() {
    try {
      list.update(await get(`/api/tcp/targets${of ? `?service=${part(of)}` : ''}`));
    } catch (error) {
      if (!error.absent) throw error;
      list.update([]);
    }
  }
  return { el: list.el, refresh, redraw: () => list.update(list.rows) };
}

export function targetsView() {
  const list = targetTable(null);
  return {
    title: 'Targets',
    el: h('div', null, h('h1', null, 'Targets'), list.el),
    every: 2000, refresh: list.refresh, tick: list.redraw,
  };
}
