// Sends HTTP requests with one of Node's libraries and follows redirects by the library's rules.
//
// Arguments: the folder with node_modules, the library, and a JSON list of requests with url,
// method, headers and user ("ann:password"). The output is a JSON list of [status, body].
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, library, wanted] = process.argv.slice(2);

const withPassword = r => r.user
  ? { ...r.headers, Authorization: "Basic " + btoa(r.user) } : r.headers;

const libraries = {
  async fetch() {
    return async r => {
      const answer = await fetch(r.url, { method: r.method, headers: withPassword(r) });
      return [answer.status, await answer.text()];
    };
  },
  async axios() {
    const axios = createRequire(folder + "/")("axios");
    return async r => {
      const [username, password] = r.user.split(":");
      const answer = await axios.request({
        url: r.url, method: r.method, headers: r.headers, responseType: "text",
        auth: r.user ? { username, password } : undefined,
        transformResponse: text => text, validateStatus: () => true,
      });
      return [answer.status, answer.data];
    };
  },
  async got() {
    const { got } = await import(pathToFileURL(folder + "/node_modules/got/dist/source/index.js"));
    return async r => {
      const [username, password] = r.user.split(":");
      const answer = await got(r.url, {
        method: r.method, headers: r.headers, throwHttpErrors: false, retry: { limit: 0 },
        ...(r.user ? { username, password } : {}),
      });
      return [answer.statusCode, answer.body];
    };
  },
};

const send = await libraries[library]();
const answers = [];
for (const r of JSON.parse(wanted)) {
  try {
    answers.push((await send(r)).map(String));
  } catch (e) {
    answers.push(["failed", String(e.cause?.message ?? e.message)]);
  }
}
console.log(JSON.stringify(answers));
