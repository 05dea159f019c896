// The form that makes and changes a service. It asks the proxy what it thinks of the document while
// somebody types, so that its checks are those of the file.

import { call, maybe, serviceUrl, part } from './api.js';
import { notice, open } from './dialog.js';
import { finding } from './diagnostics.js';
import { blank, loadSchema, place, read, within, write } from './document.js';
import { button, fresh, h, link, replace, say } from './dom.js';
import { plural } from './format.js';
import { mayChange } from './live.js';
import { planView } from './plan.js';
import { sections } from './sections.js';
import { bare, etag } from './service.js';
import { isOwn, owner } from './services.js';

const DEBOUNCE = 400;

/** The longest place that is an element of the form: rules[0].targets, rules[0], rules. */
function nearest(root, path) {
  for (let at = path; at; at = at.replace(/(\.[^.[\]]+|\[\d+\]|^[^.[\]]+)$/, '')) {
    const found = root.querySelector(`[data-path="${CSS.escape(at)}"]`);
    if (found) return found;
  }
  return null;
}

export function formView({ id, go }) {
  const isNew = id === null;
  const body = h('div', { class: 'form' });
  const title = h('h1', null, isNew ? 'New service' : id);
  const owned = h('div');
  const summary = h('div', { class: 'summary', role: 'alert', tabindex: -1 });
  const verdict = h('div', { class: 'verdict', role: 'status', 'aria-live': 'polite' });
  const json = h('textarea', { class: 'mono', rows: 30, spellcheck: 'false', id: fresh('json') });
  const jsonError = h('p', { class: 'error', role: 'alert', id: fresh('jsonerror') });
  json.setAttribute('aria-describedby', jsonError.id);
  const save = button(isNew ? 'Create' : 'Save', () => store(), { class: 'primary changes' });
  let timer = 0;
  let asked = 0;
  let clean = '';
  let loaded = false;
  let version = null;

  const form = {
    isNew, readOnly: false, open: new Set(), document: {},
    get: (path) => read(form.document, path),
    set(path, value) { write(form.document, path, value); form.changed(); },
    changed() {
      if (document.activeElement !== json) json.value = JSON.stringify(form.document, null, 2);
      clearTimeout(timer);
      timer = setTimeout(check, DEBOUNCE);
    },
    /** Builds all fields anew; `focus` is the place that gets the focus. */
    render(focus) {
      replace(body, sections(form));
      if (!focus) return;
      const wanted = focus.startsWith('#') ? body.querySelector(`[data-focus="${focus.slice(1)}"]`) : nearest(body, focus)?.querySelector('input, select, textarea, button');
      wanted?.focus();
    },
  };

  const dirty = () => loaded && !form.readOnly && JSON.stringify(form.document) !== clean;

  function unmark() {
    for (const element of body.querySelectorAll('.error')) say(element, '');
    for (const element of body.querySelectorAll('[aria-invalid]')) element.removeAttribute('aria-invalid');
    for (const element of body.querySelectorAll('.badge')) element.hidden = true;
    replace(summary);
  }

  /** Shows each finding at its field, and all of them together with links to the fields. */
  function mark(list) {
    unmark();
    const items = list.filter((one) => one.severity !== 'info').map((one) => {
      const path = within(one.path);
      const at = nearest(body, path);
      const text = `${one.code}: ${one.message}${one.hint ? ` (${one.hint})` : ''}`;
      const said = at?.querySelector(':scope > .error');
      if (said) {
        say(said, [said.textContent, text].filter(Boolean).join(' '));
        said.classList.toggle('warn', one.severity !== 'error');
        const input = at.querySelector(':scope > input, :scope > select, :scope > textarea, :scope > .pair > input');
        if (input && one.severity === 'error') input.setAttribute('aria-invalid', 'true');
      }
      for (let folded = at?.closest('details'); folded; folded = folded.parentElement.closest('details')) {
        const badge = folded.querySelector(':scope > summary .badge');
        if (badge) { badge.hidden = false; say(badge, '!'); badge.title = 'Something in here'; }
      }
      const show = () => {
        for (let folded = at.closest('details'); folded; folded = folded.parentElement.closest('details')) folded.open = true;
        (at.querySelector('input, select, textarea, button') ?? at).focus();
      };
      const item = finding({ ...one, path });
      if (at) item.append(button('Go to the field', show));
      return item;
    });
    if (items.length) summary.append(h('p', { class: 'quiet' }, plural(items.length, 'finding')), h('ul', { class: 'findings' }, items));
  }

  const bodyOf = () => bare(form.document);
  const where = () => (isNew ? '/api/tcp/services' : serviceUrl(id));
  const headers = () => (!isNew && version ? { 'If-Match': version } : {});
  const send = (query) => call(isNew ? 'POST' : 'PUT', `${where()}${query}`, { body: bodyOf(), headers: query ? {} : headers(), quiet: Boolean(query) });

  /** What the proxy thinks of it; nothing is changed. */
  async function check() {
    if (form.readOnly || jsonError.textContent || !mayChange()) return;
    asked += 1;
    const mine = asked;
    try {
      const { data } = await send('?dryRun=true');
      if (mine !== asked) return;
      mark(data.diagnostics ?? []);
      replace(verdict, h('strong', null, isNew ? 'Creating it: ' : 'Saving it: '), planView(data));
    } catch (error) {
      if (mine !== asked) return;
      replace(verdict);
      if (error.body?.diagnostics) {
        mark(error.body.diagnostics);
        say(verdict, 'It cannot be saved like this.');
      } else if (error.absent && (isNew || error.status !== 404)) {
        say(verdict, 'This proxy checks only when saving.');
      } else {
        say(verdict, error.message);
      }
    }
  }

  async function store() {
    clearTimeout(timer);
    asked += 1;
    save.disabled = true;
    try {
      const { data } = await send('');
      clean = JSON.stringify(form.document);
      loaded = false;
      notice(`${data.name || data.id || id} was saved`);
      go(`#/services/${part(data.id ?? id)}`);
    } catch (error) {
      save.disabled = false;
      if (error.status === 412) return newer();
      if (error.body?.diagnostics) mark(error.body.diagnostics);
      if (!summary.childElementCount) replace(summary, h('p', { class: 'error' }, `${error.message}${error.body?.place ? ` (${error.body.place})` : ''}`));
      summary.focus();
    }
    return null;
  }

  /** Somebody else has changed it meanwhile. */
  async function newer() {
    const { data, etag: tag } = await call('GET', serviceUrl(id));
    const current = tag ?? (data._meta?.etag && etag(data._meta.etag));
    const choice = await open({
      title: 'Changed by somebody else meanwhile', wide: true, confirm: 'Load the newer one', cancel: 'Keep editing mine',
      body: [h('p', null, 'Below is what is served now. Loading it drops your changes; keeping yours and saving again replaces it.'),
        h('pre', { tabindex: 0, 'aria-label': 'The newer service' }, JSON.stringify(bare(data), null, 2))],
    });
    version = current;
    if (choice) take(data);
    else say(verdict, 'Saving again replaces the newer one.');
  }

  function take(service) {
    form.document = bare(service);
    form.readOnly = !isNew && !isOwn(service);
    json.readOnly = form.readOnly;
    save.hidden = form.readOnly;
    clean = JSON.stringify(form.document);
    loaded = true;
    json.value = JSON.stringify(form.document, null, 2);
    say(title, isNew ? 'New service' : `${form.readOnly ? '' : 'Edit '}${service.name || service.id}`);
    replace(owned, form.readOnly && h('p', { class: 'owned' }, `It belongs to ${owner(service)} and cannot be changed here.`, service._meta?.place && [' The place to edit: ', h('span', { class: 'mono' }, service._meta.place)]));
    form.render();
    unmark();
    if (isNew) say(verdict, 'The proxy checks what you write while you write it.');
    else check();
  }

  json.addEventListener('input', () => {
    try {
      const parsed = JSON.parse(json.value);
      if (parsed === null || typeof parsed !== 'object' || Array.isArray(parsed)) throw new SyntaxError('a service is an object: { … }');
      say(jsonError, '');
      save.disabled = false;
      form.document = parsed;
      form.render();
      form.changed();
    } catch (error) {
      say(jsonError, error.message);
      save.disabled = true;
    }
  });

  async function load() {
    await loadSchema();
    if (isNew) {
      const template = await maybe('/api/tcp/services/_template').catch(() => null);
      take(template ? bare(template) : blank());
      body.querySelector('[data-path="name"] input')?.focus();
      return;
    }
    try {
      const { data, etag: tag } = await call('GET', serviceUrl(id), { quiet: true });
      version = tag ?? (data._meta?.etag && etag(data._meta.etag));
      take(data);
    } catch (error) {
      replace(body, h('p', { class: 'error', role: 'alert' }, error.absent ? 'There is no such service (any more).' : error.message));
    }
  }

  const copy = button('Copy as JSON', () => navigator.clipboard?.writeText(json.value).then(() => notice('Copied as JSON'), () => json.select()) ?? json.select());
  const back = isNew ? '#/services' : `#/services/${part(id)}`;
  return {
    title: isNew ? 'New service' : `Edit ${id}`,
    el: h('div', null, h('nav', { class: 'crumbs', 'aria-label': 'Where you are' }, link('#/services', 'Services')), title, owned,
      h('div', { class: 'editor' },
        h('div', null, body),
        h('div', { class: 'side' },
          h('div', { class: 'actions' }, save, link(back, 'Cancel', { class: 'button' }), copy),
          verdict, summary,
          h('label', { for: json.id }, 'The same as JSON'), jsonError, json))),
    refresh: load, every: 0, dirty,
  };
}
