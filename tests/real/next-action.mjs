// Performs the Server Action of `next/` as a browser without scripts does: reads the form, posts it.
//
//   node next-action.mjs https://koda.example.com[:PORT] CA_FILE HOST:PORT ORIGIN
//
// Prints one line {"status":N,"accepted":BOOL,"before":N,"after":N}: `accepted` says whether the action
// ran, which is read off the page afterwards. Exits 0 whenever the question could be answered; otherwise
// prints {"status":null,"accepted":false,"reason":...} and exits 1.

import { randomUUID } from "node:crypto";
import https from "node:https";
import { connectOptions } from "./connect-to.mjs";

const [base, caFile, connectTo, origin] = process.argv.slice(2);
if (!origin) {
  console.error("usage: next-action.mjs BASE_URL CA_FILE HOST:PORT ORIGIN");
  process.exit(2);
}
const connect = connectOptions(base, caFile, connectTo);

try {
  print(await act());
} catch (error) {
  print({ status: null, accepted: false, reason: error.message });
  process.exitCode = 1;
}

async function act() {
  const form = await request("GET");
  const action = form.body.match(/name="(\$ACTION_ID_[0-9a-f]+)"/)?.[1];
  if (form.status !== 200 || !action) {
    throw new Error(`no form with an action came: status ${form.status}, ${form.body.slice(0, 300)}`);
  }
  const message = randomUUID();
  const { status } = await request("POST", multipart({ [action]: "", message }), { origin });
  const page = await request("GET");
  const accepted = page.body.includes(`<output id="message">${message}</output>`);
  return { status, accepted, before: count(form.body), after: count(page.body) };
}

function print(result) {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function count(body) {
  return Number(body.match(/<output id="count">(\d+)<\/output>/)?.[1]);
}

function multipart(fields) {
  const boundary = `----adit${randomUUID()}`;
  const parts = Object.entries(fields).map(
    ([name, value]) => `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  );
  return { type: `multipart/form-data; boundary=${boundary}`, bytes: Buffer.from(`${parts.join("")}--${boundary}--\r\n`) };
}

/** One request on a connection of its own. */
function request(method, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const sent = https.request(new URL("/", base), { ...connect, method, headers, timeout: 20_000 }, async (response) => {
      try {
        let text = "";
        for await (const chunk of response.setEncoding("utf8")) {
          text += chunk;
        }
        resolve({ status: response.statusCode, body: text });
      } catch (error) {
        reject(error);
      }
    });
    sent.on("error", reject);
    sent.on("timeout", () => sent.destroy(new Error("no answer within 20 s")));
    if (body) {
      sent.setHeader("content-type", body.type);
      sent.setHeader("content-length", body.bytes.length);
    }
    sent.end(body?.bytes);
  });
}
