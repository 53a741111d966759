//! Keys through lives drawn by lot, on three nodes: after each step all say what a small model says, byte for byte the same
//! whether they had to ask, remembered, or had to give up what they remembered; also when a key's tag is lost on the way. And
//! what is revoked stays so.

use chrono::TimeDelta;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{Lots, TestApp, Visitor};

const LIVES: u64 = 60;
const STEPS: usize = 10;

/// The node that remembers one key.
const FORGETFUL: usize = 2;

/// Seconds around an end in which nothing is asked: a slow machine would be on either side of it.
const UNSAFE: i64 = 8;

#[derive(Debug, Clone, Copy)]
enum Step {
    Disable,
    Enable,
    Revoke,
    ExpireIn(i64),
    NeverExpire,
    Rotate(i64),
    Finish,
    /// All keys of its owner that were made so many seconds ago.
    CutOff(i64),
    /// Its tag is one that nobody here can compute.
    LoseTag,
    /// The clock goes on.
    Pass(i64),
}

/// What a key should be, in seconds from now.
#[derive(Debug, Clone, Copy, Default)]
struct Model {
    disabled: bool,
    revoked: bool,
    rotated: bool,
    expires_in: Option<i64>,
    grace_left: Option<i64>,
    age: i64,
    /// How long before it was set its latest cut-off lies.
    cut_off: Option<i64>,
}

impl Model {
    fn has_ended(&self) -> bool {
        [self.expires_in, self.grace_left].into_iter().flatten().any(|left| left <= 0)
    }

    fn is_revoked(&self) -> bool {
        // One that is set now lies after the making of whatever there is.
        self.revoked || self.cut_off.is_some_and(|ago| ago == 0 || self.age > ago)
    }

    fn code(&self) -> &'static str {
        match self {
            model if model.is_revoked() => "REVOKED",
            Self { disabled: true, .. } => "DISABLED",
            model if model.has_ended() => "EXPIRED",
            _ => "VALID",
        }
    }

    /// Whether the step is refused; otherwise it is taken.
    fn is_refused(&mut self, step: Step) -> bool {
        let is_over = self.is_revoked() || self.has_ended();
        match step {
            Step::LoseTag => {}
            Step::Revoke => self.revoked = true,
            Step::Pass(seconds) => {
                for left in [&mut self.expires_in, &mut self.grace_left].into_iter().flatten() {
                    *left -= seconds;
                }
                self.age += seconds;
            }
            Step::CutOff(ago) => self.cut_off = Some(self.cut_off.map_or(ago, |earlier| earlier.min(ago))),
            Step::Finish if !self.rotated => return true,
            Step::Finish if is_over => {}
            Step::Finish => self.grace_left = Some(0),
            _ if is_over => return true,
            Step::Disable => self.disabled = true,
            Step::Enable => self.disabled = false,
            Step::NeverExpire => self.expires_in = None,
            Step::ExpireIn(seconds) => {
                self.expires_in = Some(seconds);
                self.grace_left = self.grace_left.map(|left| left.min(seconds));
            }
            Step::Rotate(_) if self.rotated => return true,
            Step::Rotate(seconds) => {
                self.rotated = true;
                self.grace_left = Some(self.expires_in.map_or(seconds, |end| end.min(seconds)));
            }
        }
        false
    }

    /// Whether the step would leave the key so near an end that nobody can say on which side of it.
    fn is_unsafe(&self, step: Step) -> bool {
        let seconds = if let Step::Pass(seconds) = step { seconds } else { 0 };
        let ends = [self.expires_in, self.grace_left].into_iter().flatten();
        let cut_off = if let Step::CutOff(ago) = step { Some(ago) } else { self.cut_off };
        // What has ended has ended; asked about again, an end that is near is still ahead.
        ends.filter(|left| *left > 0).any(|left| (left - seconds).abs() < UNSAFE)
            || cut_off.is_some_and(|ago| ago > 0 && (self.age + seconds - ago).abs() < UNSAFE)
    }
}

fn drawn(lots: &mut Lots) -> Step {
    match lots.draw(14) {
        0 => Step::Disable,
        1 | 2 => Step::Enable,
        3 => Step::Revoke,
        4 | 5 => Step::ExpireIn(lots.one_of(&[60, 700, 5_000])),
        6 => Step::NeverExpire,
        7 => Step::Rotate(lots.one_of(&[0, 90, 3_000])),
        8 => Step::Finish,
        9 => Step::CutOff(lots.one_of(&[0, 200, 3_500])),
        10 => Step::LoseTag,
        _ => Step::Pass(lots.one_of(&[30, 400, 4_000])),
    }
}

struct Life<'a> {
    /// The nodes, as one service asks them.
    nodes: [&'a Visitor; 3],
    system: &'a Client,
    id: String,
    owner: String,
    /// A key that nothing happens to.
    other: &'a str,
    ask_other: &'a Value,
    ask: Value,
    /// The lot that drew it.
    seed: u64,
}

impl Life<'_> {
    /// Takes the step on one node; gives whether it was refused.
    async fn take(&self, step: Step, node: usize) -> bool {
        let (path, changer) = (format!("/api/v1/keys/{}", self.id), self.nodes[node]);
        let expire = async |at: Value| changer.patch(&format!("{path}?wait=all"), &json!({ "expires_at": at })).await;
        let answer = match step {
            Step::Disable => changer.post(&format!("{path}/disable?wait=all"), &json!({})).await,
            Step::Enable => changer.post(&format!("{path}/enable"), &json!({})).await,
            Step::Revoke => changer.delete(&format!("{path}?wait=all")).await,
            Step::NeverExpire => expire(Value::Null).await,
            Step::ExpireIn(seconds) => {
                let end = chrono::Utc::now() + TimeDelta::seconds(seconds);
                expire(json!(tronch_core::format_timestamp(end))).await
            }
            Step::Rotate(seconds) => {
                changer.post(&format!("{path}/rotate?wait=all"), &json!({ "grace_seconds": seconds })).await
            }
            Step::Finish => changer.post(&format!("{path}/finish-rotation?wait=all"), &json!({})).await,
            Step::CutOff(ago) => {
                let mut body = json!({ "owner": { "external_id": self.owner } });
                if ago > 0 {
                    let before = chrono::Utc::now() - TimeDelta::seconds(ago);
                    body["made_before"] = json!(tronch_core::format_timestamp(before));
                }
                changer.post("/api/v1/keys/revoke?wait=all", &body).await
            }
            Step::LoseTag => {
                self.update("tag = sha256(tag), tag_key = substr(sha256(tag_key), 1, 8)").await;
                return false;
            }
            Step::Pass(seconds) => {
                let earlier = format!("- interval '{seconds} seconds'");
                let changes = ["created_at", "expires_at", "grace_ends_at"].map(|at| format!("{at} = {at} {earlier}"));
                self.update(&changes.join(", ")).await;
                return false;
            }
        };
        assert!(answer.status.is_success() || answer.status == StatusCode::CONFLICT, "{step:?}: {}", answer.text);
        answer.status == StatusCode::CONFLICT
    }

    /// As somebody with psql does.
    async fn update(&self, changes: &str) {
        let id: tronch_core::KeyId = self.id.parse().expect("an id");
        let sql = format!("UPDATE keys SET {changes} WHERE id = '{}'", id.uuid());
        assert_eq!(self.system.execute(&sql, &[]).await.expect("an update"), 1);
    }

    /// Waits until all nodes know whatever was committed so far.
    async fn known_to_all(&self) {
        let answer = self.nodes[0].patch(&format!("/api/v1/keys/{}?wait=all", self.other), &json!({})).await;
        assert_eq!(answer.json()["confirmation"]["unconfirmed"], json!([]), "{}", answer.text);
    }

    /// What a node says, but for what differs from call to call.
    async fn said(&self, node: usize) -> Value {
        if node == FORGETFUL {
            // So that it has to give up one of the two.
            self.nodes[node].verify(self.ask_other).await;
        }
        let mut answer = self.nodes[node].verify(&self.ask).await;
        let fields = answer.as_object_mut().expect("an object");
        assert!(fields.remove("request_id").is_some());
        fields.remove("data_age_ms");
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_says_what_the_model_says_and_revoked_is_final() {
    let first = TestApp::start().await;
    let second = first.beside().await;
    let token = first.token("acme", &json!({ "permissions": tronch_core::Permission::ALL })).await;
    let third = first.beside_remembering(1).await;
    let nodes = [&first.service(&token), &second.service(&token), &third.service(&token)];
    let system = &first.database.connect_as_system().await;
    let (other, other_key) = nodes[0].create_key(&json!({ "name": "another" })).await;
    let ask_other = &json!({ "key": other_key, "environment": "test" });
    let mut reached = std::collections::BTreeMap::<&str, usize>::new();
    for seed in 1..=LIVES {
        let mut lots = Lots(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let owner = format!("life {seed}");
        let body = json!({ "name": "a life", "environment": "live", "owner": { "external_id": owner } });
        let (id, key) = nodes[0].create_key(&body).await;
        let life = Life { nodes, system, id, owner, other: &other, ask_other, ask: json!({ "key": key }), seed };
        let (mut model, mut steps) = (Model::default(), Vec::new());
        for _ in 0..STEPS {
            let step = drawn(&mut lots);
            if model.is_unsafe(step) {
                continue;
            }
            let was_revoked = model.is_revoked();
            steps.push(step);
            let refused = life.take(step, usize::try_from(lots.draw(3)).expect("small")).await;
            assert_eq!(refused, model.is_refused(step), "seed {}: {steps:?}", life.seed);
            assert!(!was_revoked || model.is_revoked());
            let expected = model.code();
            life.known_to_all().await;
            *reached.entry(expected).or_default() += 1;
            let cold = life.said(0).await;
            assert_eq!(cold["code"], expected, "seed {}: {steps:?}", life.seed);
            for node in [1, 0, FORGETFUL, 1, FORGETFUL] {
                assert_eq!(life.said(node).await, cold, "seed {}: {steps:?}", life.seed);
            }
        }
    }
    println!("{LIVES} lives: {reached:?}");
    assert_eq!(reached.len(), 4, "the lots were one-sided: {reached:?}");
}

/// What is another tenant's is told from what is nobody's by nothing: not by the answer, and not by what follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_key_and_one_that_never_was_look_alike_and_change_nothing_for_anybody() {
    let app = TestApp::start().await;
    app.found("other").await;
    let other = app.everything_in("other").await;
    let (_, strangers) = other.create_key(&json!({ "name": "not yours", "environment": "live" })).await;
    let (gone_id, nobodys) = other.create_key(&json!({ "name": "gone", "environment": "live" })).await;
    let gone: tronch_core::KeyId = gone_id.parse().expect("an id");
    let system = app.database.connect_as_system().await;
    let sql = format!("DELETE FROM keys WHERE id = '{}'", gone.uuid());
    assert_eq!(system.execute(&sql, &[]).await.expect("a deletion"), 1);
    let mut told = Vec::new();
    for key in [&strangers, &nobodys] {
        let service = app.everything_in("acme").await;
        let mut answers = Vec::new();
        // Fewer than what a token may ask about in a second.
        for _ in 0..15 {
            let mut answer = service.post("/api/v1/keys/verify", &json!({ "key": key })).await.json();
            answer.as_object_mut().expect("an object").remove("request_id");
            answers.push(answer);
        }
        let (_, own) = service.create_key(&json!({ "name": "ours", "environment": "live" })).await;
        answers.push(service.post("/api/v1/keys/verify", &json!({ "key": own })).await.json()["code"].clone());
        // Whose key it is, they are not hindered by strangers.
        assert_eq!(other.verify(&json!({ "key": strangers })).await["code"], "VALID");
        told.push(answers);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!((&told[0][0]["code"], &told[0][15]), (&json!("NOT_FOUND"), &json!("VALID")));
    // Both use up what a token may ask about in vain: 20 at once, and 20 a second.
    for key in [&strangers, &nobodys] {
        let (service, begun) = (app.everything_in("acme").await, std::time::Instant::now());
        let mut told = 0;
        for _ in 0..120 {
            let answer = service.post("/api/v1/keys/verify", &json!({ "key": key })).await;
            told += u128::from(answer.status == StatusCode::OK);
        }
        let allowed = 20 + begun.elapsed().as_millis() / 50 + 1;
        assert!((20..=allowed).contains(&told), "{told} of 120, at most {allowed}");
    }
}
