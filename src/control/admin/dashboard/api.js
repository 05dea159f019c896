// Asking the admin API. The token is kept for this tab's session only.

const KEY = 'thalweg.token';

/** What an answer that is no success said. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body?.error_description ?? (status ? `the proxy answered ${status}` : 'the proxy does not answer'));
    this.status = status;
    this.code = body?.error ?? '';
    this.body = body ?? {};
  }
  /** The endpoint is not part of this proxy, or takes no such call. */
  get absent() { return [404, 405, 501].includes(this.status); }
}

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? '',
  set: (text) => { if (text) sessionStorage.setItem(KEY, text); else sessionStorage.removeItem(KEY); },
};

/** Asks for a token, after one that was not taken; set by the page. Resolves to whether there is a new one. */
export const prompt = { ask: async () => false };
const ATTEMPTS = 10;

async function once(shown, method, path, body, headers) {
  const request = {
    method,
    headers: { Accept: 'application/json', ...headers },
    cache: 'no-store',
    signal: AbortSignal.timeout(15_000),
  };
  if (shown) request.headers.Authorization = `Bearer ${shown}`;
  if (body !== undefined) {
    request.headers['Content-Type'] = 'application/json';
    request.body = typeof body === 'string' ? body : JSON.stringify(body);
  }
  let answer;
  let text;
  try {
    answer = await fetch(path, request);
    text = await answer.text();
  } catch {
    throw new ApiError(0);
  }
  let data = text;
  try { data = JSON.parse(text); } catch { /* metrics are no JSON */ }
  if (!answer.ok) throw new ApiError(answer.status, typeof data === 'object' ? data : null);
  return { data, etag: answer.headers.get('ETag'), status: answer.status };
}

/** One call. Where a token is wanted it is asked for, once for all calls that wait. */
export async function call(method, path, { body, headers, quiet } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const shown = token.get();
    try {
      return await once(shown, method, path, body, headers);
    } catch (error) {
      if (error.status !== 401 || attempt === ATTEMPTS) throw error;
      // Somebody else may have been given another one meanwhile.
      if (token.get() === shown && !(await prompt.ask(!quiet, Boolean(shown)))) throw error;
    }
  }
}

export const get = async (path) => (await call('GET', path, { quiet: true })).data;

/** As `get`, but null where this proxy has no such endpoint. */
export async function maybe(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error.absent) return null;
    throw error;
  }
}

export const part = encodeURIComponent;
export const serviceUrl = (id) => `/api/tcp/services/${part(id)}`;
