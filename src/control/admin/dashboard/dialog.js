// Dialogs: the browser's own, which hold the focus, give it back and close on Escape.

import { button, fresh, h, say } from './dom.js';

/**
 * Opens a dialog. `act` is done on the button that confirms; what it throws is shown and the dialog
 * stays. Resolves to what `act` gave, or null when it was left.
 */
export function open({ title, body = [], confirm = 'OK', danger = false, act = async () => true, wide = false, cancel = 'Cancel' }) {
  return new Promise((resolve) => {
    const id = fresh('dialog');
    const error = h('p', { class: 'error', role: 'alert' });
    let result = null;
    const close = button(cancel, () => dialog.close());
    const go = confirm && h('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, confirm);
    const form = h('form', { method: 'dialog', onsubmit: async (event) => {
      event.preventDefault();
      if (go) go.disabled = true;
      try {
        result = (await act()) ?? true;
        dialog.close();
      } catch (problem) {
        say(error, problem.message);
        if (go) go.disabled = false;
      }
    } },
    h('h2', { id }, title), body, error, h('div', { class: 'actions' }, close, go));
    const dialog = h('dialog', { 'aria-labelledby': id, class: wide ? 'wide' : '', onclose: () => { dialog.remove(); resolve(result); } }, form);
    const focused = document.activeElement;
    dialog.addEventListener('close', () => focused?.isConnected && focused.focus());
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Says that something was done. */
export function notice(text) {
  const place = document.getElementById('notice');
  say(place, text);
  clearTimeout(notice.timer);
  notice.timer = setTimeout(() => say(place, ''), 6000);
}
