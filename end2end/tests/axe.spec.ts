// Every page passes axe's WCAG 2.2 AA rules and never scrolls sideways: light and dark, 320 and 1280 px wide.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { AxeBuilder } from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { address, home, routes } from "./support/pages.ts";
import { expect, owner, signIn, someThings, test } from "./support/tronch.ts";

const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
test.describe.configure({ mode: "parallel" });

test("every page of the route table is looked at", () => {
  const table = readFileSync(resolve(import.meta.dirname, "../../app/src/shell.rs"), "utf8");
  const served = [...table.matchAll(/path!\("([^"]+)"\)/g)].map((match) => match[1]!);
  const looked = routes.map(({ path }) =>
    path
      .replace(/\?.*/, "")
      .replace(home, "/t/:tenant")
      .replace("{limit}", ":limit")
      .replace("{member}", ":member")
      .replace("{invitation}", ":token")
      .replace(/\{\w+\}/, ":key")
      .replace(/(?<=projects\/)default$/, ":project")
      .replace(/(?<=.)\/$/, ""),
  );
  expect(served.length).toBeGreaterThan(10);
  // A link to another password takes a mail to be had; `mail.spec.ts` is there.
  expect(served.filter((path) => !looked.includes(path) && path !== "/reset/:token")).toEqual([]);
});

/** Looks at the page as it stands, in every width and colour scheme; reports everything it finds at once. */
async function check(page: Page, where: string): Promise<void> {
  for (const width of [320, 1280]) {
    for (const colorScheme of ["light", "dark"] as const) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.reload();
      // What unfolds is looked at unfolded.
      await page.locator("details").evaluateAll((all) => all.forEach((one) => one.setAttribute("open", "")));
      const here = `${where} at ${width} px, ${colorScheme}`;
      const { violations } = await new AxeBuilder({ page }).withTags(rules).analyze();
      const found = violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}`));
      expect.soft(found, here).toEqual([]);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      expect.soft(overflow, `${here} scrolls sideways`).toBeLessThanOrEqual(0);
    }
  }
}

for (const who of ["anonymous", "owner"] as const) {
  for (const { path } of routes.filter((route) => route.who === who)) {
    test(`${path} is accessible to ${who}`, async ({ page, tronch }) => {
      if (who === "owner") await signIn(page, tronch);
      const things = path.includes("{") ? await someThings(tronch) : undefined;
      await page.goto(tronch.url + address(path, things));
      await check(page, path);
    });
  }
}

test("what a newcomer sees is accessible", async ({ page, fresh }) => {
  for (const { path } of routes.filter((route) => route.who === "newcomer")) {
    await page.goto(fresh.url + path);
    await check(page, path);
  }
});

test("a page that shows a secret once is accessible", async ({ page, tronch }) => {
  page.on("dialog", (dialog) => void dialog.accept());
  for (const width of [320, 1280]) {
    for (const colorScheme of ["light", "dark"] as const) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await signIn(page, tronch);
      await page.goto(`${tronch.url}${home}/keys/new`);
      await page.getByLabel("Name").fill("shown once");
      await page.getByRole("button", { name: "Create key" }).click();
      await expect(page.locator(".secret-value")).toBeVisible();
      const { violations } = await new AxeBuilder({ page }).withTags(rules).analyze();
      expect.soft(violations.map(({ id }) => id), `at ${width} px, ${colorScheme}`).toEqual([]);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      expect.soft(overflow, `at ${width} px, ${colorScheme} it scrolls sideways`).toBeLessThanOrEqual(0);
    }
  }
});

test("a refused form is accessible", async ({ page, tronch }) => {
  await page.goto(`${tronch.url}/sign-in`);
  await page.getByLabel("E-mail").fill(owner.email);
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("alert")).toBeVisible();
  // The answer to a form cannot be loaded again without sending it again, so it is looked at once, as it stands.
  const { violations } = await new AxeBuilder({ page }).withTags(rules).analyze();
  expect(violations.map(({ id }) => id)).toEqual([]);
});
