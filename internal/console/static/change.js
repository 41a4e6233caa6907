// The dialogs that add, change and remove integrations: fields, documents, a check, and the diff to save.
import { api, byID, h, keysOf, problem, question, titleOf } from "./dom.js";
import { checkPanel } from "./check.js";
import { documentView, formats, tagsBox } from "./documents.js";
import { signInFields } from "./signin.js";

const dialog = byID("dialog");

/** A change of one integration, and the dialog that leads through its steps. */
class Change {
  constructor(action, name, title) {
    Object.assign(this, { action, name, title, draft: {}, at: 0, several: false });
  }

  /** Fetches the draft and opens the dialog at the first step. */
  async open(steps) {
    this.steps = steps;
    try {
      const begin = await api("/api/draft" + (this.name ? "?" + new URLSearchParams({ name: this.name }) : ""));
      Object.assign(this, { base: begin.base, draft: { ...begin.draft }, before: begin.draft });
      this.several = Boolean(begin.draft.permitted_buckets);
    } catch (err) {
      this.steps = [{ title: this.title, show: () => problem(err.message), last: true }];
    }
    current = this;
    this.beginning = JSON.stringify(this.change().draft);
    await this.show(0);
    if (!dialog.open) dialog.showModal();
  }

  /** Returns the change as the server expects it, with only the keys whose values differ. */
  change(more = {}) {
    const draft = {};
    for (const key of new Set([...Object.keys(this.before || {}), ...Object.keys(this.draft)])) {
      const was = (this.action === "change" && this.before[key]) || "", is = this.draft[key] || "";
      if (is !== was) draft[key] = is;
    }
    return { action: this.action, name: this.name || "", draft: this.action === "remove" ? {} : draft, base: this.base, ...more };
  }

  /** Shows the step with index at. */
  async show(at) {
    this.at = at;
    const step = this.steps[at];
    const body = h("div", { class: "step" });
    const trouble = h("div");
    const close = h("button", { class: "plain", type: "button", onclick: () => leave(this) }, "Cancel");
    const back = at > 0 ? h("button", { class: "plain", type: "button", onclick: () => void this.show(this.previous(at)) }, "Back") : null;
    const next = step.last ? null : h("button", {}, step.button || "Next");
    const form = h("form", {
      novalidate: true, onsubmit: async e => {
        e.preventDefault();
        if (this.busy) return;
        this.busy = true;
        trouble.replaceChildren();
        for (const input of form.querySelectorAll("[aria-invalid]")) this.valid(input);
        try {
          await step.next?.(this);
          await this.show(this.following(at));
        } catch (err) {
          this.explain(err, form, trouble);
        }
        this.busy = false;
      },
    }, body, trouble, h("div", { class: "actions" }, close, back, next));
    const counted = this.steps.filter(s => !s.last && !s.skip?.(this));
    dialog.replaceChildren(h("h2", { id: "dialog-title", tabindex: "-1" }, step.title), counted.length > 1 && !step.last ? h("p", { class: "soft" }, `${this.title}, step ${counted.indexOf(step) + 1} of ${counted.length}`) : null, form);
    body.replaceChildren(...[await step.show(this, form)].flat());
    (dialog.querySelector("input:not([type=checkbox]):not([type=radio]), select") || byID("dialog-title")).focus();
  }

  following(at) {
    do at++; while (this.steps[at].skip?.(this));
    return at;
  }

  previous(at) {
    do at--; while (this.steps[at].skip?.(this));
    return at;
  }

  /** Removes the error of a field and shows its hint again. */
  valid(input) {
    const note = byID(input.getAttribute("aria-describedby"));
    input.removeAttribute("aria-invalid");
    note.textContent = note.dataset.hint;
    note.className = "soft";
  }

  /** Shows each error next to its field, and the others in trouble. An error without a key is shown at the role or the bucket. */
  explain(err, form, trouble) {
    const rest = [];
    let first = null;
    for (const [key, text] of Object.entries(err.keys || {})) {
      const input = form.querySelector(key ? `[name="${CSS.escape(key)}"]` : text.includes("role_arn") ? "[name=role_arn]" : "[name=bucket], [name=permitted_buckets]");
      if (!input) {
        rest.push((key ? key + ": " : "") + text);
        continue;
      }
      input.setAttribute("aria-invalid", "true");
      const note = byID(input.getAttribute("aria-describedby"));
      note.textContent = text;
      note.className = "bad";
      if (!first || input.compareDocumentPosition(first) & Node.DOCUMENT_POSITION_FOLLOWING) first = input;
    }
    if (!Object.keys(err.keys || {}).length || rest.length) trouble.replaceChildren(problem(rest.join("\n") || err.message));
    if (err.status === 409) {
      trouble.append(h("button", {
        type: "button", class: "plain", onclick: () => {
          this.base = "";
          if (this.steps[this.at].shows) void this.show(this.at);
          else form.requestSubmit();
        },
      }, "Continue with the current file"));
    }
    if (err.status === 401) trouble.append(signInFields(() => form.requestSubmit()));
    if (!first) trouble.setAttribute("tabindex", "-1");
    (first || trouble).focus();
  }

  /** Returns the input for a key. */
  input(key) {
    const { label, hint, yes_no, default: standard } = question(key);
    const id = "hint-" + key;
    if (yes_no) {
      const box = h("input", {
        type: "checkbox", name: key, checked: (this.draft[key] || standard) === "true", "aria-describedby": id,
        onchange: e => { this.draft[key] = String(e.target.checked) === standard && !this.before[key] ? "" : String(e.target.checked); },
      });
      return h("div", { class: "field" }, h("label", { class: "box" }, box, " " + label), h("p", { id, class: "soft", "data-hint": "" }));
    }
    return h("div", { class: "field" }, h("label", {}, label, h("input", {
      name: key, value: this.draft[key] || "", autocomplete: "off", spellcheck: "false", "aria-describedby": id, oninput: e => {
        this.draft[key] = e.target.value.trim();
        this.valid(e.target);
      },
    })), h("p", { id, class: "soft", "data-hint": hint }, hint));
  }

  inputs(...keys) { return keys.map(key => this.input(key)); }

  /** Returns the choice between one bucket and several. */
  scope() {
    const buckets = h("div");
    const choose = several => {
      if (several !== this.several) { // keep the first bucket
        const [from, to] = several ? ["bucket", "permitted_buckets"] : ["permitted_buckets", "bucket"];
        this.draft[to] = (this.draft[from] || "").split(" ")[0];
        this.draft[from] = "";
        if (several) this.draft.prefix = this.draft.blocked_prefixes = ""; // they are of one bucket
      }
      this.several = several;
      buckets.replaceChildren(...this.inputs(...(several ? ["permitted_buckets"] : ["bucket", "prefix", "blocked_prefixes"])));
    };
    choose(this.several);
    const radio = (several, label) => h("label", { class: "box" }, h("input", { type: "radio", name: "scope", checked: this.several === several, onchange: () => choose(several) }), " " + label);
    return h("fieldset", {}, h("legend", {}, "Scope"), radio(false, "One bucket"), radio(true, question("permitted_buckets").label), buckets);
  }
}

const more = (summary, open, ...children) => h("details", { open }, h("summary", {}, summary), ...children);

/** Fetches the documents of the changed integration. The server validates the change. */
const documentsOf = (change, roleLater, kinds = [], format = "json") =>
  api("/api/documents", { change: change.change(), role_later: roleLater, kinds, format, principal: change.principal || "", with_tags: Boolean(change.withTags) });

/** Returns a step that shows one kind of document, with inputs for the given keys. */
const documentsStep = (kind, { keys = [], principal = false, skip, next } = {}) => ({
  get title() { return titleOf(kind); }, skip, next,
  show: (change, form) => {
    const list = h("div");
    const format = h("select", { name: "format", onchange: () => void show() }, formats.map(([value, name]) => h("option", { value }, name)));
    const who = principal ? h("label", { class: "wide", title: question("principal").hint }, question("principal").label + " ", h("input", {
      name: "principal", value: change.principal || "", autocomplete: "off", spellcheck: "false", placeholder: "looked up from STS", onchange: e => { change.principal = e.target.value.trim(); void show(); },
    })) : null;
    const tags = principal ? h("label", { class: "box" }, tagsBox(change.withTags, e => { change.withTags = e.target.checked; void show(); }), " " + question("with_tags").label) : null;
    const inputs = change.inputs(...keys);
    for (const i of inputs) i.addEventListener("change", () => void show());
    let asked = 0;
    async function show() {
      const mine = ++asked;
      try {
        const answer = await documentsOf(change, true, [kind], format.value);
        if (mine !== asked) return; // a newer request replaces this one
        list.replaceChildren(...answer.documents.map(documentView));
      } catch (err) {
        list.replaceChildren();
        change.explain(err, form, list);
      }
    }
    void show();
    return [...inputs, h("div", { class: "line" }, h("label", {}, "Format ", format), who), tags, list].filter(Boolean);
  },
});

const tryStep = {
  title: "Try it",
  show: change => {
    const bucket = change.draft.bucket || (change.draft.permitted_buckets || "").split(" ").find(b => !b.includes("*"));
    return [h("p", {}, "This checks the integration with your changes before anything is saved. Enter an object to check that it can be read."),
      checkPanel(() => ({ change: change.change() }), bucket ? `s3://${bucket}/${change.draft.prefix || ""}` : "s3://", s => { change.draft[s.key] = s.value; })];
  },
};

const saveStep = {
  title: "What will be written", button: "Save", shows: true,
  show: async (change, form) => {
    const next = form.querySelector(".actions button:not([type])");
    next.hidden = true;
    const preview = await api("/api/changes", change.change({ save: false })).catch(err => err);
    if (preview instanceof Error) {
      const trouble = h("div");
      change.explain(preview, form, trouble);
      return [trouble];
    }
    change.base = preview.base;
    if (!preview.different) return [h("p", {}, "No changes.")];
    next.hidden = false;
    return [h("p", {}, `Changes to ${preview.file}, the integration's file:`), diffView(preview.diff)];
  },
  next: async change => {
    const { problem: refused } = await api("/api/changes", change.change({ save: true }));
    change.refused = refused;
    change.saved = true;
    document.dispatchEvent(new Event("changed"));
  },
};

const doneStep = text => ({ title: "Done", last: true, show: change => [change.refused ? problem(change.refused) : h("p", { role: "status" }, text(change)), h("button", { type: "button", onclick: () => dialog.close() }, "Close")] });

/** Returns a diff with its removed and added lines marked. */
const diffView = text => h("pre", { class: "diff", tabindex: "0", "aria-label": "Changes to the file" }, text.split("\n").filter((line, n, all) => line || n < all.length - 1)
  .map(line => h(line.startsWith("+") ? "ins" : line.startsWith("-") ? "del" : "span", {}, line + "\n")));

/** Opens the dialog that adds an integration. */
export const addIntegration = () => new Change("add", "", "New integration").open([
  {
    title: "Which buckets?",
    show: change => [change.scope(), ...change.inputs("name", "region"), h("fieldset", {}, h("legend", {}, "Rights"), change.inputs("file_versioning", "list_bucket")),
      more("An S3-compatible store", keysOf("store").some(k => change.draft[k]), h("p", { class: "soft" }, "MinIO, Ceph, R2 and others."), change.inputs(...keysOf("store")))],
    next: async change => {
      try {
        const { name, keys_only: keysOnly } = await documentsOf(change, true);
        change.draft.name = name;
        change.keysOnly = keysOnly; // the store has no STS
        if (keysOnly) change.draft.external_id = change.draft.role_arn = "";
      } catch (err) {
        if (!change.draft.name && err.keys) delete err.keys.name; // the default name derives from the invalid bucket
        throw err;
      }
    },
  },
  documentsStep("access"),
  documentsStep("trust", { keys: ["external_id"], principal: true, skip: change => change.keysOnly }),
  {
    title: "The role", skip: change => change.keysOnly,
    show: change => [h("p", {}, "Create the role with the two policies, and enter its ARN."), ...change.inputs("role_arn", "session_duration")],
    next: change => documentsOf(change, false),
  },
  documentsStep("cors"),
  tryStep, saveStep,
  doneStep(change => `${change.draft.name} is in use. You can now try one of its locators.`),
]);

/** Opens the dialog that changes an integration. */
export const changeIntegration = name => new Change("change", name, name).open([
  {
    title: "Edit " + name,
    show: change => [change.scope(), ...change.inputs("name", "region", "role_arn", "external_id"), h("fieldset", {}, h("legend", {}, "Rights"), change.inputs(...keysOf("rights"))),
      more("An S3-compatible store", keysOf("store").some(k => change.draft[k]), change.inputs(...keysOf("store"))), more("Sessions and URLs", keysOf("sessions").some(k => change.draft[k]), change.inputs(...keysOf("sessions")))],
    next: change => documentsOf(change, false),
  },
  tryStep, saveStep, doneStep(change => `${change.draft.name} is in use with the new values.`),
]);

/** Opens the dialog that removes an integration. */
export const removeIntegration = name => new Change("remove", name, "Remove " + name).open([
  { ...saveStep, title: `Remove ${name}?`, button: "Remove" }, doneStep(() => `${name} was removed. Its buckets are no longer served.`),
]);

/** Closes the dialog. Asks first if there are unsaved changes. */
function leave(change) {
  const written = !change.saved && JSON.stringify(change.change().draft) !== change.beginning;
  if (!written || confirm("Discard unsaved changes?")) dialog.close();
}

let current = null;
dialog.addEventListener("cancel", e => {
  if (!current) return;
  e.preventDefault();
  leave(current);
});
dialog.addEventListener("close", () => {
  current = null;
  dialog.replaceChildren();
});
