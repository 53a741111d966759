// Mail: an invitation and a link to another password, through a real SMTP server; with and without JavaScript.
import { createServer, type Server } from "node:net";
import { expect, owner, signIn, startTronch, test, type Tronch } from "./support/tronch.ts";

/** An SMTP server (RFC 5321) that keeps what it is sent. */
async function startSmtp(): Promise<{ server: Server; url: string; mails: string[] }> {
  const mails: string[] = [];
  const server = createServer((socket) => {
    let mail: string | undefined;
    let rest = "";
    socket.write("220 a test\r\n");
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      const lines = (rest + data.toString()).split("\r\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (mail !== undefined && line !== ".") {
          mail += `${line}\n`;
        } else if (mail !== undefined) {
          // RFC 2045: a long line goes on after an equals sign.
          mails.push(mail.replaceAll("=\n", ""));
          mail = undefined;
          socket.write("250 taken\r\n");
        } else if (line.startsWith("DATA")) {
          mail = "";
          socket.write("354 go on\r\n");
        } else if (line.startsWith("QUIT")) {
          socket.end("221 gone\r\n");
        } else {
          socket.write("250 fine\r\n");
        }
      }
    });
  });
  await new Promise<void>((wake) => server.listen(0, "127.0.0.1", wake));
  const address = server.address() as { port: number };
  return { server, url: `smtp://127.0.0.1:${address.port}`, mails };
}

/** The link of the next mail to that address. */
async function linkTo(mails: string[], address: string): Promise<string> {
  await expect.poll(() => mails.findIndex((mail) => mail.includes(`To: ${address}`)), { timeout: 20_000 }).toBeGreaterThanOrEqual(0);
  const [mail] = mails.splice(mails.findIndex((one) => one.includes(`To: ${address}`)), 1);
  return mail!.match(/http:\S+/)![0];
}

test("somebody is invited by mail, forgets the password, and chooses another", async ({ browser, page, javaScriptEnabled }) => {
  test.setTimeout(120_000);
  const { server, url, mails } = await startSmtp();
  const tronch: Tronch = await startTronch({ TRONCH_SMTP_URL: url, TRONCH_MAIL_FROM: "TRONCH <tronch@example.com>" });
  try {
    await tronch.signUpOwner();
    await signIn(page, tronch);
    await page.goto(`${tronch.url}/t/${owner.tenantSlug}/members/invite`);
    await page.getByLabel("E-mail").fill("bob@example.com");
    await page.getByRole("button", { name: "Invite" }).click();
    await expect(page.getByRole("status")).toContainText("A mail with their link is on its way.");
    const link = await linkTo(mails, "bob@example.com");
    await expect(async () => {
      await page.reload();
      await expect(page.getByRole("row", { name: "bob@example.com" })).toContainText("sent");
    }).toPass();

    const bob = await (await browser.newContext({ javaScriptEnabled })).newPage();
    await bob.goto(link);
    await bob.getByLabel("Your name").fill("Bob");
    await bob.getByLabel("Password").fill(owner.password);
    await bob.getByRole("button", { name: "Make an account and join" }).click();
    await bob.waitForURL(`${tronch.url}/t/${owner.tenantSlug}/`);

    await bob.context().clearCookies();
    await bob.goto(`${tronch.url}/sign-in`);
    await bob.getByRole("link", { name: "Forgot your password?" }).click();
    await bob.getByLabel("E-mail").fill("bob@example.com");
    await bob.getByRole("button", { name: "Send a link" }).click();
    await expect(bob.getByRole("status")).toContainText("is on its way");
    const reset = await linkTo(mails, "bob@example.com");
    await bob.goto(reset);
    await bob.getByLabel("Password").fill("pferd batterie klammer");
    await bob.getByRole("button", { name: "Change password" }).click();
    await expect(bob.getByRole("status")).toContainText("Your password is changed.");
    await bob.getByLabel("E-mail").fill("bob@example.com");
    await bob.getByLabel("Password").fill("pferd batterie klammer");
    await bob.getByRole("button", { name: "Sign in" }).click();
    await bob.waitForURL(`${tronch.url}/t/${owner.tenantSlug}/`);
    expect((await bob.goto(reset))!.status()).toBe(410);
    await bob.context().close();
  } finally {
    await tronch.stop();
    server.close();
  }
});
