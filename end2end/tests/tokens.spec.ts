// A service token is made, seen to expire soon, rotated, and its successor works beside it; with and without JavaScript.
import { expect, owner, signIn, test, type Tronch } from "./support/tronch.ts";

const home = `/t/${owner.tenantSlug}`;

/** Whether the API lets it in. */
async function isLetIn(tronch: Tronch, token: string): Promise<boolean> {
  const response = await fetch(`${tronch.url}/api/v1/keys`, { headers: { authorization: `Bearer ${token}` } });
  return response.ok;
}

test("a token that expires soon is rotated in time", async ({ page, tronch }, { project }) => {
  page.on("dialog", (dialog) => void dialog.accept());
  const name = `nightly export of ${project.name}`;
  await signIn(page, tronch);
  const expires = new Date(Date.now() + 6 * 24 * 3600 * 1000).toISOString();
  const made = await fetch(`${tronch.url}/api/v1/service-tokens`, {
    method: "POST",
    headers: { authorization: `Bearer ${await tronch.bootstrap()}`, "content-type": "application/json" },
    body: JSON.stringify({ name, permissions: ["keys.read"], expires_at: expires }),
  });
  const { secret: old } = (await made.json()) as { secret: string };

  await page.goto(`${tronch.url}${home}/`);
  await expect(page.getByText("expires soon.")).toBeVisible();
  await page.getByRole("link", { name: "Rotate in time" }).click();
  const row = page.getByRole("row", { name });
  await expect(row).toContainText("Expires soon");
  await row.getByLabel(`Rotate ${name}`).click();
  await row.getByLabel("The old token keeps working").selectOption("for an hour");
  await row.getByRole("button", { name: "Rotate", exact: true }).click();

  await expect(page.getByRole("heading", { name: "Service token rotated" })).toBeVisible();
  const successor = (await page.locator(".secret-value").textContent())!.trim();
  expect(successor).toMatch(/^tronch_st_/);
  expect([await isLetIn(tronch, old), await isLetIn(tronch, successor)]).toEqual([true, true]);
  await page.getByRole("link", { name: "Back to the list" }).click();
  await expect(page.getByRole("row", { name }).filter({ hasText: "Rotating" })).toHaveCount(1);

  // The old one can still be ended at once.
  await page.getByRole("row", { name }).filter({ hasText: "Rotating" }).getByLabel(`Revoke ${name}`).click();
  await page.getByRole("row", { name }).getByRole("button", { name: "Revoke for ever" }).filter({ visible: true }).click();
  await expect(page.getByText("The service token is revoked, for ever.")).toBeVisible();
  expect([await isLetIn(tronch, old), await isLetIn(tronch, successor)]).toEqual([false, true]);
});
