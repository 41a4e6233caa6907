// Helpers for elements, requests and times. Texts are inserted as text nodes and attributes only, so data is never interpreted
// as HTML.

/** Creates an element. Properties that begin with "on" are listeners. Those that are false or null are omitted. */
export function h(tag, properties = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (name === "value") e.value = value;
    else e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.flat().filter(c => c !== null && c !== undefined && c !== false));
  return e;
}

export const byID = id => document.getElementById(id);

/** The user's session, as returned by /api/session. */
export const session = { signed_in: false, changeable: false };

const texts = { questions: new Map(), documents: new Map() };

/** Fetches the texts of questions and documents, once. */
export async function loadTexts() {
  if (texts.questions.size) return;
  const answer = await api("/api/questions");
  for (const d of answer.documents) texts.documents.set(d.kind, d);
  for (const q of answer.questions) texts.questions.set(q.key, q);
}

/** Returns the question for a key. */
export const question = key => texts.questions.get(key);

/** Returns the keys of a group of questions. */
export const keysOf = group => [...texts.questions.values()].filter(q => q.group === group).map(q => q.key);

/** Returns the title of a kind of document. */
export const titleOf = kind => texts.documents.get(kind).title;

/** An error response. keys holds the problems of single keys. */
export class Refusal extends Error {
  constructor(status, body) {
    super(body.error || "the console returned status " + status);
    this.status = status;
    this.keys = body.keys || {};
  }
}

/** Requests JSON, by POST if there is a body. */
export async function api(path, body) {
  const answer = await request(path, body);
  return answer.status === 204 ? null : answer.json();
}

/** Sends a request and returns the response. Throws a Refusal if it fails. */
export async function request(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": session.csrf || "" },
    body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refusal(0, { error: "The console cannot be reached. Check that the proxy is running." });
  }
  if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => ({})));
  return answer;
}

let ahead = 0; // browser clock minus server clock, in milliseconds

/** Sets the server's time, because the browser's clock may be wrong. */
export function setNow(now) { ahead = Date.now() - now; }

/** Returns the seconds from now to a time of the server. */
export const secondsTo = at => (at - (Date.now() - ahead)) / 1000;

/** Formats a duration in seconds. */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s >= 2 * 86400) return Math.floor(s / 86400) + " days";
  const two = n => String(n).padStart(2, "0");
  return s >= 3600 ? Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) + ":" + two(s % 60) : Math.floor(s / 60) + ":" + two(s % 60);
}

/** Formats a date and time. */
export const moment = at => new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });

/** Formats part / (part + rest) as a percentage. */
export const percent = (part, rest) => part + rest > 0 ? (100 * part / (part + rest)).toFixed(part && rest ? 1 : 0) + " %" : "–";

/** Returns a button that copies a text. */
export function copyButton(text, what) {
  return h("button", {
    class: "plain", type: "button", "aria-label": "Copy " + what, onclick: async e => {
      const button = e.currentTarget;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch { // browsers provide the clipboard only over HTTPS and on localhost
        getSelection().selectAllChildren(button.parentElement.querySelector("[data-copy]"));
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    },
  }, "Copy");
}

/** Returns an error notice. */
export const problem = text => h("p", { class: "notice bad", role: "alert" }, text);
