// What every part of the page needs: elements, requests, times. Texts only ever become text nodes and attributes of elements that are
// named here; nothing that comes from outside is read as HTML.

/** Makes an element. Properties beginning with "on" are listeners; false and null leave one out; children may be texts. */
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

/** The visitor's session, as /api/session tells it. */
export const session = { signed_in: false, changeable: false };

const texts = { questions: new Map(), documents: new Map() };

/** Fetches the texts of questions and documents, once. */
export async function loadTexts() {
  if (texts.questions.size) return;
  const answer = await api("/api/questions");
  for (const d of answer.documents) texts.documents.set(d.kind, d);
  for (const q of answer.questions) texts.questions.set(q.key, q);
}

/** The question about a key. */
export const question = key => texts.questions.get(key);

/** The keys of a group of questions. */
export const keysOf = group => [...texts.questions.values()].filter(q => q.group === group).map(q => q.key);

/** The title of a kind of document. */
export const titleOf = kind => texts.documents.get(kind).title;

/** A request that was refused, with what is wrong with single keys, if that was told. */
export class Refusal extends Error {
  constructor(status, body) {
    super(body.error || "the console answers " + status);
    this.status = status;
    this.keys = body.keys || {};
  }
}

/** Asks for JSON; with a body, by POST. */
export async function api(path, body) {
  const answer = await request(path, body);
  return answer.status === 204 ? null : answer.json();
}

/** Asks, and returns the response; whatever is no success is thrown as a Refusal. */
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
    throw new Refusal(0, { error: "The console cannot be reached: is the proxy still running?" });
  }
  if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => ({})));
  return answer;
}

let ahead = 0; // of our clock over the server's, in milliseconds

/** Notes what time it is at the server: the visitor's clock may be wrong. */
export function setNow(now) { ahead = Date.now() - now; }

/** Seconds from now to an instant of the server's. */
export const secondsTo = at => (at - (Date.now() - ahead)) / 1000;

/** A span of time as people say it. */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s >= 2 * 86400) return Math.floor(s / 86400) + " days";
  const two = n => String(n).padStart(2, "0");
  return s >= 3600 ? Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) + ":" + two(s % 60) : Math.floor(s / 60) + ":" + two(s % 60);
}

/** A date and a time. */
export const moment = at => new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });

/** A share in per cent. */
export const percent = (part, rest) => part + rest > 0 ? (100 * part / (part + rest)).toFixed(part && rest ? 1 : 0) + " %" : "–";

/** A button that copies a text. */
export function copyButton(text, what) {
  return h("button", {
    class: "plain", type: "button", "aria-label": "Copy " + what, onclick: async e => {
      const button = e.currentTarget;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch { // there is no clipboard for pages that come over http from another machine
        getSelection().selectAllChildren(button.parentElement.querySelector("[data-copy]"));
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    },
  }, "Copy");
}

/** A text that is a no. */
export const problem = text => h("p", { class: "notice bad", role: "alert" }, text);
