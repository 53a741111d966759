// A limit is set, hit, seen, changed and removed: on a key, on a project, on an owner; with and without JavaScript.
import { expect, owner, signIn, test, type Tronch } from "./support/tronch.ts";
import type { Page } from "@playwright/test";

const home = `/t/${owner.tenantSlug}`;

test.beforeEach(async ({ page, tronch }) => {
  page.on("dialog", (dialog) => void dialog.accept());
  await signIn(page, tronch);
});

/** Makes a key through the page: its secret, and its page. */
async function createKey(page: Page, tronch: Tronch, name: string, project: string): Promise<{ secret: string; href: string }> {
  await page.goto(`${tronch.url}${home}/keys/new`);
  await page.getByLabel("Name").fill(name);
  const projects = page.getByLabel("Project");
  if ((await projects.count()) > 0) await projects.selectOption(project);
  await page.getByRole("button", { name: "Create key" }).click();
  const secret = (await page.locator(".secret-value").textContent())!.trim();
  return { secret, href: (await page.getByRole("link", { name: "Go to the key" }).getAttribute("href"))! };
}

/** Makes a project that nobody has set a limit on. */
async function createProject(tronch: Tronch, token: string, slug: string): Promise<void> {
  const response = await fetch(`${tronch.url}/api/v1/projects`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ slug }),
  });
  if (!response.ok) throw new Error(`making a project answered ${response.status}: ${await response.text()}`);
}

type Told = { code: string; retryAfter: string | null };

async function verify(tronch: Tronch, token: string, project: string, key: string): Promise<Told> {
  const response = await fetch(`${tronch.url}/api/v1/keys/verify`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ key, environment: "test", project }),
  });
  const { code } = (await response.json()) as { code: string };
  return { code, retryAfter: response.headers.get("retry-after") };
}

test("a key is limited on its page, hit, changed and freed again", async ({ page, tronch }, { project: { name } }) => {
  const [token, project] = [await tronch.bootstrap(), `limited-${name.replaceAll("-", "").slice(0, 7)}`];
  await createProject(tronch, token, project);
  const { secret, href } = await createKey(page, tronch, "to be limited", project);
  await page.goto(tronch.url + href);
  await expect(page.getByText("None: it may be used as often as anybody likes.")).toBeVisible();
  await page.getByRole("link", { name: "Set a limit" }).click();

  // Every error beside its field, and what was typed stays.
  await page.getByLabel("Name", { exact: true }).fill("Not A Name");
  await page.getByLabel("Calls at once").fill("0");
  await page.getByLabel("Then calls").fill("1");
  await page.getByLabel("Calls at most").fill("5");
  await page.getByLabel("Time zone").fill("Europe/Atlantis");
  await page.getByRole("button", { name: "Set limit" }).click();
  await expect(page.locator(".field-error")).toHaveCount(3);
  await expect(page.getByLabel("Calls at most")).toHaveValue("5");

  await page.getByLabel("Name", { exact: true }).fill("default");
  await page.getByLabel("Calls at once").fill("2");
  await page.getByLabel("Every", { exact: true }).selectOption("3600");
  // Tried first: it says what it would have done, keeps what was typed, and sets nothing.
  await page.getByLabel("Time zone").fill("Europe/Berlin");
  await page.getByRole("button", { name: "Try it on last week" }).click();
  await expect(page.getByRole("status")).toContainText("There were no calls that it would have counted.");
  await expect(page.getByLabel("Calls at once")).toHaveValue("2");
  await page.getByLabel("Calls at most").fill("50000");
  await page.getByLabel("Time zone").fill("Europe/Berlin");
  await page.getByRole("button", { name: "Set limit" }).click();
  await expect(page.getByRole("status").filter({ hasText: "The limit is set." })).toBeVisible();
  await expect(page.locator("section", { hasText: "Limits" }).locator("tbody")).toContainText(
    "2 calls at once, then 1 an hour; at most 50 000 a day, Europe/Berlin",
  );

  expect([(await verify(tronch, token, project, secret)).code, (await verify(tronch, token, project, secret)).code]).toEqual(["VALID", "VALID"]);
  const refused = await verify(tronch, token, project, secret);
  expect(refused.code).toBe("RATE_LIMITED");
  expect(Number(refused.retryAfter)).toBeGreaterThan(3_000);

  await page.getByRole("link", { name: "default", exact: true }).click();
  await expect(page.getByRole("row", { name: /to be limited/ })).toContainText("of 50 000");
  await page.getByRole("link", { name: "Change" }).click();
  await expect(page.getByLabel("Calls at once")).toHaveValue("2");
  await expect(page.getByLabel("Every", { exact: true })).toHaveValue("3600");
  await page.getByLabel("Calls at once").fill("3");
  await page.getByRole("button", { name: "Save changes" }).click();
  await expect(page.getByRole("status").filter({ hasText: "The limit is changed." })).toBeVisible();
  expect((await verify(tronch, token, project, secret)).code).toBe("VALID");

  await page.getByRole("link", { name: "default", exact: true }).click();
  await page.getByRole("link", { name: "Change" }).click();
  await page.getByRole("button", { name: "Remove limit" }).click();
  await expect(page.getByRole("status").filter({ hasText: "The limit is removed." })).toBeVisible();
  for (let call = 0; call < 5; call++) expect((await verify(tronch, token, project, secret)).code).toBe("VALID");

  await page.goto(`${tronch.url}${home}/audit`);
  for (const words of ["set the limit", "changed the limit", "removed the limit"]) {
    await expect(page.getByText(words).first()).toBeVisible();
  }
});

test("a project's keys and an owner's are limited from the list", async ({ page, tronch }, { project: { name } }) => {
  const suffix = name.replaceAll("-", "").slice(0, 7);
  await page.getByRole("link", { name: "Limits", exact: true }).click();
  await page.getByRole("link", { name: "Set a limit" }).first().click();
  await page.getByLabel("Each key of the project").selectOption("");
  await page.getByLabel("Name", { exact: true }).fill(`exports-${suffix}`);
  await page.getByLabel("Calls at most").fill("10");
  await page.getByLabel("Charge every call").uncheck();
  await page.getByRole("button", { name: "Set limit" }).click();
  await expect(page.locator(".field-error")).toContainText("Choose a project, or name an owner or a namespace.");
  await page.getByLabel("Or all keys of one owner together").fill("cus_<7>");
  await page.getByRole("button", { name: "Set limit" }).click();
  await expect(page.getByRole("status").filter({ hasText: "The limit is set." })).toBeVisible();
  const row = page.locator("tbody tr", { hasText: `exports-${suffix}` });
  await expect(row).toContainText("all keys of cus_<7> together");
  await expect(row).toContainText("when named");

  await page.goto(`${tronch.url}${home}/projects/default`);
  await page.getByRole("link", { name: "Set a limit" }).click();
  await expect(page.getByLabel("Each key of the project")).toHaveValue("default");
  await page.getByLabel("Name", { exact: true }).fill(`project-${suffix}`);
  await page.getByLabel("Calls at most").fill("1000000");
  await page.getByLabel("Within").selectOption("sliding:3600");
  await page.getByRole("button", { name: "Set limit" }).click();
  await expect(page.getByRole("status").filter({ hasText: "The limit is set." })).toBeVisible();
  await expect(page.locator("tbody tr", { hasText: `project-${suffix}` })).toContainText("At most 1 000 000 in any hour");
  const { href } = await createKey(page, tronch, "held to its project's", "default");
  await page.goto(tronch.url + href);
  await expect(page.locator("tbody tr", { hasText: `project-${suffix}` })).toContainText("each key of default");
});

test("credits are used up, seen, and added to", async ({ page, tronch }, { project: { name } }) => {
  const [token, project] = [await tronch.bootstrap(), `credits-${name.replaceAll("-", "").slice(0, 7)}`];
  await createProject(tronch, token, project);
  const { secret, href } = await createKey(page, tronch, "with credits", project);
  await page.goto(tronch.url + href);
  await page.getByRole("link", { name: "Set a limit" }).click();
  await page.getByLabel("Name", { exact: true }).fill("prepaid");
  await page.getByLabel("Calls at most").fill("3");
  await page.getByLabel("Within").selectOption("credits");
  await page.getByLabel("Exact across nodes").check();
  await page.getByRole("button", { name: "Set limit" }).click();
  const row = page.getByRole("row", { name: /prepaid/ });
  await expect(row).toContainText("3 credits, then no more until some are added");
  await expect(row).toContainText("all 3");
  for (const code of ["VALID", "VALID", "VALID", "QUOTA_EXCEEDED"]) {
    expect((await verify(tronch, token, project, secret)).code).toBe(code);
  }
  await page.reload();
  await expect(row).toContainText("0 of 3");

  await page.getByRole("link", { name: "prepaid", exact: true }).click();
  await expect(page.getByText("Nodes agree on it call by call.")).toBeVisible();
  await expect(page.getByRole("row", { name: /with credits/ })).toContainText("0 of 3");
  await page.getByLabel("How many").fill("0");
  await page.getByRole("button", { name: "Add credits" }).click();
  await expect(page.locator(".field-error")).toContainText("Give a whole number from 1");
  await page.getByLabel("How many").fill("5");
  await page.getByRole("button", { name: "Add credits" }).click();
  await expect(page.getByRole("status").filter({ hasText: "The credits are added." })).toBeVisible();
  await expect.poll(async () => (await verify(tronch, token, project, secret)).code).toBe("VALID");
  await page.goto(`${tronch.url}${home}/audit`);
  await expect(page.getByText("added credits to the limit").first()).toBeVisible();
});

test("what is no key is limited by its identifiers, hit, seen over time, and freed", async ({ page, tronch }, { project: { name } }) => {
  const [token, namespace] = [await tronch.bootstrap(), `sign-ups-${name.replaceAll("-", "").slice(0, 7)}`];
  const check = async (identifier: string) => {
    const response = await fetch(`${tronch.url}/api/v1/limits/check`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({ namespace, identifier }),
    });
    return { status: response.status, ...((await response.json()) as { code: string }) };
  };
  expect((await check("ada@example.com")).status).toBe(404);
  const set = async (identifiers: string, total: string) => {
    await page.goto(`${tronch.url}${home}/limits/new`);
    await page.getByLabel("Each key of the project").selectOption("");
    await page.getByLabel("Namespace").fill(namespace);
    await page.getByLabel("Identifiers").fill(identifiers);
    await page.getByLabel("Calls at most").fill(total);
    await page.getByRole("button", { name: "Set limit" }).click();
  };
  await set("a*b*", "1");
  await expect(page.locator(".field-error")).toContainText("A pattern has one * at most");
  await expect(page.getByLabel("Namespace")).toHaveValue(namespace);
  await set("", "1");
  await expect(page.getByRole("status").filter({ hasText: "The limit is set." })).toBeVisible();
  await set("*@example.com", "2");
  await expect(page.locator("tbody tr", { hasText: `*@example.com of ${namespace}` })).toContainText("At most 2 a day, UTC");
  const codes = [];
  for (const identifier of ["ada@example.com", "ada@example.com", "ada@example.com", "198.51.100.7", "198.51.100.7"]) {
    codes.push((await check(identifier)).code);
  }
  expect(codes).toEqual(["PASSED", "PASSED", "QUOTA_EXCEEDED", "PASSED", "QUOTA_EXCEEDED"]);

  await page.locator("tbody tr", { hasText: `*@example.com of ${namespace}` }).getByRole("link", { name: "default" }).click();
  await expect(page.getByRole("row", { name: /ada@example.com/ })).toContainText("0 of 2");
  // What was let pass and refused is there a second or two later.
  await expect(async () => {
    await page.reload();
    await page.getByRole("link", { name: "1 h", exact: true }).click();
    await expect(page.locator(".stat", { hasText: /^Passed/ })).toContainText("2");
    await expect(page.locator(".stat", { hasText: /^Refused/ })).toContainText("1");
  }).toPass();
  await expect(page.getByText("Quota exceeded").first()).toBeVisible();
  await page.getByRole("link", { name: "Change" }).click();
  await page.getByRole("button", { name: "Remove limit" }).click();
  await expect(page.getByRole("status").filter({ hasText: "The limit is removed." })).toBeVisible();
  expect((await check("ada@example.com")).code).toBe("PASSED");
});
