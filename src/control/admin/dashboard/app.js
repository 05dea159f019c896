// The frame: which view is shown, what is said when the proxy does not answer, the token, the scheme.

import { prompt, token } from './api.js';
import { certificatesView } from './certificates.js';
import { connectionsView } from './connections.js';
import { diagnostics, diagnosticsView } from './diagnostics.js';
import { open } from './dialog.js';
import { button, fresh, h, replace, say } from './dom.js';
import { formView } from './form.js';
import { listenersView } from './listeners.js';
import { again, live, start } from './live.js';
import { overviewView } from './overview.js';
import { searchView } from './search.js';
import { serviceView } from './service.js';
import { servicesView } from './services.js';
import { targetsView } from './targets.js';

const main = document.getElementById('main');
const banner = document.getElementById('banner');
const SCHEME = 'thalweg.scheme';

const VIEWS = [
  [/^\/overview$/, overviewView], [/^\/services$/, servicesView], [/^\/new$/, (context) => formView({ ...context, id: null })],
  [/^\/services\/([^/]+)\/edit$/, formView], [/^\/services\/([^/]+)$/, serviceView],
  [/^\/listeners$/, listenersView], [/^\/targets$/, targetsView], [/^\/connections$/, connectionsView],
  [/^\/certificates$/, certificatesView], [/^\/diagnostics$/, diagnosticsView], [/^\/search$/, searchView],
];

let view = null;
let timer = 0;
let shownHash = '';
let leaving = false;

/** Goes to a page; quietly: the address changes and the page stays. */
function go(hash, quietly = false) {
  if (quietly) { history.replaceState(null, '', hash); shownHash = location.hash; } else location.hash = hash;
}

async function refresh() {
  const mine = view;
  clearTimeout(timer);
  if (!mine || document.hidden) return;
  try {
    await mine.refresh?.();
  } catch (error) {
    // The banner says what the poll meets too; what only this page meets is said here.
    if (!error.status && !('code' in error)) console.error(error);
    else if (error.status && error.status !== 401 && mine === view) say(document.getElementById('notice'), error.message);
  }
  if (mine === view && mine.every) timer = setTimeout(refresh, live.problem ? 5000 : mine.every);
}

async function route() {
  const [path, query = ''] = (location.hash.slice(1) || '/overview').split('?');
  if (location.hash === shownHash && view) return;
  if (view?.dirty?.() && !leaving) {
    const wanted = location.hash;
    history.replaceState(null, '', shownHash);
    if (await open({ title: 'Leave without saving?', confirm: 'Leave', danger: true, cancel: 'Stay', body: [h('p', null, 'What was changed here is lost.')] })) {
      leaving = true;
      location.hash = wanted;
    }
    return;
  }
  leaving = false;
  const first = shownHash === '';
  shownHash = location.hash;
  let id = null;
  const [, make] = VIEWS.find(([pattern]) => {
    const found = pattern.exec(path);
    try { if (found?.[1] !== undefined) id = decodeURIComponent(found[1]); } catch { return false; }
    return found;
  }) ?? [];
  view = make ? make({ id, query: new URLSearchParams(query), go }) : { title: 'Not found', el: h('div', null, h('h1', null, 'Not found'), h('a', { href: '#/overview' }, 'Overview')) };
  document.title = `${view.title} · Thalweg`;
  for (const anchor of document.querySelectorAll('#nav a')) {
    const its = anchor.getAttribute('href').slice(1);
    if (path === its || path.startsWith(`${its}/`) || (its === '/services' && path === '/new')) anchor.setAttribute('aria-current', 'page');
    else anchor.removeAttribute('aria-current');
  }
  replace(main, view.el);
  if (!first) { main.focus({ preventScroll: true }); scrollTo(0, 0); }
  if (live.traffic) view.tick?.();
  await refresh();
}

// ---- the token

let asking = null;
let declined = false;

/** One dialog for all who wait. A poll that was turned away does not ask twice. */
prompt.ask = (wanted, refused = false) => {
  if (asking) return asking;
  if (declined && !wanted) return Promise.resolve(false);
  const id = fresh('token');
  const input = h('input', { id, type: 'password', autocomplete: 'off', required: true, size: 40 });
  asking = open({
    title: 'Token', confirm: 'Use it',
    body: [h('p', null, refused ? 'The token was not taken. Show another one.' : 'The proxy wants a token. It is the content of the file that the configuration names in admin.tokenFile; it is kept until this tab is closed.'), h('label', { for: id }, 'Token'), input],
    act: async () => { token.set(input.value.trim()); },
  }).then((done) => {
    asking = null;
    declined = !done;
    if (done) { live.status = null; setTimeout(again); }
    else if (refused) token.set('');
    showToken();
    return Boolean(done);
  });
  return asking;
};

function showToken() {
  const place = document.getElementById('token');
  const role = live.status?.role;
  say(place, token.get() ? 'Sign out' : 'Sign in');
  place.title = role ? `Role: ${role}` : '';
  document.body.classList.toggle('role-read', role === 'read');
}

document.getElementById('token').addEventListener('click', async () => {
  if (token.get()) token.set('');
  else if (!(await prompt.ask(true))) return;
  live.status = null;
  declined = false;
  await again();
  showToken();
  refresh();
});

// ---- what is said of the proxy

let countdown = 0;
function showState() {
  clearInterval(countdown);
  const state = document.getElementById('state');
  const problem = live.problem;
  banner.hidden = !problem;
  if (!problem) {
    const now = live.status?.state ?? 'serving';
    say(state, now);
    state.className = `state ${now === 'serving' ? 'good' : 'warn'}`;
    return;
  }
  state.className = 'state bad';
  if (problem.status === 401) {
    say(state, 'locked');
    replace(banner, 'A token is needed to look at this proxy. ', button('Sign in', () => document.getElementById('token').click()));
    return;
  }
  say(state, 'no answer');
  const left = h('span', { 'aria-hidden': 'true' });
  const tell = () => say(left, ` Next attempt in ${Math.max(0, Math.ceil((live.retryAt - Date.now()) / 1000))} s. `);
  replace(banner, problem.status ? `The proxy answers: ${problem.message}.` : 'The proxy does not answer. What is shown is old.', left, button('Try now', () => again()));
  tell();
  countdown = setInterval(tell, 500);
}

async function showBadge() {
  const badge = document.getElementById('diagnostics-badge');
  const found = await diagnostics().catch(() => null);
  const worth = (found?.served ?? []).filter((one) => one.severity !== 'info').length + (found?.refused ? 1 : 0);
  badge.hidden = !worth;
  say(badge, worth);
}

live.addEventListener('tick', () => view?.tick?.());
live.addEventListener('status', () => { showToken(); showState(); view?.status?.(); });
live.addEventListener('problem', () => { showState(); if (!live.problem) refresh(); });
live.addEventListener('configuration', () => { showBadge(); if (!view?.dirty) refresh(); });

// ---- the frame

document.getElementById('search').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = document.getElementById('search-text').value.trim();
  if (text) go(`#/search?q=${encodeURIComponent(text)}`);
});

document.addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input, textarea, select, dialog');
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.getElementById('search-text').focus();
  }
});

document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); main.focus(); });

const scheme = document.getElementById('scheme');
function paint() {
  if (scheme.value) document.documentElement.dataset.scheme = scheme.value;
  else delete document.documentElement.dataset.scheme;
}
scheme.value = localStorage.getItem(SCHEME) ?? '';
scheme.addEventListener('change', () => {
  if (scheme.value) localStorage.setItem(SCHEME, scheme.value);
  else localStorage.removeItem(SCHEME);
  paint();
});
paint();

addEventListener('hashchange', route);
addEventListener('beforeunload', (event) => { if (view?.dirty?.()) event.preventDefault(); });
document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });

if (!location.hash) history.replaceState(null, '', '#/overview');
start();
route();
showBadge();
setInterval(() => { if (!document.hidden && !live.problem) showBadge(); }, 15_000);
