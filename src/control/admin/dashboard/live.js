// What moves: /api/traffic each second, and what it makes of the counters. Polling rests while the
// page is hidden, waits longer and longer while the proxy does not answer, and goes on when it does.

import { ApiError, get } from './api.js';

const EVERY = 1000;
const BACK_OFF_MOST = 15_000;
/** Samples kept of each series: five minutes, fewer where there are very many. */
const KEPT = 300;
const MINUTE = 60_000;

export const live = Object.assign(new EventTarget(), {
  /** The last answers. */
  traffic: null,
  status: null,
  /** What could not be had, or null. */
  problem: null,
  /** When the next attempt is made, while there is a problem. */
  retryAt: 0,
  /** The proxy has no /api/traffic. */
  partial: false,
  history: new Map(),
  endings: new Map(),
});

const MOVES = ['accepted', 'ended', 'failed', 'bytesIn', 'bytesOut', 'handshakes', 'ticks'];
let before = new Map();
let timer = 0;
let failures = 0;
let asking = false;
let wasHidden = false;

export const series = (key) => live.history.get(key) ?? [];
export const latest = (key) => series(key).at(-1) ?? {};

const tell = (name) => live.dispatchEvent(new Event(name));

/** One sample of a series: how fast its counters went since the one before. */
function sample(key, at, counters, kept, next) {
  next.set(key, counters);
  const old = before.get(key);
  const elapsed = (at - before.at) / 1000;
  const point = { t: at, connections: counters.connections };
  for (const name of MOVES) {
    const moved = old ? counters[name] - old[name] : NaN;
    point[name] = elapsed > 0 && moved >= 0 ? moved / elapsed : NaN;
  }
  let list = live.history.get(key);
  if (!list) live.history.set(key, (list = []));
  if (list.length && at - list.at(-1).t > 4 * Math.max(EVERY, pause())) list.push({ t: at - 1, gap: true });
  list.push(point);
  while (list.length > kept) list.shift();
}

function take(traffic) {
  const at = traffic.now;
  if (live.traffic && (traffic.uptime < live.traffic.uptime || at < live.traffic.now)) {
    // Another process: its counters begin anew.
    live.history.clear();
    live.endings.clear();
    before = new Map();
  }
  live.traffic = traffic;
  const next = new Map();
  next.at = at;
  const services = traffic.services ?? [];
  const kept = services.length > 2000 ? 30 : services.length > 200 ? 60 : KEPT;
  sample('total', at, traffic.total ?? {}, KEPT, next);
  for (const one of services) sample(`service ${one.id}`, at, one, kept, next);
  for (const one of traffic.targets ?? []) sample(`target ${one.service} ${one.target}`, at, one, Math.min(kept, 60), next);
  for (const one of traffic.cores ?? []) sample(`core ${one.core}`, at, one, Math.min(kept, 60), next);
  before = next;
  for (const key of live.history.keys()) if (!next.has(key)) live.history.delete(key);
  for (const { side, step, cause, count } of traffic.endings ?? []) {
    const key = `${side}/${step}/${cause}`;
    let seen = live.endings.get(key);
    if (!seen) live.endings.set(key, (seen = { side, step, cause, marks: [] }));
    seen.count = count;
    seen.marks.push([at, count]);
    while (seen.marks.length > 1 && seen.marks[0][0] < at - MINUTE) seen.marks.shift();
    seen.recent = count - seen.marks[0][1];
  }
}

/** Large answers are asked for less often: looking must not become load. */
let took = 0;
const pause = () => Math.max(EVERY, took * 10);

async function ask() {
  const started = performance.now();
  if (!live.partial) {
    try {
      take(await get('/api/traffic'));
    } catch (error) {
      if (!(error instanceof ApiError) || !error.absent) throw error;
      live.partial = true;
    }
  }
  if (live.partial || !live.status || Date.now() - live.status.asked > 5000) {
    const status = await get('/api/status');
    status.asked = Date.now();
    const changed = live.status && live.status.configurationVersion !== status.configurationVersion;
    live.status = status;
    if (live.partial) take({ now: status.now, uptime: status.uptime, total: { connections: status.connections } });
    tell('status');
    if (changed) tell('configuration');
  }
  took = performance.now() - started;
}

async function poll() {
  clearTimeout(timer);
  if (asking || document.hidden) return;
  asking = true;
  try {
    await ask();
    const was = live.problem;
    failures = 0;
    live.problem = null;
    if (was) tell('problem');
    tell('tick');
  } catch (error) {
    failures += 1;
    // A connection that is closed for its age is no outage: the next attempt comes at once.
    if (failures > 1 || error.status) live.problem = error;
    if (!error.status && !(error instanceof ApiError)) console.error(error);
    live.retryAt = Date.now() + wait();
    tell('problem');
  } finally {
    asking = false;
  }
  if (live.problem?.status !== 401) timer = setTimeout(poll, failures ? wait() : pause());
}

const wait = () => (failures < 2 ? 200 : Math.min(BACK_OFF_MOST, EVERY * 2 ** (failures - 2)));

/** Asks now, whatever was planned. */
export function again() {
  live.status = live.status && { ...live.status, asked: 0 };
  return poll();
}

/** Begins, and rests while nobody looks. */
export function start() {
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) { wasHidden = true; clearTimeout(timer); } else if (wasHidden) { wasHidden = false; poll(); }
  });
  return poll();
}

/** Whether the caller may change things. A proxy that does not tell roles takes any token. */
export const mayChange = () => (live.status?.role ? live.status.role === 'admin' : true);
