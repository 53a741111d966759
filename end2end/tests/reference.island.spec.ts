// The browsable API reference: complete, and nothing of it comes from or goes to another host.
import { expect, test } from "./support/tronch.ts";

test("the reference shows every operation and loads nothing from elsewhere", async ({ page, tronch }) => {
  const hosts = new Set<string>();
  const complaints: string[] = [];
  page.on("request", (request) => void (/^https?:/.test(request.url()) && hosts.add(new URL(request.url()).origin)));
  page.on("pageerror", (error) => void complaints.push(error.message));
  await page.goto(`${tronch.url}/docs`);
  await expect(page).toHaveTitle(/API reference/);
  const { paths } = (await (await fetch(`${tronch.url}/api/v1/openapi.json`)).json()) as {
    paths: Record<string, Record<string, { tags: string[] }>>;
  };
  const tags = new Set(Object.values(paths).flatMap((methods) => Object.values(methods).flatMap(({ tags }) => tags)));
  expect(tags.size).toBeGreaterThan(5);
  for (const tag of tags) await expect(page.getByRole("link", { name: tag, exact: true }).first(), tag).toBeVisible();
  await page.getByRole("link", { name: "keys", exact: true }).first().click();
  const create = page.getByRole("link", { name: /Create a key/ }).first();
  await expect(create).toBeVisible();
  await create.click();
  await expect(page.getByText("Idempotency-Key").first()).toBeVisible();
  await page.waitForLoadState("networkidle");
  expect([...hosts]).toEqual([tronch.url]);
  expect(complaints).toEqual([]);
});
