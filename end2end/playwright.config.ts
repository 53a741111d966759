// Every spec runs twice, with and without JavaScript; what needs an island is named *.island.spec.ts and runs once.
import { defineConfig } from "@playwright/test";

const chromium = {
  browserName: "chromium" as const,
  launchOptions: {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  },
};

export default defineConfig({
  testDir: "tests",
  // Each has a server of its own.
  workers: 2,
  fullyParallel: false,
  forbidOnly: true,
  retries: 0,
  timeout: 60_000,
  reporter: [["list"]],
  projects: [
    { name: "with-javascript", use: { ...chromium } },
    {
      name: "without-javascript",
      use: { ...chromium, javaScriptEnabled: false },
      testIgnore: ["**/*.island.spec.ts", "**/axe.spec.ts"],
    },
  ],
});
