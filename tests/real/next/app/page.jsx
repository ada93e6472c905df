import { revalidatePath } from "next/cache";

export const dynamic = "force-dynamic";

const state = (globalThis.aditState ??= { count: 0, message: "none" });

async function leaveMessage(form) {
  "use server";
  state.count += 1;
  state.message = String(form.get("message"));
  revalidatePath("/");
}

export default function Page() {
  return (
    <main>
      <h1>Dashboard</h1>
      <output id="count">{state.count}</output>
      <output id="message">{state.message}</output>
      <form action={leaveMessage}>
        <input name="message" />
        <button type="submit">Send</button>
      </form>
    </main>
  );
}
