// What a change would do, before it is made.

import { h } from './dom.js';
import { plural } from './format.js';

const list = (label, items) => (items?.length ? `${label} ${items.join(', ')}` : null);

/** The sentences of a plan. */
export function planSentences(plan) {
  const { listeners = {}, services = [], connections = {}, unchanged } = plan;
  const touched = [];
  if (connections.drained) touched.push(`${plural(connections.drained, 'connection')} left to end`);
  if (connections.closed) touched.push(`${plural(connections.closed, 'connection')} closed`);
  return [
    plan.changes === false && 'changes nothing',
    list('adds a listener on', listeners.added),
    listeners.kept?.length > 0 && `keeps ${plural(listeners.kept.length, 'listener')}`,
    list('removes the listener on', listeners.removed),
    ...services.map((one) => {
      const what = one.what?.length ? `: ${one.what.join(', ')}` : '';
      const held = one.connections ? ` (${plural(one.connections, 'connection')} now)` : '';
      return `${one.name || one.id} is ${one.change}${what}${held}`;
    }),
    Number.isFinite(connections.untouched) && `${plural(connections.untouched, 'connection')} untouched`,
    ...touched,
    Number.isFinite(unchanged) && unchanged > 0 && `${plural(unchanged, 'other service')} unchanged`,
  ].filter(Boolean);
}

export const planView = (plan) => h('ul', { class: 'plan' }, planSentences(plan).map((text) => h('li', null, text)));
