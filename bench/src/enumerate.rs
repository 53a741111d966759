//! Whether the time of an answer tells who has an account: wrong passwords and wishes for another one, for addresses that have accounts and for
//! such as have none, in random order. What is printed is how often an answer about one who exists came later than one about nobody
//! (the area under the ROC curve, Mann and Whitney's U over n²): 0.5 tells nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::Client;

use crate::Measured;
use crate::probe::postgres;
use crate::product::{Installation, OWNER, Running, Start};

/// A door where an address is typed.
struct Door {
    path: &'static str,
    /// What the answer is.
    status: u16,
}

const DOORS: [Door; 2] = [Door { path: "/sign-in", status: 422 }, Door { path: "/forgot", status: 303 }];

/// So many tries of each kind at each door.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured, tries: u32) -> anyhow::Result<()> {
    let installation = Installation::prepare(&measured.tronch, &measured.database_url)?;
    people(&installation, tries).await?;
    // Whoever tries comes from a new address each time, or would be held off. No mail is ever taken: it waits.
    let settings = [
        ("TRONCH_TRUSTED_PROXIES", "127.0.0.0/8"),
        ("TRONCH_SMTP_URL", "smtp://127.0.0.1:9"),
        ("TRONCH_MAIL_FROM", "tronch@example.com"),
    ];
    let product = Running::product(&installation, &Start { settings: &settings, ..Start::default() })?;
    product.wait_until_ready().await?;
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    for door in DOORS {
        let mut order: Vec<(bool, u32)> = (0..tries).flat_map(|number| [(true, number), (false, number)]).collect();
        shuffle(&mut order);
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (place, (exists, number)) in order.into_iter().enumerate() {
            let took = ask(&client, &product, &door, exists, number, place).await?;
            if exists { &mut known } else { &mut unknown }.push(took);
            // What follows an answer is done before the next is asked for.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let halves = unknown.split_at(unknown.len() / 2);
        println!(
            "{}: n = {tries} each; median {:?} where there is an account, {:?} where there is none",
            door.path,
            median(&known),
            median(&unknown)
        );
        println!(
            "    later where there is one: {:.3} of the pairs; of nobody's own halves: {:.3}; by chance within {:.3} of 0.5 (95 %)",
            later(&known, &unknown),
            later(halves.0, halves.1),
            1.96 * by_chance(tries)
        );
    }
    Ok(())
}

/// Accounts, each with the owner's password.
async fn people(installation: &Installation, tries: u32) -> anyhow::Result<()> {
    let database = postgres(installation).await?;
    let sql = "WITH people AS (INSERT INTO users (id, email, email_normalized, name, password_phc) \
               SELECT gen_random_uuid(), address, address, 'somebody', password_phc \
               FROM users, generate_series(0, $1::int - 1) number, LATERAL (SELECT 'person-' || number || '@acme.example' AS address) a \
               WHERE email = $2 ON CONFLICT DO NOTHING RETURNING id) \
               INSERT INTO memberships (tenant_id, user_id, role) SELECT tenants.id, people.id, 'viewer' \
               FROM people, tenants WHERE slug = 'acme'";
    database.execute(sql, &[&i32::try_from(tries)?, &OWNER]).await?;
    Ok(())
}

async fn ask(
    client: &Client,
    product: &Running,
    door: &Door,
    exists: bool,
    number: u32,
    place: usize,
) -> anyhow::Result<Duration> {
    let (path, status) = (door.path, door.status);
    // As long as one another.
    let email = format!("{}-{number}@acme.example", if exists { "person" } else { "nobody" });
    let form = [("email", email.as_str()), ("password", "wrong horse battery")];
    let from = format!("10.{}.{}.{}", path.len(), place / 250, place % 250 + 1);
    let request = client
        .post(format!("{}{path}", product.url))
        .header("sec-fetch-site", "same-origin")
        .header("x-forwarded-for", from)
        .form(&form)
        .build()?;
    let began = Instant::now();
    let answer = client.execute(request).await?;
    let got = answer.status().as_u16();
    answer.bytes().await.context("a body")?;
    ensure!(got == status, "{path} was answered {got}");
    Ok(began.elapsed())
}

/// Of all pairs, in how many the first came later; a tie counts half.
fn later(some: &[Duration], others: &[Duration]) -> f64 {
    let pairs = some.iter().flat_map(|one| others.iter().map(move |other| one.cmp(other)));
    let counted: f64 = pairs.map(|order| f64::from(order as i8 + 1) / 2.0).sum();
    counted / (some.len() * others.len()) as f64
}

/// The standard deviation of [`later`] where both are alike.
fn by_chance(tries: u32) -> f64 {
    let tries = f64::from(tries);
    ((2.0 * tries + 1.0) / (12.0 * tries * tries)).sqrt()
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The same order in each run (Marsaglia's xorshift64; Fisher and Yates).
fn shuffle<T>(items: &mut [T]) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for last in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(last, usize::try_from(state % (last as u64 + 1)).unwrap_or(last));
    }
}
