// What is wrong with the page as it stands, one finding an entry. Evaluated in the page.
(() => {
  const found = [];
  const shown = (element) => element.checkVisibility({ visibilityProperty: true });
  const name = (element) => `${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ''} "${(element.textContent || '').trim().slice(0, 40)}"`;
  const say = (what, element) => found.push(`${what}: ${name(element)}`);

  const ids = new Map();
  for (const element of document.querySelectorAll('[id]')) ids.set(element.id, (ids.get(element.id) ?? 0) + 1);
  for (const [id, count] of ids) if (count > 1) found.push(`id twice: ${id}`);
  for (const attribute of ['aria-labelledby', 'aria-describedby', 'for']) {
    for (const element of document.querySelectorAll(`[${attribute}]`)) {
      for (const id of element.getAttribute(attribute).split(/\s+/)) if (!ids.has(id)) say(`${attribute} names nothing (${id})`, element);
    }
  }
  for (const element of document.querySelectorAll('input, select, textarea')) {
    if (shown(element) && !element.labels?.length && !element.getAttribute('aria-label')) say('no label', element);
  }
  for (const element of document.querySelectorAll('button, a[href], summary')) {
    if (shown(element) && !(element.getAttribute('aria-label') || element.textContent).trim()) say('no name', element);
  }
  for (const element of document.querySelectorAll('img')) if (!element.hasAttribute('alt')) say('no alt', element);
  for (const element of document.querySelectorAll('[role="group"], [role="slider"], dialog, nav, section')) {
    if (!element.getAttribute('aria-label') && !element.getAttribute('aria-labelledby')) say('a landmark without a name', element);
  }
  for (const element of document.querySelectorAll('table')) {
    if (!element.caption?.textContent) say('no caption', element);
    for (const head of element.querySelectorAll('th')) if (!head.scope) say('no scope', head);
    for (const head of element.querySelectorAll('thead th')) if (!head.textContent.trim()) say('an empty head', head);
  }
  if (document.querySelectorAll('h1').length !== 1) found.push(`${document.querySelectorAll('h1').length} main headings`);
  if (document.querySelectorAll('main').length !== 1 || !document.querySelector('header') || !document.querySelector('nav')) found.push('landmarks are missing');
  if (!document.documentElement.lang || !document.title) found.push('no language or no title');
  for (const element of document.querySelectorAll('[style], script:not([src]), style')) say('inline style or script', element);
  for (const element of document.querySelectorAll('[tabindex]')) if (element.tabIndex > 0) say('an order of its own', element);

  // Contrast (WCAG 1.4.3 AA), of every text against what is behind it.
  const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)).reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !shown(element) || element.closest(':disabled, .hidden-label, .skip')) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(element instanceof SVGElement ? style.fill : style.color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) say(`contrast ${ratio.toFixed(2)}`, element);
  }
  const over = document.documentElement.scrollWidth - innerWidth;
  if (over > 0) found.push(`wider than the window by ${over} px`);
  return found;
})()
