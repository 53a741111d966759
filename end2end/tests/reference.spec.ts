// The API reference is there without scripts too, as a list that names every operation and its permission.
import { expect, test } from "./support/tronch.ts";

test("the reference's own page lists the operations", async ({ tronch }) => {
  const response = await fetch(`${tronch.url}/docs`);
  expect(response.status).toBe(200);
  const html = await response.text();
  const { paths } = (await (await fetch(`${tronch.url}/api/v1/openapi.json`)).json()) as { paths: Record<string, object> };
  for (const [path, methods] of Object.entries(paths)) {
    for (const method of Object.keys(methods)) expect(html).toContain(`${method.toUpperCase()} ${path}<`);
  }
  expect(html).toContain("keys.verify");
  expect(html).not.toMatch(/https?:\/\//);
});
