// Signing in and out.
import { api, byID, h, problem, session } from "./dom.js";

const dialog = byID("dialog");

/** Fetches the session and shows the user's name in the header. */
export async function showSession() {
  const now = await api("/api/session"), same = JSON.stringify(now) === JSON.stringify(session);
  for (const key of Object.keys(session)) delete session[key];
  Object.assign(session, now);
  if (same) return;
  byID("who").textContent = session.version;
  const account = session.signed_in ? [h("span", {}, session.name + " "), h("button", { class: "plain", type: "button", onclick: signOut }, "Sign out")]
    : session.changeable ? [h("button", { class: "plain", type: "button", onclick: signIn }, "Sign in")]
      : [h("span", { class: "badge", title: session.why }, "read-only")];
  byID("account").replaceChildren(...account);
}

async function changed() {
  await showSession();
  document.dispatchEvent(new Event("changed"));
}

/** Returns the fields of a sign-in, with a button. done is called after the user has signed in. */
export function signInFields(done) {
  const trouble = h("div");
  const name = h("input", { name: "who", required: true, maxlength: "64", autocomplete: "username", value: session.name || "" });
  const token = h("input", { name: "token", type: "password", required: true, autocomplete: "current-password" });
  const submit = async e => {
    e.preventDefault();
    try {
      await api("/api/sign-in", { name: name.value, token: token.value });
      await changed();
      done();
    } catch (err) {
      trouble.replaceChildren(problem(err.message));
    }
  };
  for (const field of [name, token]) field.addEventListener("keydown", e => { if (e.key === "Enter") void submit(e); });
  return h("div", { class: "step" }, h("div", { class: "field" }, h("label", {}, "Name (recorded in the log) ", name)),
    h("div", { class: "field" }, h("label", {}, "Token ", token), h("p", { class: "soft" }, "The value of admin.token in the configuration.")), trouble,
    h("div", { class: "actions" }, h("button", { type: "button", "data-submit": true, onclick: submit }, "Sign in")));
}

function signIn() {
  const fields = signInFields(() => {
    dialog.close();
    byID("account").querySelector("button").focus();
  });
  fields.querySelector(".actions").prepend(h("button", { class: "plain", type: "button", onclick: () => dialog.close() }, "Cancel"));
  dialog.replaceChildren(h("h2", { id: "dialog-title" }, "Sign in"), fields);
  dialog.showModal();
}

async function signOut() {
  await api("/api/sign-out", {});
  await changed();
}
