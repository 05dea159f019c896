// What the tests do in the page, by the names that people see. There before the page's own scripts.
window.at = (path) => document.querySelector(`[data-path="${path}"]`);
window.fill = (path, text) => {
  const input = at(path).querySelector('input, select, textarea');
  input.focus();
  if (input.type === 'checkbox') { if (input.checked !== text) input.click(); return true; }
  input.value = text;
  input.dispatchEvent(new Event(input.tagName === 'SELECT' ? 'change' : 'input', { bubbles: true }));
  return true;
};
window.control = (text) => {
  const inside = document.querySelector('dialog') ?? document;
  return [...inside.querySelectorAll('button, a')].find((one) => one.textContent.trim() === text && one.checkVisibility() && !one.disabled);
};
window.press = (text) => { const found = control(text); found?.click(); return Boolean(found); };
window.text = (selector) => document.querySelector(selector)?.textContent ?? '';
