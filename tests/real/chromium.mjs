// Opens a page in Chromium, uploads from it, holds a WebSocket, and tells which protocols it spoke.
//
//   node chromium.mjs URL CA_FILE ADDRESS:PORT quic|tcp|discover
//
// Behind URL has to be echo.mjs. `quic` forces QUIC for the origin, `tcp` turns it off, and `discover` leaves
// it to Alt-Svc. Prints one JSON object.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import tls from "node:tls";
import { chromium } from "playwright-core";

const [base, caFile, connectTo, mode] = process.argv.slice(2);
const { hostname, port } = new URL(base);
const address = connectTo.slice(0, connectTo.lastIndexOf(":"));

/** The hash of the key that Chromium is to believe: QUIC takes no roots of a user's own, but it takes this. */
function keyOfTheRelay() {
  return new Promise((resolve, reject) => {
    const options = { host: address, port, servername: hostname, ca: readFileSync(caFile) };
    const socket = tls.connect(options, () => {
      const key = socket.getPeerX509Certificate().publicKey.export({ type: "spki", format: "der" });
      socket.destroy();
      resolve(createHash("sha256").update(key).digest("base64"));
    });
    socket.once("error", reject);
  });
}

const modes = {
  quic: ["--enable-quic", `--origin-to-force-quic-on=${hostname}:${port}`],
  tcp: ["--disable-quic"],
  // Over QUIC a private root is believed only for hosts that are forced onto it, on whatever port.
  discover: ["--enable-quic", `--origin-to-force-quic-on=${hostname}:1`],
};
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    `--host-resolver-rules=MAP ${hostname} ${address}`,
    `--ignore-certificate-errors-spki-list=${await keyOfTheRelay()}`,
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    ...modes[mode],
  ],
});
const page = await browser.newPage();
const network = await page.context().newCDPSession(page);
const handshakes = [];
network.on("Network.webSocketHandshakeResponseReceived", ({ response }) => handshakes.push(response.status));
await network.send("Network.enable");

const visits = [];
for (let visit = 0; visit < (mode === "discover" ? 10 : 2); visit++) {
  await page.goto(`${base}/page`);
  visits.push(await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol));
}
const said = {
  page: await page.textContent("#said"),
  visits,
  uploaded: await page.evaluate(upload),
  fetched: await page.evaluate(fetchMany),
  echoed: await page.evaluate(holdSocket),
  handshakes,
};
await browser.close();
console.log(JSON.stringify(said));

/** How many bytes came back as they were sent. */
async function upload() {
  const sent = new Uint8Array(1 << 20).map((_, index) => index % 251);
  const response = await fetch("/echo", { method: "POST", body: sent });
  const got = new Uint8Array(await response.arrayBuffer());
  return got.every((byte, index) => byte === sent[index]) ? got.length : -1;
}

/** How many of many requests at once spoke which protocol; every answer has to be right. */
async function fetchMany() {
  const one = async (index) => {
    const response = await fetch(`/hello?${index}`, { cache: "no-store" });
    if (response.status !== 200 || (await response.text()) !== "hello") {
      throw new Error(`answer ${index} is ${response.status}`);
    }
  };
  await Promise.all(Array.from({ length: 200 }, (_, index) => one(index)));
  const entries = performance.getEntriesByType("resource").filter((entry) => entry.name.includes("/hello?"));
  const protocols = {};
  entries.forEach(({ nextHopProtocol: name }) => (protocols[name] = (protocols[name] ?? 0) + 1));
  return protocols;
}

/** How many messages of growing size came back over one WebSocket, in their order. */
function holdSocket() {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(location.origin.replace("https", "wss") + "/ws");
    const text = (index) => `${index}:`.padEnd(index * 1000, "x");
    let received = 0;
    socket.onopen = () => socket.send(text(0));
    socket.onerror = () => reject(new Error("the WebSocket failed"));
    socket.onclose = (event) => resolve(event.wasClean ? received : -1);
    socket.onmessage = ({ data }) => {
      if (data !== text(received)) {
        return reject(new Error(`message ${received} came back changed`));
      }
      received += 1;
      received === 100 ? socket.close(1000) : socket.send(text(received));
    };
  });
}
