// The certificates of the store.

import { get } from './api.js';
import { h, tag } from './dom.js';
import { count, plural, when } from './format.js';
import { table } from './table.js';

const DAY = 86_400_000;
export const daysLeft = (row) => Math.floor((new Date(row.notAfter) - Date.now()) / DAY);
const kind = (days) => (days < 0 ? 'bad' : days < 21 ? 'warn' : 'good');

export function certificatesView() {
  const list = table({
    caption: 'Certificates, in the order in which they are looked at',
    key: (row) => `${row.sha256} ${row.file}`,
    empty: 'No certificates: none is configured.',
    columns: [
      { label: 'Names', head: true, text: (row) => (row.names ?? []).join(', ') || row.subject, by: (row) => (row.names ?? [])[0] ?? '', cls: 'wrap' },
      { label: 'Days left', num: true, by: daysLeft, make: (row) => tag('', ''), patch: (node, row) => {
        const days = daysLeft(row);
        node.className = `tag ${kind(days)}`;
        node.textContent = days < 0 ? `expired ${plural(-days, 'day')} ago` : count(days);
      } },
      { label: 'Valid until', text: (row) => when(row.notAfter), by: (row) => row.notAfter, cls: 'nowrap' },
      { label: 'From', text: (row) => when(row.notBefore), cls: 'nowrap' },
      { label: 'Subject', text: (row) => row.subject, by: (row) => row.subject, cls: 'wrap' },
      { label: 'Issuer', text: (row) => row.issuer, by: (row) => row.issuer, cls: 'wrap' },
      { label: 'Services', text: (row) => (row.servesServices ?? []).join(', '), cls: 'wrap' },
      { label: 'Name', text: (row) => row.name ?? '', by: (row) => row.name ?? '' },
      { label: 'File', text: (row) => row.file, by: (row) => row.file, cls: 'mono wrap' },
      { label: 'SHA-256', text: (row) => `${row.sha256.slice(0, 16)}…`, cls: 'mono' },
    ],
  });
  return {
    title: 'Certificates',
    el: h('div', null, h('h1', null, 'Certificates'), list.el),
    every: 10_000,
    async refresh() { list.update(await get('/api/certificates')); },
  };
}
