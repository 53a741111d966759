// A script that somebody writes into a text is text: in no field of any, on no page. What would strike is shown to strike where nothing
// stands in its way, and to be reported where the Content-Security-Policy does.
import { expect, owner, test, type Tronch } from "./support/tronch.ts";
import { address, routes } from "./support/pages.ts";
import type { BrowserContext, Page } from "@playwright/test";

const script = `"'></title></textarea><script>struck()</script><img src=/x onerror=struck()>`;
const tenant = { name: `Acme ${script}`, slug: owner.tenantSlug };

type Watch = { strikes: string[]; reports: string[]; strangers: string[] };

/** Hears of every script that runs, everything the policy keeps out, and every other host that is asked. */
async function watch(context: BrowserContext, tronch: Tronch): Promise<Watch> {
  const seen: Watch = { strikes: [], reports: [], strangers: [] };
  await context.exposeFunction("struck", () => void seen.strikes.push("struck"));
  await context.exposeFunction("reported", (what: string) => void seen.reports.push(what));
  await context.addInitScript(() => {
    const { reported } = window as unknown as { reported: (what: string) => void };
    document.addEventListener("securitypolicyviolation", (event) =>
      reported(`${location.pathname}: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`),
    );
  });
  context.on("request", (request) => {
    if (!request.url().startsWith(tronch.url)) seen.strangers.push(request.url());
  });
  return seen;
}

async function fillIn(page: Page, fields: Record<string, string>, button: string): Promise<void> {
  for (const [label, value] of Object.entries(fields)) await page.getByLabel(label, { exact: true }).fill(value);
  await page.getByRole("button", { name: button }).click();
}

test("what is written into texts runs nowhere", async ({ browser, fresh }) => {
  test.setTimeout(180_000);
  // Some texts nobody types: what a browser says of itself stands in the list of sessions and in the log.
  const context = await browser.newContext({ userAgent: `Mozilla/5.0 ${script}` });
  const seen = await watch(context, fresh);
  const page = await context.newPage();
  page.on("dialog", (dialog) => void dialog.accept());

  const signUp = new URLSearchParams({ setup_code: fresh.setupCode, name: script, email: owner.email, password: owner.password });
  signUp.set("tenant_name", tenant.name);
  signUp.set("tenant_slug", tenant.slug);
  const signedUp = await fetch(`${fresh.url}/sign-up`, { method: "POST", redirect: "manual", body: signUp });
  expect(signedUp.status).toBe(303);
  const token = await fresh.bootstrap();
  const post = async (path: string, body: object, method = "POST") => {
    const response = await fetch(`${fresh.url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json", "user-agent": script },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
    return response.json();
  };
  const burst = { capacity: 2, refill: 1 };
  await post("/projects", { slug: "other", name: script });
  const texts = { name: script, owner: { external_id: script }, metadata: { [script]: script }, project: "default" };
  const { key, secret } = await post("/keys", { ...texts, environment: "live" });
  await post("/keys/verify", { key: secret, environment: "live", project: "default" });
  const { key: successor } = await post(`/keys/${key.id}/rotate`, { grace_seconds: 3600 });
  const { key: gone } = await post("/keys", texts);
  await post(`/keys/${gone.id}`, { reason: script }, "DELETE");
  await post("/service-tokens", { name: script, permissions: ["keys.verify"] });
  const limit = await post("/limits", { name: "calls", namespace: "sign-ups", burst });
  await post("/limits", { name: "calls", owner: { external_id: script }, burst });
  await post("/limits/check", { namespace: "sign-ups", identifier: script });

  await page.goto(`${fresh.url}/sign-in`);
  await fillIn(page, { "E-mail": owner.email, Password: owner.password }, "Sign in");
  await page.waitForURL(`${fresh.url}/t/${tenant.slug}/`);
  await page.goto(`${fresh.url}/t/${tenant.slug}/members/invite`);
  await fillIn(page, { "E-mail": "grace@example.com" }, "Invite");
  const invitation = (await page.content()).match(/\/invitations\/(\w+)/)![1]!;
  await page.goto(`${fresh.url}/t/${tenant.slug}/members`);
  const member = (await page.content()).match(/\/members\/(usr_\w+)/)![1]!;

  const things = { key: key.id, successor: successor.id, limit: limit.id, member, invitation };
  const typed = encodeURIComponent(script);
  const answers = [`/t/${tenant.slug}/keys?q=${typed}`, `/t/${tenant.slug}/keys/revoke?owner=${typed}`];
  answers.push(`/t/${tenant.slug}/keys/${gone.id}`, `/t/${tenant.slug}/projects/other`, `/t/${tenant.slug}/${typed}`, `/sign-in?next=${typed}`);
  let written = 0;
  for (const path of [...routes.map(({ path }) => path), ...answers]) {
    await page.goto(fresh.url + address(path, things), { waitUntil: "load" });
    written += (await page.evaluate(() => document.documentElement.outerHTML)).split("struck()").length - 1;
  }
  // A form that is refused repeats what was typed.
  await page.goto(`${fresh.url}/t/${tenant.slug}/projects/new`);
  await fillIn(page, { Slug: script, Name: script }, "Create project");
  await expect(page.locator(".field-error").first()).toBeVisible();
  // It was there to be seen, all over.
  expect(written).toBeGreaterThan(50);
  expect(seen).toEqual({ strikes: [], reports: [], strangers: [] });

  // A text that was written out as it is: the policy keeps it from running, and says so.
  await page.evaluate((html) => document.body.insertAdjacentHTML("beforeend", html), script);
  await expect.poll(() => seen.reports.length).toBeGreaterThan(0);
  expect(seen.strikes).toEqual([]);
  await context.close();

  // Without the policy it strikes.
  const bare = await browser.newContext({ bypassCSP: true });
  const struck = await watch(bare, fresh);
  const open = await bare.newPage();
  await open.goto(`${fresh.url}/sign-in`);
  await open.evaluate((html) => document.body.insertAdjacentHTML("beforeend", html), script);
  await expect.poll(() => struck.strikes.length).toBeGreaterThan(0);
  await bare.close();
});
