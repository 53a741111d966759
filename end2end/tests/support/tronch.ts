// The real binary with its private Postgres and a data directory of its own: `tronch` for every test of a worker, where
// the owner has signed up already; `fresh` for one test, where nobody has.
import { test as base, type Page } from "@playwright/test";
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const binary = resolve(import.meta.dirname, "../..", process.env.TRONCH_BIN ?? "../target/debug/tronch");
const stopMsMax = 15_000;

export class Tronch {
  private constructor(
    readonly url: string,
    readonly dataDir: string,
    private readonly child: ReturnType<typeof spawn>,
  ) {}

  static async start(settings: Record<string, string> = {}): Promise<Tronch> {
    const dataDir = mkdtempSync(join(tmpdir(), "tronch-e2e-"));
    // Postgres may run as another user than we do.
    chmodSync(dataDir, 0o755);
    const [port, opsPort] = [await freePort(), await freePort()];
    const environment = {
      ...inheritedEnvironment(),
      TRONCH_LISTEN: `127.0.0.1:${port}`,
      TRONCH_OPS_LISTEN: `127.0.0.1:${opsPort}`,
      TRONCH_PUBLIC_URL: `http://localhost:${port}`,
      TRONCH_DATA_DIR: dataDir,
      // Each request has its line otherwise, between those of the tests.
      TRONCH_LOG: "warn",
      ...settings,
    };
    const tronch = new Tronch(`http://localhost:${port}`, dataDir, launch(environment));
    try {
      await tronch.ready();
    } catch (error) {
      await tronch.stop();
      throw error;
    }
    return tronch;
  }

  get setupCode(): string {
    return readFileSync(join(this.dataDir, "setup-code"), "utf8").trim();
  }

  private async ready(): Promise<void> {
    for (let attempt = 0; attempt < 300; attempt++) {
      if (!this.running()) throw new Error(`tronch is not running; it ended with ${this.child.exitCode}`);
      const response = await fetch(`${this.url}/readyz`).catch(() => undefined);
      if (response?.ok) return;
      await new Promise((wake) => setTimeout(wake, 200));
    }
    throw new Error("tronch did not start within a minute");
  }

  /** Signs the owner up as a script would: one form, sent without a browser. */
  async signUpOwner(): Promise<void> {
    const response = await fetch(`${this.url}/sign-up`, {
      method: "POST",
      redirect: "manual",
      body: new URLSearchParams({
        setup_code: this.setupCode,
        name: owner.name,
        email: owner.email,
        password: owner.password,
        tenant_name: owner.tenantName,
        tenant_slug: owner.tenantSlug,
      }),
    });
    if (response.status !== 303) throw new Error(`signing up answered ${response.status}: ${await response.text()}`);
  }

  /** Runs `tronch bootstrap` for a tenant of the owner's: a service token with every permission. */
  async bootstrap(tenant: string = owner.tenantSlug): Promise<string> {
    const made = await this.run(["bootstrap", "--email", owner.email, "--tenant", tenant, "--password-stdin", "--json"]);
    return made.service_token as string;
  }

  /** Runs `tronch demo`: a tenant `demo` of the owner's, with keys in every state. A service token for it. */
  async demo(): Promise<string> {
    const made = await this.run(["demo", "--email", owner.email, "--password-stdin", "--json"]);
    return made.service_token as string;
  }

  /** Runs a command beside the server, with the owner's password, and reads the line of JSON it prints. */
  private async run(words: string[]): Promise<Record<string, unknown>> {
    const environment = { ...inheritedEnvironment(), TRONCH_DATA_DIR: this.dataDir };
    const child = spawn(binary, words, { env: environment, stdio: ["pipe", "pipe", "inherit"] });
    child.stdin.end(`${owner.password}\n`);
    let printed = "";
    for await (const part of child.stdout) printed += part;
    return JSON.parse(printed) as Record<string, unknown>;
  }

  /** Asks the server to stop and waits; one that does not is killed, and that is an error. */
  async stop(): Promise<void> {
    let killed = false;
    if (this.running()) {
      const ended = new Promise<void>((wake) => this.child.once("exit", () => wake()));
      this.child.kill("SIGTERM");
      const patience = setTimeout(() => (killed = this.child.kill("SIGKILL")), stopMsMax);
      await ended;
      clearTimeout(patience);
    }
    if (killed) throw new Error(`tronch did not stop within ${stopMsMax} ms; its data is in ${this.dataDir}`);
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  private running(): boolean {
    return this.child.pid !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }
}

/** Ours without what would lead the server to somebody's real database or settings. */
function inheritedEnvironment(): NodeJS.ProcessEnv {
  const settings = /^(TRONCH_.*|DATABASE_URL|REDIS_URL)$/;
  const kept = Object.entries(process.env).filter(([name]) => !settings.test(name) || name === "TRONCH_PG_BIN");
  return Object.fromEntries(kept);
}

function launch(environment: NodeJS.ProcessEnv) {
  const child = spawn(binary, ["serve"], { env: environment, stdio: ["ignore", "ignore", "inherit"] });
  // Without a listener a missing binary would end the whole run; as it is, `ready` says what is wrong.
  child.once("error", (error) => console.error(`${binary} cannot be started: ${error.message}`));
  return child;
}

function freePort(): Promise<number> {
  return new Promise((found, failed) => {
    const server = createServer();
    server.once("error", failed);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (address === null || typeof address === "string") return failed(new Error("no port"));
      server.close(() => found(address.port));
    });
  });
}

/** A server of one test's own, with settings. */
export const startTronch = (settings: Record<string, string>): Promise<Tronch> => Tronch.start(settings);

export const owner = {
  name: "Ada Łovelace",
  email: "ada@example.com",
  password: "correct horse battery",
  tenantName: "Acme & Söhne <b>",
  tenantSlug: "acme",
};

/** Signs in through the page. */
export async function signIn(page: Page, tronch: Tronch): Promise<void> {
  // Whoever is signed in already is led past the page.
  await page.context().clearCookies();
  await page.goto(`${tronch.url}/sign-in`);
  await page.getByLabel("E-mail").fill(owner.email);
  await page.getByLabel("Password").fill(owner.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${tronch.url}/t/${owner.tenantSlug}/`);
}

export type Things = { key: string; successor: string; limit: string; member: string; invitation: string };

const made = new WeakMap<Tronch, Promise<Things>>();

/** A key with calls of several verdicts, its successor and a token, made once for each server over the API. */
export function someThings(tronch: Tronch): Promise<Things> {
  const there = made.get(tronch) ?? makeThings(tronch);
  made.set(tronch, there);
  return there;
}

async function makeThings(tronch: Tronch): Promise<Things> {
  const token = await tronch.bootstrap();
  const post = async (path: string, body: object) => {
    const response = await fetch(`${tronch.url}/api/v1${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
    return response.json();
  };
  const owned = { owner: { external_id: "cus_42" }, permissions: ["invoices.read"], metadata: { plan: "pro" } };
  const { key, secret } = await post("/keys", { name: "Key of a customer", environment: "live", ...owned });
  for (const asked of [secret, secret, secret, `${secret.slice(0, -1)}!`, "no key"]) {
    await post("/keys/verify", { key: asked, environment: "live" });
  }
  await post("/keys/verify", { key: secret, environment: "live", permissions: "admin" });
  const rotated = await post(`/keys/${key.id}/rotate`, { grace_seconds: 3600 });
  const other = await post("/keys", { name: "Disabled ".repeat(10).trim() });
  await post(`/keys/${other.key.id}/disable`, {});
  const burst = { capacity: 100, refill: 10 };
  const window = { total: 50000, calendar: "day", time_zone: "Europe/Berlin" };
  const limit = await post("/limits", { name: "default", key_id: rotated.key.id, burst, window });
  await post("/limits", { name: "default", owner: { external_id: "cus_42" }, burst });
  await post("/limits", { name: "exports", project: "default", automatic: false, window });
  return { key: key.id, successor: rotated.key.id, limit: limit.id, ...(await makePeople(tronch)) };
}

/** A member beside the owner, and an open invitation, made with forms and without a browser. */
async function makePeople(tronch: Tronch): Promise<{ member: string; invitation: string }> {
  const send = (path: string, fields: Record<string, string>, cookie = "") =>
    fetch(tronch.url + path, {
      method: "POST",
      redirect: "manual",
      headers: { cookie },
      body: new URLSearchParams(fields),
    });
  const signedIn = await send("/sign-in", { email: owner.email, password: owner.password });
  const cookie = signedIn.headers.getSetCookie().find((one) => one.startsWith("tronch="))!.split(";")[0]!;
  const home = `/t/${owner.tenantSlug}`;
  const invite = async (email: string) => {
    const page = await (await send(`${home}/members/invite`, { email, role: "developer" }, cookie)).text();
    return page.match(/\/invitations\/\w+/)![0];
  };
  const joined = await send(await invite("grace@example.com"), { name: "Grace <b>Hopper</b>", password: owner.password });
  if (joined.status !== 303) throw new Error(`joining answered ${joined.status}: ${await joined.text()}`);
  const invitation = await invite("invited@example.com");
  const members = await (await fetch(`${tronch.url}${home}/members`, { headers: { cookie } })).text();
  const grace = [...members.matchAll(/members\/(usr_\w+)"[^>]*>([^<]*)/g)].find((match) => match[2]!.startsWith("Grace"))!;
  return { member: grace[1]!, invitation: invitation.split("/").at(-1)! };
}

export const test = base.extend<{ fresh: Tronch }, { tronch: Tronch }>({
  fresh: [
    async ({}, use) => {
      const tronch = await Tronch.start();
      await use(tronch);
      await tronch.stop();
    },
    { timeout: 90_000 },
  ],
  tronch: [
    async ({}, use) => {
      const tronch = await Tronch.start();
      await tronch.signUpOwner();
      await use(tronch);
      await tronch.stop();
    },
    { scope: "worker", timeout: 90_000 },
  ],
});

export { expect } from "@playwright/test";
