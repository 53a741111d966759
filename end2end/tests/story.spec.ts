// The main job from beginning to end, as a newcomer meets it: sign up, make a key, ask about it with curl, see the call
// and the change, rotate with a grace of seconds, see both keys work and then the old one end, and revoke the rest.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Locator, Page } from "@playwright/test";
import { expect, owner, test } from "./support/tronch.ts";

const graceMs = 25_000;

/** Leaves a page that shows a secret: the guard asks, and a reader who has stored it says yes. */
function agreeToLeave(page: Page): void {
  page.on("dialog", (dialog) => void dialog.accept());
}

async function shownSecret(page: Page): Promise<string> {
  await expect(page.getByRole("heading", { name: "Copy it now" })).toBeVisible();
  return (await page.locator(".secret-value").innerText()).trim();
}

/** Runs the page's own snippet in a shell, as somebody who copied it. */
async function curl(snippet: string, serviceToken: string): Promise<Record<string, unknown>> {
  const environment = { ...process.env, TRONCH_TOKEN: serviceToken };
  const { stdout } = await promisify(execFile)("bash", ["-c", snippet], { env: environment });
  return JSON.parse(stdout) as Record<string, unknown>;
}

async function codeOf(snippet: string, serviceToken: string): Promise<unknown> {
  return (await curl(snippet, serviceToken)).code;
}

/** Loads the page again until it shows what is counted beside the calls. */
async function reloadUntil(page: Page, what: Locator): Promise<void> {
  await expect(async () => {
    await page.reload();
    await expect(what).toBeVisible({ timeout: 1_000 });
  }).toPass({ timeout: 15_000 });
}

function stat(page: Page, label: string): Locator {
  return page.locator(".stat", { has: page.getByText(label, { exact: true }) }).locator(".stat-value");
}

test("a newcomer makes, checks, watches, rotates and revokes a key", async ({ page, fresh: tronch }) => {
  // It waits for a grace to end, and starts a server of its own.
  test.setTimeout(180_000);
  agreeToLeave(page);

  // Sign up.
  await page.goto(tronch.url);
  await page.getByLabel("Setup code").fill(tronch.setupCode);
  await page.getByLabel("Your name").fill(owner.name);
  await page.getByLabel("E-mail").fill(owner.email);
  await page.getByLabel("Password").fill(owner.password);
  await page.getByLabel("Organisation", { exact: true }).fill(owner.tenantName);
  await page.getByLabel("Address of the organisation").fill(owner.tenantSlug);
  await page.getByRole("button", { name: "Create the organisation" }).click();
  await expect(page.getByRole("heading", { name: "Three steps to the first call" })).toBeVisible();

  // A key, by the first step's own link.
  await page.getByRole("link", { name: "Create a key" }).click();
  await page.getByLabel("Name").fill("Zoë's <first> key");
  await page.getByLabel("Environment").selectOption("live");
  await page.getByRole("button", { name: "Create key" }).click();
  const first = await shownSecret(page);
  expect(first).toMatch(/^tronch_sk_live_[0-9A-Za-z]{37}$/);
  const askAboutFirst = await page.locator(".code pre").innerText();
  await page.getByRole("link", { name: "Go to the key" }).click();
  const firstKeyUrl = page.url();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Zoë's <first> key");
  expect(await page.content()).not.toContain(first);

  // A service token, by the second.
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByRole("link", { name: "Create a service token" }).click();
  await page.getByLabel("Name").fill("orders service");
  await page.getByLabel("keys.verify").check();
  await page.getByRole("button", { name: "Create token" }).click();
  const serviceToken = await shownSecret(page);
  expect(serviceToken).toMatch(/^tronch_st_[0-9A-Za-z]{37}$/);

  // Ask about the key with curl, with the very lines of the page.
  const verdict = await curl(askAboutFirst, serviceToken);
  expect(verdict).toMatchObject({ valid: true, code: "VALID", name: "Zoë's <first> key", rotation: null });

  // The call is in the chart, and the change in the audit log.
  await page.goto(`${tronch.url}/t/${owner.tenantSlug}/`);
  await reloadUntil(page, page.locator(".chart-legend", { hasText: "Valid" }));
  await expect(stat(page, "Calls")).toHaveText("1");
  await expect(page.getByRole("heading", { name: "Three steps to the first call" })).toBeHidden();
  await page.getByRole("link", { name: "Audit log", exact: true }).click();
  await page.locator("summary").filter({ hasText: "created the key" }).click();
  await expect(page.locator("details[open]")).toContainText("Zoë's <first> key");
  await expect(page.locator("details[open] .diff")).toContainText("environment");
  await expect(page.locator("details[open]")).toContainText("127.0.0.1");

  // Rotate, with a grace that ends in a few seconds.
  await page.goto(firstKeyUrl);
  await page.getByRole("link", { name: "Rotate" }).click();
  // The field takes whole seconds.
  const graceEnds = new Date(Math.ceil((Date.now() + graceMs) / 1_000) * 1_000);
  await page.getByLabel("The old key keeps working").selectOption("until");
  await page.getByLabel("Until (UTC)").fill(graceEnds.toISOString().slice(0, "2027-01-31T12:00:00".length));
  await page.getByRole("button", { name: "Rotate key" }).click();
  const second = await shownSecret(page);
  expect(second).not.toBe(first);
  const askAboutSecond = await page.locator(".code pre").innerText();

  // Both work, and then the old one ends.
  const [old, successor] = [await curl(askAboutFirst, serviceToken), await curl(askAboutSecond, serviceToken)];
  expect(old).toMatchObject({ code: "VALID", rotation: { role: "predecessor", successor_id: successor.key_id } });
  expect(successor).toMatchObject({ code: "VALID", rotation: { role: "successor", predecessor_id: old.key_id } });
  expect(Date.now(), "the grace is over before both keys were asked about").toBeLessThan(graceEnds.getTime());
  await expect.poll(() => codeOf(askAboutFirst, serviceToken), { timeout: 2 * graceMs }).toBe("EXPIRED");
  expect(Date.now(), "the old key ended early").toBeGreaterThanOrEqual(graceEnds.getTime());
  expect(await codeOf(askAboutSecond, serviceToken)).toBe("VALID");

  // The old key's page tells it, and shows its own calls.
  await page.goto(firstKeyUrl);
  await expect(page.locator(".page-title")).toContainText("Expired");
  await reloadUntil(page, page.locator(".chart-legend", { hasText: "Expired" }));
  await expect(page.locator(".timeline")).toContainText("rotated");
  await page.getByRole("link", { name: "the newer key of this name" }).click();
  const secondKeyUrl = page.url();
  expect(secondKeyUrl).not.toBe(firstKeyUrl);

  // Disable and enable, then revoke for ever, with a reason.
  await page.locator("summary", { hasText: "Disable" }).click();
  await page.getByRole("button", { name: "Disable now" }).click();
  await expect(page.getByRole("status").filter({ hasText: "The key is disabled" })).toBeVisible();
  expect(await codeOf(askAboutSecond, serviceToken)).toBe("DISABLED");
  await page.getByRole("button", { name: "Enable" }).click();
  expect(await codeOf(askAboutSecond, serviceToken)).toBe("VALID");
  await page.getByRole("link", { name: "Revoke" }).click();
  await page.getByLabel("Reason").fill("Left the company");
  await page.getByRole("button", { name: "Revoke for ever" }).click();
  await expect(page.locator(".page-title")).toContainText("Revoked");
  await expect(page.locator(".kv")).toContainText("Left the company");
  expect(await codeOf(askAboutSecond, serviceToken)).toBe("REVOKED");
  // The old key can be revoked too: revoked is more than expired.
  await page.goto(`${firstKeyUrl}/revoke`);
  await page.getByRole("button", { name: "Revoke for ever" }).click();
  expect(await codeOf(askAboutFirst, serviceToken)).toBe("REVOKED");

  // And the token last.
  await page.getByRole("link", { name: "Service tokens", exact: true }).click();
  await page.locator("summary", { hasText: "Revoke" }).click();
  await page.getByRole("button", { name: "Revoke for ever" }).click();
  await expect(page.getByRole("status").filter({ hasText: /revoked, for ever\. Confirmed by 1 of 1 node in \d+ ms\./ })).toBeVisible();
  expect(await codeOf(askAboutFirst, serviceToken)).toBe("unauthenticated");

  // The list finds what there was by state, and a pasted key by its handle alone.
  await page.getByRole("link", { name: "Keys", exact: true }).click();
  await page.getByLabel("Search").fill(second);
  await page.getByRole("button", { name: "Search" }).click();
  await expect(page.locator("tbody tr")).toHaveCount(1);
  expect(page.url()).not.toContain(second.slice(26));
  await page.getByRole("link", { name: "Remove the filter Search" }).click();
  await page.getByLabel("Status").selectOption("revoked");
  await page.getByRole("button", { name: "Search" }).click();
  await expect(page.locator("tbody tr")).toHaveCount(2);
});
