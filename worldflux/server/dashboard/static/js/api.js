// The only door to the server: the read API with the session's cookie, or a share's token.

export const boot = JSON.parse(document.getElementById("boot").textContent);

/** What the server said when it did not do what was asked. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `the server answered ${status}`);
    this.status = status;
    this.code = body.code || "failed";
    this.hint = body.hint || "";
    this.body = body;
  }
}

function address(path, query) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query || {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  return url.pathname + url.search;
}

function headers(method, body) {
  const found = { Accept: "application/json" };
  if (body !== undefined) found["Content-Type"] = "application/json";
  if (boot.share) found.Authorization = `Bearer ${boot.share}`;
  else if (method !== "GET" && boot.session) found["X-CSRF-Token"] = boot.session.csrf;
  return found;
}

function signIn() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`);
}

async function problem(answer) {
  let body = {};
  try { body = await answer.json(); } catch { body = {}; }
  if (answer.status === 401 && !boot.share && boot.page !== "login") signIn();
  return new Problem(answer.status, body);
}

/** One request; the raw answer. Throws Problem, or TypeError when the server can not be reached. */
export async function request(method, path, { query, body, signal, range } = {}) {
  const given = headers(method, body);
  if (range) given.Range = range;
  const answer = await fetch(address(path, query), {
    method, signal, headers: given, credentials: boot.share ? "omit" : "same-origin", redirect: "error",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!answer.ok) throw await problem(answer);
  return answer;
}

/** One request; its JSON. */
export async function call(method, path, options) {
  const answer = await request(method, path, options);
  if (answer.status === 204) return null;
  return answer.json();
}

export const get = (path, query, signal) => call("GET", path, { query, signal });

/** Where a browser may load an artifact from by itself (with the cookie). */
export function artifactUrl(run, artifact, download) {
  return address(`/api/runs/${run}/artifacts/${artifact.sha256}`, { download });
}

/** An artifact for `src`: its address, or with a share's token its bytes. */
export async function artifactSource(run, artifact) {
  if (!boot.share) return artifactUrl(run, artifact);
  const answer = await request("GET", artifactUrl(run, artifact));
  return URL.createObjectURL(await answer.blob());
}

/** Save an artifact, a CSV, the manifest: under the name that is given. */
export async function download(path, query, name) {
  if (!boot.share) {
    const link = document.createElement("a");
    link.href = address(path, query);
    link.download = name;
    link.click();
    return;
  }
  const answer = await request("GET", path, { query });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
