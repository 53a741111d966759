// Every page there is, and who looks at it: what is asked of all of them is asked of each of these.
import { owner, type Things } from "./tronch.ts";

export const home = `/t/${owner.tenantSlug}`;

// A new page gets a line here: where it is, and who looks at it. `{key}` is a key with usage, in a rotation.
export const routes: { path: string; who: "newcomer" | "anonymous" | "owner" }[] = [
  { path: "/sign-up", who: "newcomer" },
  { path: "/sign-in", who: "anonymous" },
  { path: "/no-such-page", who: "anonymous" },
  { path: `${home}/`, who: "owner" },
  { path: `${home}/?span=1h`, who: "owner" },
  { path: `${home}/keys`, who: "owner" },
  { path: `${home}/keys?q=nothing+like+it`, who: "owner" },
  { path: `${home}/keys?sort=nonsense&cursor=nonsense`, who: "owner" },
  { path: `${home}/keys/new`, who: "owner" },
  { path: `${home}/keys/{key}`, who: "owner" },
  { path: `${home}/keys/{key}?did=changed&span=1h`, who: "owner" },
  { path: `${home}/keys/{key}/edit`, who: "owner" },
  { path: `${home}/keys/{key}/rotate`, who: "owner" },
  { path: `${home}/keys/{successor}/rotate`, who: "owner" },
  { path: `${home}/keys/{key}/revoke`, who: "owner" },
  { path: `${home}/keys/bulk?action=revoke&key={key}&key={successor}`, who: "owner" },
  { path: `${home}/keys/bulk`, who: "owner" },
  { path: `${home}/keys/revoke?environment=live`, who: "owner" },
  { path: `${home}/keys/revoke?owner=nobody`, who: "owner" },
  { path: `${home}/projects`, who: "owner" },
  { path: `${home}/projects/new`, who: "owner" },
  { path: `${home}/projects/default`, who: "owner" },
  { path: `${home}/keys/{successor}`, who: "owner" },
  { path: `${home}/limits`, who: "owner" },
  { path: `${home}/limits/new`, who: "owner" },
  { path: `${home}/limits/new?key={key}`, who: "owner" },
  { path: `${home}/limits/{limit}`, who: "owner" },
  { path: `${home}/limits/{limit}/edit`, who: "owner" },
  { path: `${home}/tokens`, who: "owner" },
  { path: `${home}/tokens/new`, who: "owner" },
  { path: `${home}/audit`, who: "owner" },
  { path: `${home}/audit?action=revoke_key`, who: "owner" },
  { path: `${home}/members`, who: "owner" },
  { path: `${home}/members/invite`, who: "owner" },
  { path: `${home}/members/{member}`, who: "owner" },
  { path: "/invitations/{invitation}", who: "anonymous" },
  { path: "/invitations/{invitation}", who: "owner" },
  { path: `${home}/settings`, who: "owner" },
  { path: "/forgot", who: "anonymous" },
  { path: "/account", who: "owner" },
  { path: "/account/organisations/new", who: "owner" },
  { path: `${home}/no-such-page`, who: "owner" },
];

/** The address of a page, with the ids of what was made. */
export function address(path: string, things: Things | undefined): string {
  return path.replaceAll(/\{(key|successor|limit|member|invitation)\}/g, (_, name: keyof Things) => things![name]);
}
