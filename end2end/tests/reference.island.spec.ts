// The browsable API reference: complete, and nothing of it comes from or goes to another host.
import { expect, test } from "./support/tronch.ts";

test("the reference shows every operation and loads nothing from elsewhere", async ({ page, tronch }) => {
  const hosts = new Set<string>();
  const complaints: string[] = [];
  page.on("request", (request) => void (/^https?:/.test(request.url()) && hosts.add(new URL(request.url()).origin)));
  page.on("pageerror", (error) => void complaints.push(error.message));
  await page.goto(`${tronch.url}/docs`);
  await expect(page).toHaveTitle(/API reference/);
  await expect(page.getByRole("heading", { name: "keys", exact: true }).first()).toBeVisible();
  for (const summary of ["Create a key", "Rotate", "Answer whether a key may pass", "Put a project away"]) {
    await expect(page.getByText(summary).first(), summary).toBeAttached();
  }
  await page.getByText("Create a key").first().click();
  await expect(page.getByText("Idempotency-Key").first()).toBeAttached();
  await page.waitForLoadState("networkidle");
  expect([...hosts]).toEqual([tronch.url]);
  expect(complaints).toEqual([]);
});
