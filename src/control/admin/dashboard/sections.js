// The sections of a service's form, in the order of Otoroshi's page and then what Thalweg adds.

import { readPattern } from './document.js';
import { adder, field, fold, group, moves, optional } from './fields.js';
import { h } from './dom.js';

const BALANCING = ['RoundRobin', 'WeightedRoundRobin', 'LeastConnections', 'PowerOfTwo', 'SourceHash', 'Random', 'First'];
const SEND = [['', 'as the service'], 'Off', 'V1', 'V2'];

const target = (form, path, what) => h('div', { class: 'fields of-target' },
  field(form, [...path, 'host'], { label: 'Host', placeholder: 'db.internal or unix:/path', small: true }),
  field(form, [...path, 'ip'], { label: 'IP address', placeholder: 'resolve the host', small: true, size: 15 }),
  field(form, [...path, 'port'], { kind: 'number', label: 'Port', placeholder: '8080', small: true, size: 6 }),
  field(form, [...path, 'tls'], { kind: 'check', label: 'TLS', small: true }),
  fold(form, `${path.join('.')} more`, `More of ${what}`,
    field(form, [...path, 'weight'], { kind: 'number', label: 'Weight', placeholder: '1' }),
    field(form, [...path, 'maxConnections'], { kind: 'number', label: 'Most connections' }),
    field(form, [...path, 'proxyProtocol'], { kind: 'select', label: 'PROXY protocol', options: SEND }),
    field(form, [...path, 'backup'], { kind: 'check', label: 'Backup' }),
    field(form, [...path, 'srv'], { label: 'SRV records', placeholder: '_postgresql._tcp.example.com' }),
    field(form, [...path, 'serverName'], { label: 'Server name (SNI)' }),
    field(form, [...path, 'caFile'], { label: 'CA file' }),
    field(form, [...path, 'clientCertificate', 'certFile'], { label: 'Client certificate file' }),
    field(form, [...path, 'clientCertificate', 'keyFile'], { label: 'Client key file' }),
    field(form, [...path, 'pinnedPublicKeys'], { kind: 'lines', label: 'Pinned public keys, one a line' }),
    field(form, [...path, 'pinOnly'], { kind: 'check', label: 'A pin is enough' }),
    field(form, [...path, 'insecureSkipVerify'], { kind: 'check', label: 'Do not verify' })));

function rule(form, at, length) {
  const path = ['rules', at];
  const targets = form.get([...path, 'targets']);
  const list = Array.isArray(targets) ? targets : [];
  return group(path, `Rule ${at}`, { class: 'rule' }, moves(form, ['rules'], at, length, `rule ${at}`),
    h('div', { class: 'fields' },
      field(form, [...path, 'domain'], { label: 'Domain pattern', placeholder: '*', default: '*', small: true, wide: true, reading: (text) => `Read as: ${readPattern(text || '*').text}` })),
    h('div', { 'data-path': `rules[${at}].targets` }, h('p', { class: 'error', 'aria-live': 'polite' }),
      list.map((_, n) => group([...path, 'targets', n], `Target ${n}`, { class: 'target' }, moves(form, [...path, 'targets'], n, list.length, `target ${n} of rule ${at}`), target(form, [...path, 'targets', n], `target ${n}`))),
      adder(form, [...path, 'targets'], `Add a target to rule ${at}`, () => ({ host: '', port: 8080, tls: false }))),
    fold(form, `rule ${at} more`, 'Further conditions, balancing, discovery',
      field(form, [...path, 'alpn'], { kind: 'lines', label: 'ALPN, one a line' }),
      field(form, [...path, 'sources'], { kind: 'lines', label: 'Source networks, one a line' }),
      field(form, [...path, 'clientCertificate', 'subject'], { label: 'Client certificate: subject' }),
      field(form, [...path, 'clientCertificate', 'san'], { label: 'Client certificate: SAN' }),
      field(form, [...path, 'clientCertificate', 'sha256'], { label: 'Client certificate: SHA-256' }),
      field(form, [...path, 'loadBalancing'], { kind: 'select', label: 'Load balancing', options: [['', 'as the service'], ...BALANCING] }),
      field(form, [...path, 'discovery'], { kind: 'json', label: 'Discovery (JSON)', wide: true })));
}

const fallback = (form, name, label) => optional(form, ['sni', 'fallbacks', name], label, () => ({ host: '', port: 8080, tls: false }), target(form, ['sni', 'fallbacks', name], label));

function commands(form) {
  const path = ['healthCheck', 'commands'];
  const list = form.get(path) ?? [];
  return h('div', { class: 'wide', 'data-path': 'healthCheck.commands' }, h('p', { class: 'error', 'aria-live': 'polite' }),
    list.map((_, at) => group([...path, at], `Step ${at}`, { class: 'target' }, moves(form, path, at, list.length, `step ${at}`), h('div', { class: 'fields' },
      field(form, [...path, at, 'name'], { kind: 'select', label: 'Do', options: ['send', 'expect'] }),
      field(form, [...path, at, 'message'], { label: 'Message, as JSON writes it', get: () => JSON.stringify(form.get([...path, at, 'message']) ?? '').slice(1, -1),
        set: (text) => { let plain = text ?? ''; try { plain = JSON.parse(`"${plain}"`); } catch { /* as typed */ } form.set([...path, at, 'message'], plain); } })))),
    adder(form, path, 'Add a step', () => ({ name: 'send', message: '' })));
}

const span = (form, path, label, placeholder) => field(form, path, { label, placeholder, size: 8 });

/** All of it. */
export function sections(form) {
  const rules = form.get(['rules']);
  const list = Array.isArray(rules) ? rules : [];
  return [
    group([], 'Service', { class: 'plain' }, h('div', { class: 'fields' },
      field(form, ['enabled'], { kind: 'check', label: 'Enabled', default: true }),
      field(form, ['name'], { kind: 'always', label: 'Name', small: true }),
      field(form, ['description'], { kind: 'always', label: 'Description', wide: true, small: true }),
      form.isNew && field(form, ['id'], { label: 'Id', placeholder: 'made for you' }),
      field(form, ['port'], { kind: 'number', label: 'Port', placeholder: '1 to 65535' }),
      field(form, ['interface'], { label: 'Interface', placeholder: '0.0.0.0' }))),
    group([], 'TLS', { class: 'plain' }, h('div', { class: 'fields' },
      field(form, ['tls'], { kind: 'select', label: 'TLS mode', options: ['Disabled', 'PassThrough', 'Enabled'] }),
      field(form, ['clientAuth'], { kind: 'select', label: 'Client certificates', options: ['None', 'Want', 'Need'] }),
      fold(form, 'tls more', 'Authorities, revocation, ALPN',
        field(form, ['clientCaFiles'], { kind: 'lines', label: 'Client CA files, one a line' }),
        field(form, ['clientCrlFiles'], { kind: 'lines', label: 'Revocation lists, one a line' }),
        field(form, ['alpn'], { kind: 'lines', label: 'ALPN offered, one a line' })))),
    group(['sni'], 'Routing by name', { class: 'plain' }, h('div', { class: 'fields switches' },
      field(form, ['sni', 'enabled'], { kind: 'check', label: 'Route by name (SNI)' }),
      field(form, ['sni', 'forwardIfNoMatch'], { kind: 'check', label: 'Forward where no rule fits' }),
      field(form, ['sni', 'strict'], { kind: 'check', label: 'Refuse names without a certificate' })),
    group(['sni', 'forwardsTo'], 'Default target', { class: 'target' }, target(form, ['sni', 'forwardsTo'], 'the default target')),
    fold(form, 'fallbacks', 'Fallbacks by reason',
      fallback(form, 'noMatch', 'No rule for the name'), fallback(form, 'noName', 'No name'),
      fallback(form, 'notRecognised', 'Neither TLS nor HTTP'), fallback(form, 'silent', 'The client says nothing'))),
    group(['rules'], 'Rules, tried in order', { class: 'plain' }, list.map((_, at) => rule(form, at, list.length)),
      adder(form, ['rules'], 'Add a rule', () => ({ domain: '*', targets: [{ host: '', port: 8080, tls: false }] }))),
    fold(form, 'balancing', 'Load balancing and removal',
      field(form, ['loadBalancing'], { kind: 'select', label: 'Load balancing', options: BALANCING, default: 'RoundRobin' }),
      field(form, ['retries'], { kind: 'number', label: 'Further targets tried', placeholder: '1' }),
      field(form, ['onRemoved', 'closeAfter'], { label: 'When removed, cut connections after', placeholder: 'never', get: () => form.get(['onRemoved'])?.closeAfter,
        set: (text) => form.set(['onRemoved'], text ? { closeAfter: text } : 'Keep') })),
    fold(form, 'health', 'Health check',
      optional(form, ['healthCheck'], 'Check targets', () => ({ interval: '5s' }),
        span(form, ['healthCheck', 'interval'], 'Interval', '5s'), span(form, ['healthCheck', 'timeout'], 'Timeout', '3s'), span(form, ['healthCheck', 'fastInterval'], 'While in doubt', '1s'),
        field(form, ['healthCheck', 'rise'], { kind: 'number', label: 'Rise', placeholder: '2' }), field(form, ['healthCheck', 'fall'], { kind: 'number', label: 'Fall', placeholder: '3' }),
        field(form, ['healthCheck', 'initial'], { kind: 'select', label: 'Before the first check', options: [['', 'Up'], 'Down'] }),
        field(form, ['healthCheck', 'port'], { kind: 'number', label: 'Other port' }),
        field(form, ['healthCheck', 'tls'], { kind: 'select', label: 'TLS in the check', options: [['', 'as connections'], ['true', 'yes'], ['false', 'no']], get: () => { const value = form.get(['healthCheck', 'tls']); return typeof value === 'boolean' ? String(value) : value; },
          set: (text) => form.set(['healthCheck', 'tls'], text === undefined ? undefined : text === 'true' ? true : text === 'false' ? false : text) }),
        field(form, ['healthCheck', 'proxyProtocol'], { kind: 'select', label: 'PROXY header in the check', options: [['', 'as connections'], 'Off', 'V1', 'V2'] }),
        field(form, ['healthCheck', 'onDown'], { kind: 'select', label: 'Connections of a target that goes down', options: [['', 'Keep'], 'Close'] }),
        field(form, ['healthCheck', 'panicThreshold'], { kind: 'number', label: 'Panic threshold, in %', placeholder: '0' }), span(form, ['healthCheck', 'slowStart'], 'Slow start', 'none'),
        commands(form),
        optional(form, ['healthCheck', 'http'], 'Ask by HTTP', () => ({ path: '/' }),
          field(form, ['healthCheck', 'http', 'path'], { label: 'Path', placeholder: '/' }), field(form, ['healthCheck', 'http', 'method'], { label: 'Method', placeholder: 'GET' }),
          field(form, ['healthCheck', 'http', 'host'], { label: 'Host' }), field(form, ['healthCheck', 'http', 'status'], { kind: 'lines', label: 'Statuses, one a line', numbers: true }), field(form, ['healthCheck', 'http', 'body'], { label: 'Body has' })),
        optional(form, ['healthCheck', 'passive'], 'Eject by what becomes of connections', () => ({}),
          field(form, ['healthCheck', 'passive', 'failures'], { kind: 'number', label: 'Failures in a row', placeholder: '5' }), span(form, ['healthCheck', 'passive', 'ejectFor'], 'Eject for', '30s'),
          field(form, ['healthCheck', 'passive', 'maxEjected'], { kind: 'number', label: 'Most ejected, in %', placeholder: '50' })))),
    fold(form, 'limits', 'Limits',
      field(form, ['limits', 'connections'], { kind: 'number', label: 'Connections', placeholder: 'no limit' }),
      field(form, ['limits', 'connectionsPerSource'], { kind: 'number', label: 'Connections of one source', placeholder: 'no limit' }),
      field(form, ['limits', 'exempt'], { kind: 'lines', label: 'Exempt networks, one a line' }),
      field(form, ['limits', 'bytesPerSecond'], { kind: 'json', rows: 2, label: 'Bytes in a second', placeholder: '"100MiB"' }),
      optional(form, ['limits', 'connectionRate'], 'Limit how often a source connects', () => ({ count: 20, per: '1s' }),
        field(form, ['limits', 'connectionRate', 'count'], { kind: 'number', label: 'Count' }), span(form, ['limits', 'connectionRate', 'per'], 'In', '1s'),
        field(form, ['limits', 'connectionRate', 'burst'], { kind: 'number', label: 'Burst', placeholder: 'as count' }), field(form, ['limits', 'connectionRate', 'exempt'], { kind: 'lines', label: 'Exempt, one a line' }))),
    fold(form, 'timeouts', 'Timeouts',
      [['hello', 'Hello', '3s'], ['handshake', 'Handshake', '10s'], ['connect', 'Connect', '5s'], ['idle', 'Idle', '1h'], ['halfClosed', 'Half closed', '60s'], ['lifetime', 'Lifetime', 'none'], ['lifetimeJitter', 'Lifetime jitter', '10%']]
        .map(([name, label, usual]) => span(form, ['timeouts', name], label, usual))),
    fold(form, 'access', 'Access',
      optional(form, ['access'], 'Restrict who may connect', () => ({ allow: ['10.0.0.0/8'] }),
        field(form, ['access', 'allow'], { kind: 'lines', label: 'Allow, one a line' }), field(form, ['access', 'deny'], { kind: 'lines', label: 'Deny, one a line' }),
        field(form, ['access', 'allowFile'], { label: 'Allow file' }), field(form, ['access', 'denyFile'], { label: 'Deny file' }),
        field(form, ['access', 'default'], { kind: 'select', label: 'Everybody else', options: [['', 'follows from the lists'], 'Allow', 'Deny'] }))),
    fold(form, 'proxy', 'PROXY protocol',
      optional(form, ['proxyProtocol'], 'Use the PROXY protocol', () => ({ send: 'V2' }),
        field(form, ['proxyProtocol', 'accept'], { kind: 'select', label: 'Accept', options: [['', 'Off'], 'Optional', 'Require'] }),
        field(form, ['proxyProtocol', 'trusted'], { kind: 'lines', label: 'Trusted networks, one a line' }),
        field(form, ['proxyProtocol', 'send'], { kind: 'select', label: 'Send', options: [['', 'Off'], 'V1', 'V2'] }),
        field(form, ['proxyProtocol', 'tlvs'], { kind: 'lines', label: 'TLVs, one a line' }))),
    fold(form, 'people', 'Tags and metadata',
      field(form, ['tags'], { kind: 'lines', label: 'Tags, one a line', empty: [] }),
      field(form, ['metadata'], { kind: 'pairs', label: 'Metadata, name = value' })),
  ];
}
