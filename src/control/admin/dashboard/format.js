// Numbers as people read them.

const whole = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 });
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export const count = (n) => (Number.isFinite(n) ? whole.format(n) : '–');

/** With three digits that count. */
function three(n) {
  return n >= 99.95 ? n.toFixed(0) : n >= 9.995 ? n.toFixed(1) : n.toFixed(2);
}

export function bytes(n) {
  if (!Number.isFinite(n)) return '–';
  let at = 0;
  let value = n;
  while (value >= 1023.5 && at < UNITS.length - 1) { value /= 1024; at += 1; }
  return `${at === 0 ? value.toFixed(0) : three(value)} ${UNITS[at]}`;
}

export const byteRate = (n) => (Number.isFinite(n) ? `${bytes(n)}/s` : '–');

export function rate(n) {
  if (!Number.isFinite(n)) return '–';
  return `${n === 0 ? '0' : n >= 99.95 ? whole.format(n) : n >= 9.95 ? n.toFixed(0) : n.toFixed(1)}/s`;
}

/** A time span given in ms. */
export function span(ms) {
  if (!Number.isFinite(ms)) return '–';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${String(s % 60).padStart(2, '0')} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, '0')} m`;
  return `${Math.floor(s / 86_400)} d ${String(Math.floor(s / 3600) % 24).padStart(2, '0')} h`;
}

const two = (n) => String(n).padStart(2, '0');

export const clock = (ms) => {
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
};

/** A moment, as a date where it is not of today. Takes ms or an ISO string. */
export function when(moment) {
  if (moment === null || moment === undefined || moment === '') return '–';
  const at = new Date(moment);
  if (Number.isNaN(at.getTime())) return String(moment);
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return at.toDateString() === new Date().toDateString() ? clock(at) : `${date} ${clock(at)}`;
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
