//! The parts of a warm validation, in process. It needs an empty database: `BENCH_DATABASE_URL`.

use std::hint::black_box;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use metrics_exporter_prometheus::PrometheusBuilder;
use tikv_jemallocator::Jemalloc;
use tokio::runtime::Runtime;
use tronch_core::{
    Ask, Bucket, CalendarUnit, EmailAddress, Environment, KeyId, KeyName, KeySnapshot, LimitName, LimitOn, LimitRule,
    Permission, PresentedKey, PresentedToken, ProjectId, ProjectSlug, TenantId, TenantSlug, Timestamp, TokenName,
    Window, WindowKind, decide,
};
use tronch_engine::internals::Internals;
use tronch_engine::keys::{self, Metadata, NewKey};
use tronch_engine::limits::{self, NewLimit};
use tronch_engine::tokens::{self, NewToken};
use tronch_engine::verify::{Costs, Verifier, VerifyRequest};
use tronch_engine::{ArgonCost, Caller, Engine, Master, NodeName, PreparedDatabase, Settings, Tenant, tenants};
use tronch_server::config::{Config, Overrides};
use tronch_server::doors::{self, Open, Phase, Public};
use zeroize::Zeroizing;
use zeroizing_alloc::ZeroAlloc;

/// As the product has it.
#[global_allocator]
static MEMORY: ZeroAlloc<Jemalloc> = ZeroAlloc(Jemalloc);

/// An engine with one tenant, one token, and a key with two limits beside one without any.
struct Ready {
    engine: Engine,
    verifier: Verifier,
    public: Public,
    key: String,
    limited: String,
    token: String,
}

async fn key(tenant: &Tenant, limits: Vec<(&str, LimitRule)>) -> String {
    let new_key = NewKey {
        name: KeyName::parse("a key of 20 letters.").expect("a name"),
        project: ProjectSlug::parse(tenants::FIRST_PROJECT).expect("a slug"),
        environment: Environment::Live,
        owner: None,
        metadata: Metadata::default(),
        permissions: Vec::new(),
        expires_at: None,
    };
    let created = keys::create_key(tenant, new_key).await.expect("a key");
    for (name, rule) in limits {
        let name = LimitName::parse(name).expect("a name");
        let on = LimitOn::Key(created.key.id);
        let new_limit = NewLimit { on, name, is_automatic: true, is_exact: false, rule };
        limits::create_limit(tenant, new_limit).await.expect("a limit");
    }
    created.secret.expect("a secret").expose_once().to_string()
}

/// A burst and a total of the calendar's day, which nobody comes up against.
fn two_limits() -> Vec<(&'static str, LimitRule)> {
    let bucket = Bucket::new(1_000_000, 1_000_000, 1).expect("a bucket");
    let kind = WindowKind::Calendar { unit: CalendarUnit::Day, zone: "Europe/Berlin".parse().expect("a zone") };
    let window = Window::new(1_000_000_000, kind).expect("a window");
    let rules = [("burst", Some(bucket), None), ("daily", None, Some(window))];
    rules.map(|(name, bucket, window)| (name, LimitRule::new(bucket, window).expect("a rule"))).into()
}

async fn ready(database_url: String) -> Ready {
    let argon = ArgonCost { memory_kib: 64, iterations: 1, parallelism: 1 };
    let settings = Settings {
        database_url,
        connections: 4,
        lookup_wait: Duration::from_secs(1),
        remembered_keys: 1_000,
        argon,
        redis: None,
        mail: None,
    };
    let prepared = PreparedDatabase::prepare(&settings).await.expect("a database");
    let engine = prepared.open(&[Master::new([7; 32])], "the bench").await.expect("an engine");
    let verifier = engine.join(NodeName { name: "bench".to_owned(), version: "0" }).await.expect("a node");
    let slug = TenantSlug::parse(&format!("bench-{}", std::process::id())).expect("a slug");
    let owner = EmailAddress::parse(&format!("{slug}@bench.example")).expect("an address");
    let password = Zeroizing::new("correct horse battery".to_owned());
    tenants::found_tenant(&engine, &owner, &slug, password).await.expect("a tenant");
    let tenant = engine.tenant(&Caller::operator(), &slug).await.expect("a tenant");
    let (limited, key) = (key(&tenant, two_limits()).await, key(&tenant, Vec::new()).await);
    let new_token = NewToken {
        name: TokenName::parse("bench").expect("a name"),
        permissions: vec![Permission::KeysVerify],
        project: None,
        environment: None,
        expires_at: None,
    };
    let token = tokens::create_token(&tenant, new_token).await.expect("a token").secret.expect("a secret");
    let environment = |name: &str| (name == "TRONCH_DATA_DIR").then(|| "/nonexistent".to_owned());
    let config = Config::load(&Overrides::default(), &environment).expect("a configuration");
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let doors = doors::build(&config, &engine, &verifier, Phase::default(), metrics, Open::Verify).expect("doors");
    let token = token.expose_once().to_string();
    Ready { engine, verifier, public: doors.public, key, limited, token }
}

async fn verify(ready: &Ready, key: &str) {
    let presented = PresentedToken::parse(&ready.token).expect("a token");
    let token = ready.verifier.authenticate(&presented).await.expect("a live token");
    let request = VerifyRequest {
        key: PresentedKey::parse(key),
        project: None,
        environment: None,
        permissions: None,
        costs: Costs::default(),
    };
    black_box(ready.verifier.verify(&token, request).await.expect("a verdict"));
}

fn request(ready: &Ready, body: &str) -> Request<Body> {
    Request::post("/api/v1/keys/verify")
        .header(header::AUTHORIZATION, format!("Bearer {}", ready.token))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .body(Body::from(body.to_owned()))
        .expect("a request")
}

async fn ask(ready: &Ready, body: &str) {
    let answer = ready.public.validate(request(ready, body)).await;
    black_box(answer.into_body().collect().await.expect("a body").to_bytes());
}

fn of_core(criterion: &mut Criterion, key: &str) {
    criterion.bench_function("parse", |bench| bench.iter(|| PresentedKey::parse(black_box(key))));
    let (tenant_id, project_id) =
        (TenantId::from_uuid(uuid::Uuid::from_u128(1)), ProjectId::from_uuid(uuid::Uuid::from_u128(2)));
    let snapshot = KeySnapshot {
        key_id: KeyId::from_uuid(uuid::Uuid::from_u128(3)),
        tenant_id,
        project_id,
        environment: Environment::Live,
        disabled: false,
        revoked_at: None,
        expires_at: None,
        grace_ends_at: None,
        permissions: Vec::new().into(),
    };
    let ask = Ask { tenant_id, project_id, environment: Environment::Live, permissions: None };
    let now = Timestamp::UNIX_EPOCH + chrono::TimeDelta::days(1);
    criterion.bench_function("decide", |bench| bench.iter(|| decide(black_box(&snapshot), &ask, now)));
}

#[expect(clippy::disallowed_methods, reason = "a bench has no settings of its own")]
fn validation(criterion: &mut Criterion) {
    let url = std::env::var("BENCH_DATABASE_URL").expect("BENCH_DATABASE_URL: an empty database");
    let runtime = Runtime::new().expect("a runtime");
    // What is asked for ahead is asked for by a task.
    let _inside = runtime.enter();
    let ready = runtime.block_on(ready(url));
    of_core(criterion, &ready.key);
    let presented = PresentedKey::parse(&ready.key).expect("a key");
    let internals = Internals::of(&ready.engine, &presented);
    criterion.bench_function("gate", |bench| bench.iter(|| internals.passes_gate(black_box(&presented))));
    criterion.bench_function("tag and compare", |bench| bench.iter(|| internals.tag_matches(black_box(&presented))));
    runtime.block_on(verify(&ready, &ready.key));
    let token = runtime.block_on(async {
        let presented = PresentedToken::parse(&ready.token).expect("a token");
        ready.verifier.authenticate(&presented).await.expect("a live token")
    });
    let verdict = async |key: &str| {
        let request = VerifyRequest {
            key: PresentedKey::parse(black_box(key)),
            project: None,
            environment: None,
            permissions: None,
            costs: Costs::default(),
        };
        ready.verifier.verify(&token, request).await.expect("a verdict")
    };
    // Nothing of it waits, so one poll is all.
    criterion.bench_function("whole warm verify", |bench| {
        bench.iter(|| verdict(&ready.key).now_or_never().expect("warm"));
    });
    // Here next to nothing does: where a block of a total is used up, the call is made again.
    criterion.bench_function("whole warm verify with two limits", |bench| {
        bench.iter(|| {
            verdict(&ready.limited).now_or_never().unwrap_or_else(|| runtime.block_on(verdict(&ready.limited)))
        });
    });
    criterion.bench_function("whole warm verify and service token", |bench| {
        bench.iter(|| verify(&ready, &ready.key).now_or_never().expect("warm"));
    });
    let of_key = |key: &str| format!("{{\"key\":\"{key}\",\"environment\":\"live\"}}");
    let (body, limited) = (of_key(&ready.key), of_key(&ready.limited));
    // The part of the next ones that is the bench's own.
    criterion.bench_function("a request, made and dropped", |bench| {
        bench.iter(|| drop(black_box(request(&ready, &body))));
    });
    // Nobody listens to the log here, so its line is not written.
    criterion.bench_function("the same with JSON both ways, headers and a request made for it", |bench| {
        bench.iter(|| ask(&ready, &body).now_or_never().expect("warm"));
    });
    criterion.bench_function("the same with two limits", |bench| {
        bench.iter(|| ask(&ready, &limited).now_or_never().unwrap_or_else(|| runtime.block_on(ask(&ready, &limited))));
    });
}

criterion_group!(benches, validation);
criterion_main!(benches);
