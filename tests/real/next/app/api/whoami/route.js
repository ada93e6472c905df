export const dynamic = "force-dynamic";

export function GET(request) {
  return Response.json({ url: request.url, headers: Object.fromEntries(request.headers) });
}
