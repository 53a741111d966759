// People: invited, joining, roles that matter, sessions ended, leaving; with and without JavaScript.
import { expect, owner, signIn, test, type Tronch } from "./support/tronch.ts";
import type { Browser, Page } from "@playwright/test";

const home = `/t/${owner.tenantSlug}`;

/** Another browser, in which nobody is signed in. */
async function another(browser: Browser, javaScriptEnabled: boolean | undefined): Promise<Page> {
  return (await browser.newContext({ javaScriptEnabled })).newPage();
}

/** Invites somebody through the page; gives the link. */
async function invite(page: Page, tronch: Tronch, email: string, role: string): Promise<string> {
  await page.goto(`${tronch.url}${home}/members`);
  await page.getByRole("link", { name: "Invite" }).first().click();
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Role").selectOption(role);
  await page.getByRole("button", { name: "Invite" }).click();
  return (await page.locator(".secret-value").textContent())!.trim();
}

async function signInAs(page: Page, tronch: Tronch, email: string): Promise<void> {
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(owner.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL((url) => url.href.startsWith(tronch.url) && !url.pathname.startsWith("/sign-in"));
}

test("somebody is invited, joins, may what their role may, is changed, and leaves", async ({ browser, page, tronch, javaScriptEnabled }, { project: { name } }) => {
  page.on("dialog", (dialog) => void dialog.accept());
  const email = `bob-${name}@example.com`;
  await signIn(page, tronch);
  const link = await invite(page, tronch, email, "viewer");
  expect(link).toContain(`${tronch.url}/invitations/`);
  await page.goto(`${tronch.url}${home}/members`);
  await expect(page.locator("section", { hasText: "Invited" }).getByRole("row", { name: email })).toContainText("Viewer");

  const bob = await another(browser, javaScriptEnabled);
  await bob.goto(link);
  await expect(bob.getByText(`invites you to`)).toContainText(owner.tenantName);
  await bob.getByLabel("Your name").fill("Bob <script>alert(1)</script>");
  await bob.getByLabel("Password").fill("passwordpassword");
  await bob.getByRole("button", { name: "Make an account and join" }).click();
  await expect(bob.locator(".field-error")).toContainText("first that are guessed");
  await expect(bob.getByLabel("Your name")).toHaveValue("Bob <script>alert(1)</script>");
  await bob.getByLabel("Password").fill(owner.password);
  await bob.getByRole("button", { name: "Make an account and join" }).click();
  await bob.waitForURL(`${tronch.url}${home}/`);
  await expect(bob.getByRole("link", { name: "Service tokens" })).toHaveCount(0);
  expect((await bob.goto(`${tronch.url}${home}/keys/new`))!.status()).toBe(403);
  expect((await bob.goto(link))!.status()).toBe(410);
  await expect(bob.getByText("it was used already")).toBeVisible();

  await page.goto(`${tronch.url}${home}/members`);
  await page.getByRole("row", { name: email }).getByRole("link").click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Bob <script>alert(1)</script>");
  await page.getByLabel("Role", { exact: true }).selectOption("developer");
  await page.getByRole("button", { name: "Change role" }).click();
  await expect(page.getByRole("status").filter({ hasText: "The role is changed." })).toBeVisible();
  expect((await bob.goto(`${tronch.url}${home}/keys/new`))!.status()).toBe(200);

  await bob.goto(`${tronch.url}${home}/members`);
  await bob.getByRole("row", { name: email }).getByRole("link").click();
  await bob.getByRole("button", { name: "Leave the organisation" }).click();
  await bob.waitForURL(/sign-in/);
  await page.goto(`${tronch.url}${home}/members`);
  await expect(page.getByRole("row", { name: email })).toHaveCount(0);
  await page.goto(`${tronch.url}${home}/audit`);
  for (const words of ["joined by the invitation of", "changed the role of", "left the organisation, as"]) {
    await expect(page.getByText(words).first()).toBeVisible();
  }
  await bob.context().close();
});

test("whoever has an account signs in to join, is removed, and the last owner stays", async ({ browser, page, tronch, javaScriptEnabled }, { project: { name } }) => {
  page.on("dialog", (dialog) => void dialog.accept());
  const email = `carol-${name}@example.com`;
  await signIn(page, tronch);
  const first = await invite(page, tronch, email, "admin");
  const carol = await another(browser, javaScriptEnabled);
  await carol.goto(first);
  await carol.getByLabel("Your name").fill("Carol");
  await carol.getByLabel("Password").fill(owner.password);
  await carol.getByRole("button", { name: "Make an account and join" }).click();
  await carol.waitForURL(`${tronch.url}${home}/`);
  await page.goto(`${tronch.url}${home}/members`);
  await page.getByRole("row", { name: email }).getByRole("link").click();
  await page.getByRole("button", { name: "Remove from the organisation" }).click();
  await expect(page.getByRole("status").filter({ hasText: "They are no member any more" })).toBeVisible();
  await carol.goto(`${tronch.url}${home}/`);
  await expect(carol).toHaveURL(/sign-in/);

  await carol.goto(await invite(page, tronch, email, "viewer"));
  await carol.getByRole("link", { name: "Sign in" }).click();
  await signInAs(carol, tronch, email);
  await carol.getByRole("button", { name: `Join ${owner.tenantName}` }).click();
  await carol.waitForURL(`${tronch.url}${home}/`);
  await carol.context().close();

  await page.goto(`${tronch.url}${home}/members`);
  await page.getByRole("row", { name: owner.email }).getByRole("link").click();
  await page.getByRole("button", { name: "Leave the organisation" }).click();
  await expect(page.getByRole("alert")).toContainText("last owner");
});

test("sessions are listed, ended one by one and all at once", async ({ browser, page, tronch, javaScriptEnabled }) => {
  await signIn(page, tronch);
  const others = [await another(browser, javaScriptEnabled), await another(browser, javaScriptEnabled)];
  for (const other of others) {
    await other.goto(`${tronch.url}/sign-in`);
    await signInAs(other, tronch, owner.email);
  }
  await page.getByRole("link", { name: owner.name }).click();
  await expect(page.getByRole("row", { name: /this one/ })).toContainText("Chrome on Linux");
  await page.getByRole("button", { name: "Sign out Chrome on Linux" }).first().click();
  await expect(page.getByRole("status")).toContainText("The session has ended");
  await page.getByRole("button", { name: "Sign out everywhere else" }).click();
  await expect(page.getByRole("status")).toContainText("ended, on every node");
  await expect(page.getByRole("button", { name: "Sign out everywhere else" })).toHaveCount(0);
  for (const other of others) {
    await other.goto(`${tronch.url}${home}/`);
    await expect(other).toHaveURL(/sign-in/);
    await other.context().close();
  }

  await page.goto(`${tronch.url}/account`);
  await page.getByLabel("Your password now").fill("not my password");
  await page.getByLabel("Another password").fill("pferd batterie klammer");
  await page.getByRole("button", { name: "Change password" }).click();
  await expect(page.locator(".field-error")).toContainText("This is not your password");
});

test("an organisation is taken along, deleted, and had back", async ({ page, tronch }, { project: { name } }) => {
  await signIn(page, tronch);
  const slug = `gone-${name.replaceAll("-", "").slice(0, 7)}`;
  await page.goto(`${tronch.url}/account`);
  await page.getByRole("link", { name: "New organisation" }).click();
  await page.getByLabel("Organisation", { exact: true }).fill("Not for long");
  await page.getByLabel("Address of the organisation").fill(slug);
  await page.getByRole("button", { name: "Create the organisation" }).click();
  await page.waitForURL(`${tronch.url}/t/${slug}/`);
  await page.getByRole("link", { name: "Organisation", exact: true }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download" }).click()]);
  expect(download.suggestedFilename()).toBe(`${slug}.jsonl`);

  await page.getByLabel(`Type ${slug}`).fill("something else");
  await page.getByLabel("Your password").fill(owner.password);
  await page.getByRole("button", { name: "Delete the organisation" }).click();
  await expect(page.locator(".field-error")).toContainText(`Type ${slug} to delete it`);
  await page.getByLabel(`Type ${slug}`).fill(slug);
  await page.getByLabel("Your password").fill(owner.password);
  await page.getByRole("button", { name: "Delete the organisation" }).click();
  await expect(page.getByRole("status")).toContainText("The organisation is deleted.");
  expect((await page.goto(`${tronch.url}/t/${slug}/`))!.status()).toBe(404);
  await page.goto(`${tronch.url}/account`);
  await page.getByRole("button", { name: "Undo deleting Not for long" }).click();
  await page.waitForURL(`${tronch.url}/t/${slug}/`);
  await page.goto(`${tronch.url}/t/${slug}/audit`);
  await expect(page.getByText("undid deleting the organisation").first()).toBeVisible();
});
