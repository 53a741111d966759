// A fresh installation is set up by whoever holds the setup code, and by nobody else; then people sign in and out.
import { expect, owner, test } from "./support/tronch.ts";
import type { Page } from "@playwright/test";

async function fillSignUp(page: Page, setupCode: string): Promise<void> {
  await page.getByLabel("Setup code").fill(setupCode);
  await page.getByLabel("Your name").fill(owner.name);
  await page.getByLabel("E-mail").fill(owner.email);
  await page.getByLabel("Password").fill(owner.password);
  await page.getByLabel("Organisation", { exact: true }).fill(owner.tenantName);
  await page.getByLabel("Address of the organisation").fill(owner.tenantSlug);
}

test("a newcomer signs up, out and in again", async ({ page, fresh: tronch }) => {
  await page.goto(tronch.url);
  await expect(page).toHaveURL(`${tronch.url}/sign-up`);

  await fillSignUp(page, "AAAAAA-AAAAAA-AAAAAA-AAAAAA");
  await page.getByRole("button", { name: "Create the organisation" }).click();
  await expect(page.locator("#setup_code-error")).toContainText("not the setup code");
  await expect(page.getByLabel("Your name")).toHaveValue(owner.name);
  await expect(page.getByLabel("Organisation", { exact: true })).toHaveValue(owner.tenantName);
  await expect(page.getByLabel("Password")).toHaveValue("");

  await fillSignUp(page, tronch.setupCode);
  await page.getByLabel("Password").fill("too short");
  await page.getByLabel("Address of the organisation").fill("Not A Slug");
  await page.getByRole("button", { name: "Create the organisation" }).click();
  await expect(page.locator("#password-error")).toContainText("at least 12 characters");
  await expect(page.locator("#tenant_slug-error")).toContainText("small letters");

  await fillSignUp(page, tronch.setupCode);
  await page.getByRole("button", { name: "Create the organisation" }).click();
  await expect(page).toHaveURL(`${tronch.url}/t/acme/`);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Overview");
  await expect(page.getByText(owner.tenantName).first()).toBeVisible();

  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page).toHaveURL(`${tronch.url}/sign-in`);
  await page.goto(`${tronch.url}/t/acme/`);
  await expect(page).toHaveURL(`${tronch.url}/sign-in?next=%2Ft%2Facme%2F`);

  await page.getByLabel("E-mail").fill(owner.email);
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("alert")).toContainText("E-mail or password is wrong");
  await expect(page.getByLabel("E-mail")).toHaveValue(owner.email);

  await page.getByLabel("Password").fill(owner.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveURL(`${tronch.url}/t/acme/`);

  // Whoever is signed in has nothing to do on either page.
  for (const path of ["/sign-up", "/sign-in"]) {
    await page.goto(tronch.url + path);
    await expect(page, path).toHaveURL(`${tronch.url}/t/acme/`);
  }
  const nowhere = await page.goto(`${tronch.url}/t/nowhere/`);
  expect(nowhere?.status()).toBe(404);
});
