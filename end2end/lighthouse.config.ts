// Lighthouse instead of tests: `script/lighthouse` runs it. It fetches Lighthouse when it is called, for 185 MB are too
// much to install for everybody who runs the tests.
import config from "./playwright.config.ts";

export default { ...config, testDir: "lighthouse", timeout: 1_800_000, projects: config.projects!.slice(0, 1) };
