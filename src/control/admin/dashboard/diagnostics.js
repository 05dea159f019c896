// Diagnostics: of the configuration that is served, and of one that was refused.

import { maybe } from './api.js';
import { h, replace, section, tag } from './dom.js';
import { codeButton } from './explain.js';
import { plural, when } from './format.js';

const KINDS = { error: 'bad', warn: 'warn', warning: 'warn', info: '' };

/** One finding, as `thalweg check` says it. */
export const finding = (one) => h('li', { class: `finding ${KINDS[one.severity] ?? ''}` },
  tag(one.severity === 'warn' ? 'warning' : one.severity, KINDS[one.severity]), ' ', codeButton(one.code), ' ',
  h('span', { class: 'message' }, one.message),
  (one.path || one.line) && h('div', { class: 'quiet mono' }, one.path, one.line ? `  line ${one.line}` : ''),
  one.hint && h('div', { class: 'hint' }, `Hint: ${one.hint}`));

export const findings = (list) => (list?.length
  ? h('ul', { class: 'findings' }, list.map(finding))
  : h('p', { class: 'quiet' }, 'No findings.'));

/** Asks; null where the proxy has none. */
export const diagnostics = () => maybe('/api/diagnostics');

/** The last reload that was refused, where nothing good came after it. */
export const refused = (found) => found?.refused && section('Refused reload', { class: 'refused' },
  h('p', null, tag('refused', 'bad'), ` ${when(found.refused.at)}${found.refused.message ? `: ${found.refused.message}` : ''}. What was served before is still served.`),
  findings(found.refused.diagnostics));

export function diagnosticsView() {
  const place = h('div');
  const refresh = async () => {
    const found = await diagnostics();
    if (!found) return replace(place, h('p', { class: 'quiet' }, 'This proxy does not tell its diagnostics here; `thalweg check` does.'));
    const key = JSON.stringify(found);
    if (place.dataset.shown === key) return place;
    place.dataset.shown = key;
    const errors = (found.served ?? []).filter((one) => one.severity !== 'info').length;
    return replace(place, refused(found), section(`Served configuration: ${plural(errors, 'warning')}`, null, findings(found.served)));
  };
  return { title: 'Diagnostics', el: h('div', null, h('h1', null, 'Diagnostics'), place), refresh, every: 5000 };
}
