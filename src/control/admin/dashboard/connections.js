// Live connections: filters, details, ending one.

import { call, get, part } from './api.js';
import { open, notice } from './dialog.js';
import { button, facts, fresh, h, link, replace, say } from './dom.js';
import { bytes, count, plural, span } from './format.js';
import { table } from './table.js';

const FILTERS = [
  ['service', 'Service', 14], ['target', 'Target', 16], ['sni', 'Name (SNI)', 14], ['source', 'Source address or network', 14],
];
const MOST = 2000;

const STATES = { opening: 'opening', open: 'open', halfClosed: 'half closed' };

/** What the members of a connection are called, in the order in which they are shown. */
const NAMES = [
  ['id', 'Id'], ['service', 'Service'], ['state', 'State'], ['remote', 'Client'], ['proxy', 'Told by proxy'], ['local', 'Listener'],
  ['rule', 'Rule'], ['target', 'Target'], ['sni', 'Name (SNI)'], ['alpn', 'ALPN'], ['tlsVersion', 'TLS'], ['relay', 'Relay'], ['core', 'Core'], ['retries', 'Retries'],
];

function shown(value) {
  if (value === null || value === undefined) return null;
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

async function detail(row, killed) {
  const place = h('div');
  const fill = (one) => {
    const rest = Object.keys(one).filter((name) => !['age', 'idle', 'dataIn', 'dataOut'].includes(name) && !NAMES.some(([known]) => known === name));
    replace(place, facts([
      ...NAMES.map(([name, label]) => [label, shown(one[name])]),
      ['Age', span(one.age)], ['Idle', span(one.idle)], ['From the client', bytes(one.dataIn)], ['To the client', bytes(one.dataOut)],
      ...rest.map((name) => [name, shown(one[name])]),
    ]));
  };
  fill(row);
  get(`/api/tcp/connections/${part(row.id)}`).then(fill, () => {});
  return open({ title: `Connection of ${row.remote ?? 'unknown'}`, wide: true, confirm: null, cancel: 'Close', body: [
    place, h('div', { class: 'actions changes' }, button('End this connection', () => kill(row).then((done) => done && killed()), { class: 'danger' }))] });
}

const kill = (row) => open({
  title: 'End this connection?', confirm: 'End it', danger: true,
  body: [h('p', null, `${row.remote ?? 'unknown'} to ${row.target ?? 'no target yet'} is reset on both sides.`)],
  act: async () => {
    await call('DELETE', `/api/tcp/connections/${part(row.id)}`);
    notice(`The connection of ${row.remote ?? row.id} was ended`);
  },
});

/** The table of connections; `fixed` are filters that hold always. */
export function connectionTable(query) {
  const count_ = h('p', { class: 'quiet' });
  const refresh = async () => {
    const ask = new URLSearchParams(query());
    if (!ask.has('limit')) ask.set('limit', String(MOST));
    const found = await get(`/api/tcp/connections?${ask}`);
    list.update(found.connections);
    say(count_, found.truncated ? `The first ${count(found.connections.length)}; there are more. Narrow the filters.` : plural(found.connections.length, 'connection'));
  };
  const now = (row) => list.rows.find((one) => one.id === row.id) ?? row;
  const list = table({
    caption: 'Live connections', key: (row) => row.id, empty: 'No connections.', page: 50,
    columns: [
      { label: 'Client', head: true, by: (row) => row.remote, make: (row) => button(row.remote ?? 'unknown', () => detail(now(row), refresh), { class: 'plain mono' }) },
      { label: 'Service', by: (row) => row.service, make: () => h('span'), patch: (node, row) => {
        if (node.dataset.shown === String(row.service)) return;
        node.dataset.shown = String(row.service);
        replace(node, row.service ? link(`#/services/${part(row.service)}`, row.service) : 'none yet');
      } },
      { label: 'Name', text: (row) => row.sni ?? '', by: (row) => row.sni, cls: 'wrap sni' },
      { label: 'Target', text: (row) => row.target ?? '', by: (row) => row.target, cls: 'mono' },
      { label: 'State', text: (row) => STATES[row.state] ?? row.state, by: (row) => row.state },
      { label: 'Age', num: true, text: (row) => span(row.age), by: (row) => row.age },
      { label: 'Idle', num: true, text: (row) => span(row.idle), by: (row) => row.idle },
      { label: 'In', num: true, text: (row) => bytes(row.dataIn), by: (row) => row.dataIn },
      { label: 'Out', num: true, text: (row) => bytes(row.dataOut), by: (row) => row.dataOut },
      { label: 'TLS', text: (row) => [row.tlsVersion, row.alpn].filter(Boolean).join(' ') },
      { label: 'Relay', text: (row) => row.relay, by: (row) => row.relay },
      { label: 'Core', num: true, text: (row) => row.core, by: (row) => row.core },
      { label: '', name: 'End', cls: 'changes', make: (row) => button('End', () => kill(now(row)).then((done) => done && refresh()), { 'aria-label': `End the connection of ${row.remote ?? row.id}` }) },
    ],
  });
  return { el: h('div', null, count_, list.el), refresh };
}

export function connectionsView({ query, go }) {
  const inputs = {};
  const wanted = () => Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value.trim()]).filter(([, value]) => value));
  const field = (name, label, input) => {
    const id = fresh('filter');
    input.id = id;
    inputs[name] = input;
    input.value = query.get(name) ?? '';
    return h('div', { class: 'field' }, h('label', { for: id }, label), input);
  };
  const error = h('p', { class: 'error', role: 'alert' });
  const ask = () => { const values = wanted(); if (values.idleOver) values.idleOver = String(Number(values.idleOver) * 1000); return values; };
  const list = connectionTable(ask);
  const refresh = async () => {
    try {
      await list.refresh();
      say(error, '');
    } catch (problem) {
      if (problem.status !== 400) throw problem;
      say(error, problem.message);
    }
  };
  const form = h('form', { class: 'filters', 'aria-label': 'Filters', onsubmit: (event) => {
    event.preventDefault();
    go(`#/connections?${new URLSearchParams(wanted())}`, true);
    refresh();
  } },
  FILTERS.map(([name, label, size]) => field(name, label, h('input', { size, autocomplete: 'off', spellcheck: 'false' }))),
  field('state', 'State', h('select', null, h('option', { value: '' }, 'any'), Object.entries(STATES).map(([value, text]) => h('option', { value }, text)))),
  field('idleOver', 'Idle over, in s', h('input', { type: 'number', min: 0, size: 6 })),
  h('button', { type: 'submit', class: 'primary' }, 'Filter'),
  button('Clear', () => { for (const input of Object.values(inputs)) input.value = ''; go('#/connections', true); refresh(); }));
  inputs.state.value = query.get('state') ?? '';
  return { title: 'Connections', el: h('div', null, h('h1', null, 'Connections'), form, error, list.el), refresh, every: 2000 };
}
