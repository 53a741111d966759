// What wakes in the browser: each island does its work, and the first page that needs them fetches at most 60 000 bytes.
import type { Page } from "@playwright/test";
import { expect, owner, signIn, someThings, test } from "./support/tronch.ts";

const home = `/t/${owner.tenantSlug}`;
const loadedBytesMax = 60_000;

/** Opens the page that shows a new key's secret. */
async function createKey(page: Page, url: string): Promise<string> {
  await page.goto(`${url}${home}/keys/new`);
  await page.getByLabel("Name").fill("for the islands");
  await page.getByRole("button", { name: "Create key" }).click();
  return (await page.locator(".secret-value").innerText()).trim();
}

/** What the page at an address fetched besides itself: the end of each address, and its size in bytes on the way. */
async function fetched(page: Page, address: string): Promise<[string, number][]> {
  await page.goto(address);
  await page.waitForLoadState("networkidle");
  const all = await page.evaluate(() =>
    performance.getEntriesByType("resource").map((entry) => {
      const { name, encodedBodySize } = entry as PerformanceResourceTiming;
      return [name.split("/").pop()!, encodedBodySize] as [string, number];
    }),
  );
  return all.filter(([name]) => name !== "icon.svg").sort();
}

test("the first page with islands fetches few bytes, each file once", async ({ page, tronch }) => {
  await signIn(page, tronch);
  const files = await fetched(page, `${tronch.url}${home}/`);
  expect(files.map(([name]) => name)).toEqual(["tronch.css", "tronch.js", "tronch_bg.wasm"]);
  const bytes = files.filter(([name]) => name !== "tronch.css").reduce((sum, [, size]) => sum + size, 0);
  expect(bytes).toBeGreaterThan(1_000);
  expect(bytes).toBeLessThanOrEqual(loadedBytesMax);
});

test("a page before signing in has no islands and fetches no script", async ({ page, tronch }) => {
  for (const path of ["/sign-in", "/no-such-page"]) {
    expect((await fetched(page, tronch.url + path)).map(([name]) => name), path).toEqual(["tronch.css"]);
    await expect(page.locator("leptos-island"), path).toHaveCount(0);
    await expect(page.locator('script[type="module"], link[rel*="preload"]'), path).toHaveCount(0);
  }
});

test("pages wake without a complaint", async ({ page, tronch }) => {
  const complaints: string[] = [];
  page.on("console", (message) => void (message.type() === "error" && complaints.push(message.text())));
  page.on("pageerror", (error) => void complaints.push(error.message));
  await signIn(page, tronch);
  const { key, successor } = await someThings(tronch);
  const paths = ["/", "/keys", `/keys/${key}`, `/keys/${successor}/rotate`, `/keys/${key}/revoke`, "/tokens", "/audit", "/members", "/members/invite", "/limits", "/limits/new", "/projects/default"];
  for (const path of paths) {
    await page.goto(`${tronch.url}${home}${path}`);
    await expect(page.getByRole("button", { name: /^Colours/ }), path).toBeVisible();
  }
  expect(complaints).toEqual([]);
});

test("a copy button copies the whole secret and says so for a while", async ({ page, context, tronch }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  page.on("dialog", (dialog) => void dialog.accept());
  await signIn(page, tronch);
  const secret = await createKey(page, tronch.url);
  const button = page.getByRole("button", { name: "Copy the secret" });
  await button.click();
  const said = page.getByRole("status").filter({ hasText: "Copied" });
  await expect(said).toBeVisible();
  await expect(button).toHaveClass("copy done");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(secret);
  await expect(said).toHaveCount(0);
  await expect(button).toHaveClass("copy");

  const code = await page.locator(".code pre").innerText();
  await page.getByRole("button", { name: "Copy the code" }).click();
  await expect(said).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(code);
});

test("the button beside a key's handle copies that handle, the one beside its id the id", async ({
  page,
  context,
  tronch,
}) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await signIn(page, tronch);
  const { key } = await someThings(tronch);
  const copied = () => page.evaluate(() => navigator.clipboard.readText());
  await page.goto(`${tronch.url}${home}/keys/${key}`);
  const handle = (await page.locator(".kv code", { hasText: /^tronch_sk_/ }).innerText()).replace("…", "");
  for (const [label, text] of [
    ["Copy the handle", handle],
    ["Copy the id", key],
  ] as const) {
    await page.getByRole("button", { name: label }).click();
    await expect.poll(copied, label).toBe(text);
  }
  await page.goto(`${tronch.url}${home}/keys?q=${handle}`);
  await page.getByRole("button", { name: /^Copy the handle of / }).click();
  await expect.poll(copied).toBe(handle);
});

test("a copy button says when the browser would not copy", async ({ page, tronch }) => {
  page.on("dialog", (dialog) => void dialog.accept());
  await page.addInitScript(() => {
    navigator.clipboard.writeText = () => Promise.reject(new Error("refused"));
  });
  await signIn(page, tronch);
  await createKey(page, tronch.url);
  await page.getByRole("button", { name: "Copy the secret" }).click();
  await expect(page.getByRole("status").filter({ hasText: "Not copied" })).toBeVisible();
});

test("a page that shows a secret asks before it is left, until its reader has stored it", async ({ page, tronch }) => {
  let asked = 0;
  page.on("dialog", (dialog) => {
    asked += 1;
    void dialog.accept();
  });
  await signIn(page, tronch);
  await createKey(page, tronch.url);
  await expect(page.getByLabel("I have stored it")).toBeVisible();
  await page.getByRole("link", { name: "Back to the list" }).click();
  await page.waitForURL(/\/keys$/);
  expect(asked).toBe(1);

  await createKey(page, tronch.url);
  await page.getByLabel("I have stored it").check();
  await page.getByRole("link", { name: "Back to the list" }).click();
  await page.waitForURL(/\/keys$/);
  expect(asked).toBe(1);
});

test("the colours turn from the system's to light, dark and back, and last", async ({ page, tronch }) => {
  await signIn(page, tronch);
  const button = page.getByRole("button", { name: /^Colours/ });
  const root = page.locator("html");
  await expect(button).toHaveText("Colours: system");
  const drawings = [await button.locator("path").getAttribute("d")];
  for (const theme of ["light", "dark"]) {
    await button.click();
    await expect(button).toHaveText(`Colours: ${theme}`);
    await expect(root).toHaveAttribute("data-theme", theme);
    drawings.push(await button.locator("path").getAttribute("d"));
    await page.reload();
    await expect(button).toHaveText(`Colours: ${theme}`);
    await expect(root).toHaveAttribute("data-theme", theme);
  }
  expect(new Set(drawings).size).toBe(3);
  await button.click();
  await expect(button).toHaveText("Colours: system");
  await expect(root).not.toHaveAttribute("data-theme");
});

for (const [timezoneId, shown] of [
  ["UTC", ""],
  ["Asia/Kolkata", "UTC+5:30"],
  ["Pacific/Marquesas", "UTC−9:30"],
  ["Pacific/Kiritimati", "UTC+14"],
] as const) {
  test(`a time is shown in the reader's own zone, such as ${timezoneId}`, async ({ browser, tronch }) => {
    const context = await browser.newContext({ timezoneId });
    const page = await context.newPage();
    await signIn(page, tronch);
    await someThings(tronch);
    await page.goto(`${tronch.url}${home}/audit`);
    await expect(page.getByRole("button", { name: /^Colours/ })).toBeVisible();
    const time = page.locator("time").first();
    await expect(time).toHaveText(/^\d{4}-\d\d-\d\d \d\d:\d\d UTC$/);
    const iso = (await time.getAttribute("datetime"))!;
    const expected = await page.evaluate(({ iso, shown }) => {
      const date = new Date(iso);
      const pad = (number: number) => String(number).padStart(2, "0");
      const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} `;
      const another = date.getDate() !== date.getUTCDate();
      return shown && `${another ? day : ""}${pad(date.getHours())}:${pad(date.getMinutes())} ${shown}`;
    }, { iso, shown });
    await expect(page.locator(".time-local").first()).toHaveText(expected);
    await context.close();
  });
}

test("the keyboard searches, goes from row to row, chooses and opens", async ({ page, tronch }) => {
  await signIn(page, tronch);
  await someThings(tronch);
  await page.goto(`${tronch.url}/t/${owner.tenantSlug}/keys`);
  const shortcuts = page.getByRole("button", { name: "Keyboard shortcuts" });
  await expect(shortcuts).toBeVisible();
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog", { name: "Keyboard shortcuts" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toBeHidden();
  await shortcuts.click();
  await page.getByRole("button", { name: "Close" }).click();

  await page.keyboard.press("/");
  await expect(page.getByLabel("Search")).toBeFocused();
  await page.keyboard.type("jkxc?");
  await expect(page.getByLabel("Search")).toHaveValue("jkxc?");
  await page.getByLabel("Search").blur();

  const rows = page.locator("tbody .row-link");
  await page.keyboard.press("j");
  await expect(rows.nth(0)).toBeFocused();
  await page.keyboard.press("j");
  await expect(rows.nth(1)).toBeFocused();
  await page.keyboard.press("x");
  await expect(page.locator("tbody .pick input").nth(1)).toBeChecked();
  await page.keyboard.press("k");
  await expect(rows.nth(0)).toBeFocused();
  const opened = await rows.nth(0).getAttribute("href");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(tronch.url + opened);
  await page.goBack();
  await expect(shortcuts).toBeVisible();
  await page.keyboard.press("c");
  await expect(page).toHaveURL(/\/keys\/new$/);
});

test("one box ticks every key of the page", async ({ page, tronch }) => {
  await signIn(page, tronch);
  await someThings(tronch);
  await page.goto(`${tronch.url}/t/${owner.tenantSlug}/keys`);
  const all = page.getByRole("checkbox", { name: "Choose all on this page" });
  const boxes = page.locator("tbody .pick input");
  const chosen = page.locator("tbody .pick input:checked");
  await all.check();
  await expect(chosen).toHaveCount(await boxes.count());
  await boxes.first().uncheck();
  await expect(all).not.toBeChecked();
  await boxes.first().check();
  await expect(all).toBeChecked();
  await all.uncheck();
  await expect(chosen).toHaveCount(0);
});
