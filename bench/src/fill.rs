//! Fills Postgres with keys that are real but for their slow hash: a million of those would take hours, and a warm verdict
//! never looks at them.

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngExt as _;
use sha2::Sha256;
use tokio_postgres::Client;
use tronch_core::{CredentialKind, Environment, KeyDraft, KeyId};
use uuid::Uuid;

use crate::probe::postgres;
use crate::product::{Installation, MASTER};

/// Rows of one COPY.
const AT_ONCE: usize = 10_000;

/// Where in a live key its handle is.
const HANDLE: std::ops::Range<usize> = 15..26;

/// The file that keeps the keys of the last run, for they cannot be read from the database.
const KEPT: &str = "tronch-load-keys";

struct Maker {
    gate_key: Vec<u8>,
    pepper: [u8; 32],
    tag_key: [u8; 8],
    tenant_id: Uuid,
    project_id: Uuid,
    from_ms: u64,
}

struct Made {
    text: String,
    id: String,
    name: String,
    handle: String,
    tag: String,
}

/// Texts that pass the gate and are nobody's keys.
pub async fn strangers(installation: &Installation, count: usize) -> anyhow::Result<Vec<String>> {
    let maker = Maker::read(&postgres(installation).await?).await?;
    (0..count).map(|at| Ok(maker.make(at)?.text)).collect()
}

/// The same texts with another last character, which no gate lets pass but by chance once in 14 776 336.
pub fn forged(texts: &[String]) -> Vec<String> {
    let other = |last: &str| if last == "0" { "1" } else { "0" };
    texts
        .iter()
        .map(|text| text.split_at(text.len() - 1))
        .map(|(rest, last)| format!("{rest}{}", other(last)))
        .collect()
}

/// The ids of keys, in the order of the texts.
pub async fn ids(installation: &Installation, texts: &[String]) -> anyhow::Result<Vec<KeyId>> {
    let handle = |text: &String| text[HANDLE].to_owned();
    let handles: Vec<String> = texts.iter().map(handle).collect();
    let sql = "SELECT keys.id::text FROM unnest($1::text[]) WITH ORDINALITY AS asked (handle, place) \
               JOIN keys USING (handle) ORDER BY place";
    let rows = postgres(installation).await?.query(sql, &[&handles]).await?;
    rows.iter().map(|row| Ok(KeyId::from_uuid(row.get::<_, &str>(0).parse()?))).collect()
}

/// Keys of the installation, made unless they are there.
pub async fn keys(installation: &Installation, count: usize) -> anyhow::Result<Vec<String>> {
    let client = postgres(installation).await?;
    let maker = Maker::read(&client).await?;
    let kept = std::env::temp_dir().join(format!("{KEPT}-{}", maker.tenant_id.simple()));
    let mut texts: Vec<String> =
        std::fs::read_to_string(&kept).map(|text| text.lines().map(ToOwned::to_owned).collect()).unwrap_or_default();
    texts.extend(add(&client, &maker, texts.len()..count).await?);
    client.batch_execute("ANALYZE keys").await?;
    std::fs::write(&kept, texts.join("\n"))?;
    texts.truncate(count);
    Ok(texts)
}

/// Keys that no run before has used, for those that are revoked.
pub async fn fresh_keys(installation: &Installation, count: usize) -> anyhow::Result<Vec<String>> {
    let client = postgres(installation).await?;
    let maker = Maker::read(&client).await?;
    let texts = add(&client, &maker, 0..count).await?;
    client.batch_execute("ANALYZE keys").await?;
    Ok(texts)
}

async fn add(client: &Client, maker: &Maker, numbers: std::ops::Range<usize>) -> anyhow::Result<Vec<String>> {
    let numbers: Vec<usize> = numbers.collect();
    let mut texts = Vec::with_capacity(numbers.len());
    for some in numbers.chunks(AT_ONCE) {
        let made: Vec<Made> = some.iter().map(|at| maker.make(*at)).collect::<Result<_, _>>()?;
        insert(client, maker, &made).await?;
        texts.extend(made.into_iter().map(|made| made.text));
    }
    Ok(texts)
}

/// Row security refuses COPY.
async fn insert(client: &Client, maker: &Maker, made: &[Made]) -> anyhow::Result<()> {
    let column = |of: fn(&Made) -> &String| made.iter().map(of).collect::<Vec<_>>();
    let (handles, ids, names, tags) =
        (column(|made| &made.handle), column(|made| &made.id), column(|made| &made.name), column(|made| &made.tag));
    client.execute("INSERT INTO key_handles (handle) SELECT unnest($1::text[])", &[&handles]).await?;
    let sql = "INSERT INTO keys (id, tenant_id, project_id, environment, handle, name, kdf_phc, tag, tag_key, created_at, \
               updated_at) SELECT id::uuid, $5::text::uuid, $6::text::uuid, 'live', handle, name, 'none', decode(tag, 'hex'), \
               decode($7::text, 'hex'), now(), now() \
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS made (id, handle, name, tag)";
    let (tenant, project, tag_key) = (maker.tenant_id.to_string(), maker.project_id.to_string(), hex(&maker.tag_key));
    client.execute(sql, &[&ids, &handles, &names, &tags, &tenant, &project, &tag_key]).await?;
    Ok(())
}

impl Maker {
    async fn read(client: &Client) -> anyhow::Result<Self> {
        let gate_key = client.query_one("SELECT gate_key FROM gate_keys", &[]).await?.get(0);
        let project =
            client.query_one("SELECT tenant_id::text, id::text FROM projects WHERE slug = 'default'", &[]).await?;
        let (tenant_id, project_id) = (project.get::<_, &str>(0).parse()?, project.get::<_, &str>(1).parse()?);
        let pairs = (0..MASTER.len()).step_by(2).map(|at| u8::from_str_radix(&MASTER[at..at + 2], 16));
        let master: Vec<u8> = pairs.collect::<Result<_, _>>()?;
        let (mut pepper, mut tag_key) = ([0; 32], [0; 8]);
        let derived = hkdf::Hkdf::<Sha256>::new(None, &master);
        let refused = |_| anyhow::anyhow!("HKDF gives less");
        derived.expand(b"tronch-pepper-v1", &mut pepper).map_err(refused)?;
        derived.expand(b"tronch-key-id-v1", &mut tag_key).map_err(refused)?;
        let now = u64::try_from(chrono::Utc::now().timestamp_millis())?;
        // Old enough that nobody takes them for keys in the making.
        let from_ms = now - 30 * 86_400_000;
        Ok(Self { gate_key, pepper, tag_key, tenant_id, project_id, from_ms })
    }

    fn make(&self, at: usize) -> anyhow::Result<Made> {
        let mut random = rand::rng();
        let s = std::array::from_fn(|_| random.random_range(0..62));
        let k = std::array::from_fn(|_| random.random_range(0..62));
        let draft = KeyDraft::new(CredentialKind::Key(Environment::Live), self.from_ms + at as u64, s, k)
            .map_err(|reason| anyhow::anyhow!("{reason}"))?;
        let handle = draft.handle().to_string();
        let gate = hmac(&self.gate_key, &[b"tronch-gate-v1", draft.gate_input().as_bytes()]);
        let gate = u64::from_be_bytes(gate[..8].try_into()?) % 62_u64.pow(4);
        let text = draft.finish(u32::try_from(gate)?);
        let tag = hmac(&self.pepper, &[b"tronch-tag-v1", self.tenant_id.as_bytes(), text.as_bytes()]);
        let id = Uuid::from_bytes(random.random()).to_string();
        Ok(Made { text, id, name: format!("key number {at:09}"), handle, tag: hex(&tag) })
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
