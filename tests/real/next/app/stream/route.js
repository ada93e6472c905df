import { setTimeout } from "node:timers/promises";

export const dynamic = "force-dynamic";

const CHUNKS = 6;

export function GET() {
  const encoder = new TextEncoder();
  let n = 0;
  const body = new ReadableStream({
    async pull(controller) {
      if (n === CHUNKS) {
        controller.close();
        return;
      }
      if (n > 0) {
        await setTimeout(200);
      }
      controller.enqueue(encoder.encode(`chunk ${n++}\n`));
    },
  });
  return new Response(body, { headers: { "content-type": "text/plain; charset=utf-8" } });
}
