// The first page: how much, how fast, why connections ended, what was configured last.

import { call, maybe } from './api.js';
import { diagnostics, findings, refused } from './diagnostics.js';
import { notice, open } from './dialog.js';
import { button, facts, h, replace, say, section, tag } from './dom.js';
import { codeButton, meaning, texts } from './explain.js';
import { byteRate, bytes, count, plural, rate, span, when } from './format.js';
import { graph } from './graph.js';
import { latest, live, series } from './live.js';
import { planView } from './plan.js';
import { table } from './table.js';

export const throughput = () => graph({ title: 'Throughput', format: byteRate, binary: true, lines: [
  { key: 'bytesIn', label: 'in', cls: 'a' }, { key: 'bytesOut', label: 'out', cls: 'b' }] });
export const arrivals = () => graph({ title: 'Connections a second', format: rate, lines: [
  { key: 'accepted', label: 'accepted', cls: 'a' }, { key: 'ended', label: 'ended', cls: 'b' }, { key: 'failed', label: 'failed', cls: 'c' }] });
export const alive = () => graph({ title: 'Live connections', format: count, lines: [{ key: 'connections', label: 'connections', cls: 'a' }] });

/** Numbers with their names; `update` takes the texts in order. */
function figures(names) {
  const values = names.map(() => h('dd'));
  const el = h('dl', { class: 'figures' }, names.map((name, at) => h('div', null, h('dt', null, name), values[at])));
  return { el, update: (list) => list.forEach((text, at) => say(values[at], text)) };
}

/** The counters of the events' outputs, from /metrics. */
export function eventCounters(text) {
  const found = [];
  for (const line of String(text).split('\n')) {
    const parts = /^thalweg_(events?_[a-z_]+)(\{.*\})? (\S+)$/.exec(line);
    if (!parts) continue;
    const labels = new Map([...(parts[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, value]) => [key, value.replace(/\\(.)/g, '$1')]));
    const what = parts[1].replace(/^event_output_/, '').replace(/_total$/, '').replaceAll('_', ' ');
    const place = labels.has('kind') ? `, ${labels.get('kind')} ${(labels.get('place') ?? '').split('/').pop()}` : '';
    found.push({ name: what + place, value: Number(parts[3]) });
  }
  return found;
}

const endingWhy = new Map();

function endingsTable() {
  const list = table({
    caption: 'Endings of connections, by side, step and cause', key: (row) => `${row.side}/${row.step}/${row.cause}`,
    empty: 'No connection has ended yet.', sort: 3, descending: true, page: 50,
    columns: [
      { label: 'Side', text: (row) => row.side, by: (row) => row.side },
      { label: 'Step', text: (row) => row.step, by: (row) => row.step },
      { label: 'Cause', head: true, by: (row) => row.cause, make: (row) => codeButton(row.cause) },
      { label: 'Count', num: true, text: (row) => count(row.count), by: (row) => row.count },
      { label: 'Last minute', num: true, text: (row) => count(row.recent), by: (row) => row.recent },
      { label: 'What it means', cls: 'wrap', text: (row) => {
        if (!endingWhy.has(row.cause)) {
          endingWhy.set(row.cause, '');
          meaning(row.cause).then((found) => { if (found) endingWhy.set(row.cause, texts(found).head); });
        }
        return endingWhy.get(row.cause);
      } },
    ],
  });
  return list;
}

function coresTable() {
  const of = (row) => latest(`core ${row.core}`);
  return table({
    caption: 'Cores', key: (row) => row.core, empty: 'No cores.',
    columns: [
      { label: 'Core', head: true, num: true, text: (row) => row.core, by: (row) => row.core },
      { label: 'Connections', num: true, text: (row) => count(row.connections), by: (row) => row.connections },
      { label: 'Accepted', num: true, text: (row) => rate(of(row).accepted), by: (row) => of(row).accepted },
      { label: 'In', num: true, text: (row) => byteRate(of(row).bytesIn), by: (row) => of(row).bytesIn },
      { label: 'Out', num: true, text: (row) => byteRate(of(row).bytesOut), by: (row) => of(row).bytesOut },
      { label: 'Largest lag', num: true, text: (row) => (Number.isFinite(row.lagMaxUs) ? (row.lagMaxUs < 10_000 ? `${count(row.lagMaxUs)} µs` : span(row.lagMaxUs / 1000)) : '–'), by: (row) => row.lagMaxUs },
      { label: 'Ticks', num: true, text: (row) => rate(of(row).ticks), by: (row) => of(row).ticks },
    ],
  });
}

async function reload() {
  const result = h('div');
  await open({
    title: 'Reload the configuration', confirm: 'Reload', wide: true,
    body: [h('p', null, 'The main file and the state directory are read again. A faulty configuration changes nothing.'), result],
    act: async () => {
      try {
        const { data } = await call('POST', '/api/reload');
        notice(`Reloaded: version ${data.version ?? '?'}`);
      } catch (error) {
        if (error.body?.diagnostics) replace(result, findings(error.body.diagnostics));
        throw error;
      }
    },
  });
}

async function plan() {
  const result = h('div', null, h('p', { class: 'quiet' }, 'Reading'));
  const dialog = open({ title: 'What a reload would do now', confirm: null, cancel: 'Close', wide: true, body: [result] });
  try {
    const { data } = await call('GET', '/api/plan');
    replace(result, planView(data), data.diagnostics?.length ? findings(data.diagnostics) : null);
  } catch (error) {
    replace(result, h('p', { class: 'error' }, error.absent ? 'This proxy makes no plans.' : error.message), error.body?.diagnostics && findings(error.body.diagnostics));
  }
  await dialog;
}

export function overviewView() {
  const numbers = figures(['Connections', 'Accepted', 'Ended', 'Failed', 'In', 'Out', 'TLS handshakes', 'Up for']);
  const graphs = [throughput(), alive(), arrivals()];
  const endings = endingsTable();
  const cores = coresTable();
  const configuration = h('div');
  const problems = h('div');
  const warnings = h('div');
  const events = h('div');
  const coresPlace = section('Cores', null, cores.el);
  const endingsPlace = section('Endings', null, endings.el);
  const eventsPlace = section('Events', { hidden: true }, events);

  function tick() {
    const { total = {}, uptime, cores: list, endings: ended } = live.traffic ?? {};
    const now = latest('total');
    const most = live.status?.connectionsMax;
    numbers.update([
      most ? `${count(total.connections)} of ${count(most)}` : count(total.connections),
      rate(now.accepted), rate(now.ended), rate(now.failed), byteRate(now.bytesIn), byteRate(now.bytesOut), rate(now.handshakes), span(uptime)]);
    graphs.forEach((one, at) => { one.el.hidden = live.partial && at !== 1; one.update(series('total')); });
    coresPlace.hidden = !list;
    cores.update(list);
    endingsPlace.hidden = !ended;
    endings.update([...live.endings.values()]);
  }

  function showStatus() {
    const status = live.status;
    if (!status) return;
    const last = status.lastReload;
    const key = JSON.stringify([status.version, status.state, status.configurationVersion, status.services, status.listeners, last, status.role]);
    if (configuration.dataset.shown === key) return;
    configuration.dataset.shown = key;
    replace(configuration, facts([
      ['Thalweg', status.version],
      ['State', tag(status.state, status.state === 'serving' ? 'good' : 'warn')],
      ['Configuration', `version ${status.configurationVersion}`],
      ['Services', count(status.services)], ['Listeners', count(status.listeners)], ['Cores', count(status.cores)],
      ['Last reload', last ? [tag(last.ok ? 'applied' : 'refused', last.ok ? 'good' : 'bad'), ` ${when(last.at)}`, last.message && h('div', { class: 'quiet' }, last.message)] : 'none since the start'],
      ['You may', status.role === 'read' ? 'read' : status.role === 'admin' ? 'read and change' : null],
    ]), h('div', { class: 'actions' }, button('Plan a reload', plan), button('Reload', reload, { class: 'changes' })));
  }

  async function refresh() {
    showStatus();
    const [found, metrics] = await Promise.all([diagnostics(), maybe('/metrics')]);
    const worth = (found?.served ?? []).filter((one) => one.severity !== 'info');
    const key = JSON.stringify([found?.refused, worth]);
    if (problems.dataset.shown !== key) {
      problems.dataset.shown = key;
      replace(problems, refused(found));
      replace(warnings, worth.length ? section(plural(worth.length, 'warning'), null, findings(worth.slice(0, 5)), h('a', { href: '#/diagnostics' }, 'All diagnostics')) : null);
    }
    const counters = eventCounters(metrics);
    eventsPlace.hidden = counters.length === 0;
    replace(events, facts(counters.map(({ name, value }) => [name, /bytes/.test(name) ? bytes(value) : count(value)])));
  }

  return {
    title: 'Overview',
    el: h('div', { class: 'overview' }, h('h1', null, 'Overview'), problems, numbers.el,
      h('div', { class: 'graphs' }, graphs.map((one) => one.el)),
      h('div', { class: 'columns' }, h('div', null, endingsPlace, coresPlace), h('div', null, section('Configuration', null, configuration), warnings, eventsPlace))),
    tick, refresh, every: 10_000, status: showStatus,
  };
}
