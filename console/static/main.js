// The page: who looks at it, and how often it asks how things stand.
import { api, byID, h, problem, session } from "./dom.js";
import { showIntegrations, tick } from "./integrations.js";
import { showOverview } from "./overview.js";
import "./trial.js";

const dialog = byID("dialog");

async function showSession() {
  for (const key of Object.keys(session)) delete session[key];
  Object.assign(session, await api("/api/session"));
  byID("who").textContent = session.version;
  const account = session.signed_in ? [h("span", {}, session.name + " "), h("button", { class: "plain", type: "button", onclick: signOut }, "Sign out")]
    : session.changeable ? [h("button", { class: "plain", type: "button", onclick: signIn }, "Sign in")]
      : [h("span", { class: "badge", title: session.why }, "read-only")];
  byID("account").replaceChildren(...account);
}

function signIn() {
  const trouble = h("div");
  const form = h("form", {
    onsubmit: async e => {
      e.preventDefault();
      try {
        await api("/api/sign-in", Object.fromEntries(new FormData(form)));
        dialog.close();
        await showSession();
        await showIntegrations();
        byID("account").querySelector("button").focus();
      } catch (no) {
        trouble.replaceChildren(problem(no.message));
      }
    },
  }, h("div", { class: "field" }, h("label", {}, "Your name, for the log ", h("input", { name: "name", required: true, maxlength: "64", autocomplete: "username" }))),
  h("div", { class: "field" }, h("label", {}, "Token ", h("input", { name: "token", type: "password", required: true, autocomplete: "current-password" })),
    h("p", { class: "soft" }, "The configuration's admin.token.")),
  trouble, h("div", { class: "actions" }, h("button", { class: "plain", type: "button", onclick: () => dialog.close() }, "Cancel"), h("button", {}, "Sign in")));
  dialog.replaceChildren(h("h2", { id: "dialog-title" }, "Sign in"), form);
  dialog.showModal();
}

async function signOut() {
  await api("/api/sign-out", {});
  await showSession();
  await showIntegrations();
}

/** Asks how things stand, now and then, while somebody looks. Many integrations are asked for less often. */
async function follow() {
  let pause = 5;
  if (!document.hidden) {
    try {
      const [, count] = await Promise.all([showOverview(), showIntegrations()]);
      pause = Math.max(5, count / 50);
      if (byID("notices").dataset.away) {
        delete byID("notices").dataset.away;
        byID("notices").replaceChildren();
        await showSession();
      }
    } catch (no) {
      byID("notices").dataset.away = "true";
      delete byID("notices").dataset.texts;
      byID("notices").replaceChildren(problem(no.message));
    }
  }
  setTimeout(follow, 1000 * pause);
}

await showSession().catch(() => {});
void follow();
setInterval(tick, 1000);
