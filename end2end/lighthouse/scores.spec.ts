// Five pages of a demo tenant score at least 95 in three of Lighthouse's categories, as a desktop and as a phone. The
// best of up to three looks counts: whatever else the machine is doing takes points of performance away and gives none.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, signIn, test, type Tronch } from "../tests/support/tronch.ts";

const version = "12.8.2";
const categories = ["performance", "accessibility", "best-practices"];
const scoreMin = 95;
const looksMax = 3;

interface Report {
  finalDisplayedUrl: string;
  categories: Record<string, { score: number | null }>;
  audits: Record<string, { score: number | null; title: string; displayValue?: string }>;
}

/** Runs Lighthouse on one page, with the session's cookie where there is one. */
async function look(address: string, device: "desktop" | "mobile", cookie: string | undefined): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), "tronch-lighthouse-"));
  const path = join(folder, "report.json");
  const words = ["--yes", `lighthouse@${version}`, address, "--quiet", "--output=json", `--output-path=${path}`];
  words.push(`--only-categories=${categories.join(",")}`, "--chrome-flags=--no-sandbox --headless=new");
  if (device === "desktop") words.push("--preset=desktop");
  if (cookie !== undefined) words.push(`--extra-headers=${JSON.stringify({ Cookie: cookie })}`);
  try {
    const environment = { CHROME_PATH: process.env.CHROMIUM ?? "/usr/bin/chromium", ...process.env };
    await promisify(execFile)("npx", words, { env: environment, maxBuffer: 2 ** 26 });
    return JSON.parse(readFileSync(path, "utf8")) as Report;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function scoresOf(report: Report): number[] {
  return categories.map((name) => Math.round(100 * (report.categories[name]?.score ?? 0)));
}

/** What took points: each audit that is not perfect, with its value. */
function faults({ audits }: Report): string[] {
  const imperfect = Object.entries(audits).filter(([, { score }]) => score !== null && score < 0.9);
  return imperfect.map(([id, { title, displayValue }]) => `    ${id}: ${title} ${displayValue ?? ""}`);
}

/** The demo's last used key, made once for each server. */
async function keyOfTheDemo(tronch: Tronch): Promise<string> {
  const token = await tronch.demo();
  const response = await fetch(`${tronch.url}/api/v1/keys?sort=-last_used&limit=1`, {
    headers: { authorization: `Bearer ${token}` },
  });
  return ((await response.json()) as { items: { id: string }[] }).items[0]!.id;
}

let demoKey: string | undefined;

for (const device of ["desktop", "mobile"] as const) {
  test(`pages score at least ${scoreMin} as a ${device}`, async ({ page, context, tronch }) => {
    const key = (demoKey ??= await keyOfTheDemo(tronch));
    await signIn(page, tronch);
    const session = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
    const home = "/t/demo";
    console.log(`${device.padEnd(34)} ${categories.join("  ")}`);
    for (const path of ["/sign-in", `${home}/`, `${home}/keys`, `${home}/keys/${key}`, `${home}/audit`]) {
      let report: Report;
      let scores: number[] = [];
      let looks = 0;
      do {
        const next = await look(tronch.url + path, device, path === "/sign-in" ? undefined : session);
        expect(next.finalDisplayedUrl, "whoever is not signed in is led elsewhere").toBe(tronch.url + path);
        if (looks++ === 0 || Math.min(...scoresOf(next)) > Math.min(...scores)) {
          report = next;
          scores = scoresOf(next);
        }
      } while (Math.min(...scores) < scoreMin && looks < looksMax);
      const columns = scores.map((score, index) => String(score).padStart(categories[index]!.length));
      console.log(`${path.replace(key, "{key}").padEnd(34)} ${columns.join("  ")}  (looks: ${looks})`);
      if (Math.min(...scores) < 100) console.log(faults(report!).join("\n"));
      expect.soft(Math.min(...scores), path).toBeGreaterThanOrEqual(scoreMin);
    }
  });
}
