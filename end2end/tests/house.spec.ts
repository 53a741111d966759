// Projects, several keys in one go, several organisations, and forms that are sent twice: with and without JavaScript.
import { expect, owner, signIn, test, type Tronch } from "./support/tronch.ts";
import type { Page } from "@playwright/test";

const home = `/t/${owner.tenantSlug}`;

async function createKey(page: Page, tronch: Tronch, name: string, project = "default"): Promise<string> {
  await page.goto(`${tronch.url}${home}/keys/new`);
  await page.getByLabel("Name").fill(name);
  const projects = page.getByLabel("Project");
  if ((await projects.count()) > 0) await projects.selectOption(project);
  await page.getByRole("button", { name: "Create key" }).click();
  await expect(page.getByRole("heading", { name: "Copy it now" })).toBeVisible();
  return (await page.getByRole("link", { name: "Go to the key" }).getAttribute("href"))!;
}

test.beforeEach(async ({ page, tronch }) => {
  page.on("dialog", (dialog) => void dialog.accept());
  await signIn(page, tronch);
});

test("a project is made, given rules of rotation and put away", async ({ page, tronch }, { project: { name } }) => {
  const slug = `api-${name.replaceAll("-", "").slice(0, 12)}`;
  await page.getByRole("link", { name: "Projects", exact: true }).click();
  await page.getByRole("link", { name: "Create project" }).click();
  await page.getByLabel("Name").fill("Zoë's <API>");
  await page.getByLabel("Slug").fill("Not A Slug");
  await page.getByRole("button", { name: "Create project" }).click();
  await expect(page.locator(".field-error")).toContainText("small letters");
  await expect(page.getByLabel("Name")).toHaveValue("Zoë's <API>");
  await page.getByLabel("Slug").fill(slug);
  await page.getByRole("button", { name: "Create project" }).click();
  await expect(page.getByRole("status").filter({ hasText: "The project is there" })).toBeVisible();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Zoë's <API>");

  await page.getByLabel("Grace of a rotation").selectOption("900");
  await page.getByLabel("Longest grace").selectOption("3600");
  await page.getByRole("button", { name: "Save changes" }).click();
  await expect(page.locator(".kv")).toContainText("15 minutes unless a rotation says otherwise, at most 1 hour");

  const key = await createKey(page, tronch, "in the new project", slug);
  await page.goto(`${tronch.url}${key}/rotate`);
  await expect(page.getByLabel("The old key keeps working")).toHaveValue("900");
  await expect(page.getByLabel("The old key keeps working").locator("option")).toHaveCount(4);

  await page.goto(`${tronch.url}${home}/projects/${slug}`);
  await expect(page.getByText("One key works or could be enabled again")).toBeVisible();
  await page.getByRole("link", { name: "Revoke them all" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(`Revoke all keys of the project ${slug}`);
  await page.getByLabel("Type “revoke 1 key”").fill("revoke 2 keys");
  await page.getByLabel("Your password").fill(owner.password);
  await page.getByRole("button", { name: "Revoke 1 key" }).click();
  await expect(page.locator(".field-error")).toContainText("so that nothing happens by mistake");
  await page.getByLabel("Type “revoke 1 key”").fill("revoke 1 key");
  await page.getByLabel("Your password").fill("not my password");
  await page.getByRole("button", { name: "Revoke 1 key" }).click();
  await expect(page.locator(".field-error")).toContainText("not your password");
  await page.getByLabel("Your password").fill(owner.password);
  await page.getByRole("button", { name: "Revoke 1 key" }).click();
  await expect(page.getByRole("status").filter({ hasText: "One key was revoked." })).toBeVisible();
  await expect(page.locator("tbody tr")).toHaveCount(1);
  await expect(page.locator("tbody tr")).toContainText("Revoked");

  await page.goto(`${tronch.url}${home}/projects/${slug}`);
  await page.getByRole("button", { name: "Archive project" }).click();
  await expect(page.getByRole("status").filter({ hasText: "The project is archived" })).toBeVisible();
  await page.getByRole("button", { name: "Restore project" }).click();
  await expect(page.getByRole("status").filter({ hasText: "open again" })).toBeVisible();
  await page.getByRole("button", { name: "Archive project" }).click();
});

test("a form shows all of its errors at once, and another key begins like the last", async ({ page, tronch }) => {
  await page.goto(`${tronch.url}${home}/keys/new`);
  await page.getByLabel("Name").fill(" ");
  await page.getByLabel("Owner").fill("cus_42");
  await page.getByLabel("Permissions").fill("orders.read orders.write");
  await page.getByLabel("Expires (UTC)").fill("2020-01-31T12:00");
  await page.getByLabel("Metadata").fill("[]");
  await page.getByRole("button", { name: "Create key" }).click();
  for (const field of ["name", "expires_at", "metadata"]) await expect(page.locator(`#${field}-error`)).toBeVisible();
  await expect(page.getByLabel("Expires (UTC)")).toHaveValue("2020-01-31T12:00");
  await page.getByLabel("Name").fill("one of several");
  await page.getByLabel("Expires (UTC)").fill("");
  await page.getByLabel("Metadata").fill("");
  await page.getByLabel("Environment").selectOption("live");
  await page.getByRole("button", { name: "Create key" }).click();
  await expect(page.getByRole("heading", { name: "Copy it now" })).toBeVisible();
  await page.getByRole("link", { name: "Create another" }).click();
  await expect(page.getByLabel("Environment")).toHaveValue("live");
  await expect(page.getByLabel("Owner")).toHaveValue("cus_42");
  await expect(page.getByLabel("Permissions")).toHaveValue("orders.read orders.write");
  await expect(page.getByLabel("Name")).toHaveValue("");
});

test("several keys are disabled, enabled and revoked once the words are typed", async ({ page, tronch }) => {
  await createKey(page, tronch, "bulk one");
  await createKey(page, tronch, "bulk two");
  const list = `${tronch.url}${home}/keys?q=bulk&status=active`;
  await page.goto(list);
  for (const name of ["bulk one", "bulk two"]) await page.getByRole("checkbox", { name: `Choose ${name}` }).check();
  await page.getByRole("button", { name: "Disable" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Disable 2 keys");
  await expect(page.getByText("They were not called in the last 24 hours.")).toBeVisible();
  await page.getByLabel("Type “disable 2 keys”").fill("disable two keys");
  await page.getByRole("button", { name: "Disable 2 keys" }).click();
  await expect(page.locator(".field-error")).toContainText("so that nothing happens by mistake");
  await page.getByLabel("Type “disable 2 keys”").fill("disable 2 keys");
  await page.getByRole("button", { name: "Disable 2 keys" }).click();
  await expect(page.getByRole("status").filter({ hasText: "2 keys were disabled." })).toBeVisible();

  await page.goto(list.replace("active", "disabled"));
  for (const name of ["bulk one", "bulk two"]) await page.getByRole("checkbox", { name: `Choose ${name}` }).check();
  await page.getByRole("button", { name: "Revoke" }).click();
  await page.getByLabel("Reason").fill("The end of a test");
  await page.getByLabel("Type “revoke 2 keys”").fill("revoke 2 keys");
  await page.getByLabel("Your password").fill(owner.password);
  await page.getByRole("button", { name: "Revoke 2 keys" }).click();
  await expect(page.getByRole("status").filter({ hasText: "2 keys were revoked." })).toBeVisible();
  await page.goto(list.replace("active", "revoked"));
  await expect(page.locator("tbody tr", { hasText: "Refused for ever." })).toHaveCount(2);
});

test("a form that is sent again makes no second key and shows no secret", async ({ page, tronch }, { project }) => {
  const name = `sent twice ${project.name}`;
  await createKey(page, tronch, name);
  await page.reload();
  await expect(page.getByText("Its secret was shown the first time")).toBeVisible();
  await expect(page.locator(".secret-value")).toHaveCount(0);
  await page.goto(`${tronch.url}${home}/keys?q=${encodeURIComponent(name)}`);
  await expect(page.locator("tbody tr")).toHaveCount(1);
});

test("whoever belongs to several organisations goes from one to the other", async ({ page, tronch }) => {
  await tronch.bootstrap("second-tenant");
  await page.goto(`${tronch.url}${home}/`);
  await page.locator(".tenant-switch summary").click();
  await page.getByRole("link", { name: "second-tenant" }).click();
  await expect(page).toHaveURL(`${tronch.url}/t/second-tenant/`);
  await page.getByRole("link", { name: "Keys", exact: true }).click();
  await expect(page.getByRole("heading", { name: "No keys yet" })).toBeVisible();
  await page.locator(".tenant-switch summary").click();
  await page.getByRole("link", { name: owner.tenantName }).click();
  await expect(page).toHaveURL(`${tronch.url}${home}/`);
});
