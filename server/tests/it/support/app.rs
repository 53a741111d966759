//! The product with all its doors on a free port, and visitors to it.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tronch_core::{EmailAddress, PersonName, Role, TenantSlug};
use tronch_engine::mail::MailSettings;
use tronch_engine::members::{self, Password};
use tronch_engine::{ArgonCost, Caller, Engine, Master, NodeName, PreparedDatabase, Settings, tenants};
use tronch_server::config::{Config, Overrides};
use tronch_server::doors::{self, Open, Patience, Phase};
use zeroize::Zeroizing;

use super::TestDatabase;

/// Hashing is not what these tests are about.
const CHEAP: ArgonCost = ArgonCost { memory_kib: 64, iterations: 1, parallelism: 1 };

/// More keys than a test has.
const MANY: usize = 10_000;

/// What a test wishes otherwise.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    pub remembered_keys: usize,
    pub argon: ArgonCost,
    /// Who sends mail.
    pub smtp_url: Option<&'a str>,
    /// What clients may take.
    pub patience: Patience,
    /// Whose pages may ask the API.
    pub cors_origins: Option<&'a str>,
    /// Where people reach it, if not where it listens.
    pub public_url: Option<&'a str>,
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Self {
            remembered_keys: MANY,
            argon: CHEAP,
            smtp_url: None,
            patience: Patience::usual("public", 1_000),
            cors_origins: None,
            public_url: None,
        }
    }
}

/// Everybody's.
pub const PASSWORD: &str = "correct horse battery";

/// The running product.
pub struct TestApp {
    pub url: String,
    pub ops_url: String,
    pub engine: Engine,
    pub verifier: tronch_engine::verify::Verifier,
    pub database: Arc<TestDatabase>,
    servers: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.servers.iter().for_each(tokio::task::JoinHandle::abort);
        self.engine.close();
    }
}

/// The e-mail address of a tenant's owner.
pub fn owner(tenant: &str) -> String {
    format!("owner@{tenant}.example")
}

impl TestApp {
    /// With the tenant `acme`.
    pub async fn start() -> Self {
        Self::start_with(Wish::default()).await
    }

    /// The same, with what a test wishes.
    pub async fn start_with(wish: Wish<'_>) -> Self {
        let app = Self::open(Arc::new(TestDatabase::create().await), wish).await;
        app.found("acme").await;
        app
    }

    /// The same, with somebody who sends mail.
    pub async fn start_with_mail(smtp_url: &str) -> Self {
        Self::start_with(Wish { smtp_url: Some(smtp_url), ..Wish::default() }).await
    }

    /// With nobody in it.
    pub async fn start_empty() -> Self {
        Self::open(Arc::new(TestDatabase::create().await), Wish::default()).await
    }

    /// Another node on the same database.
    pub async fn beside(&self) -> Self {
        Self::open(Arc::clone(&self.database), Wish::default()).await
    }

    /// Another one, which remembers so many keys.
    pub async fn beside_remembering(&self, keys: usize) -> Self {
        Self::open(Arc::clone(&self.database), Wish { remembered_keys: keys, ..Wish::default() }).await
    }

    /// Another one, for which hashes cost so much.
    pub async fn beside_hashing(&self, argon: ArgonCost) -> Self {
        Self::open(Arc::clone(&self.database), Wish { argon, ..Wish::default() }).await
    }

    async fn open(database: Arc<TestDatabase>, wish: Wish<'_>) -> Self {
        let Wish { remembered_keys, argon, smtp_url, patience, cors_origins, public_url } = wish;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let ops_listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let ops_address = ops_listener.local_addr().expect("an address");
        let lookup_wait = std::time::Duration::from_secs(2);
        let database_url = database.url();
        let public_url = public_url.map_or_else(|| format!("http://localhost:{}", address.port()), str::to_owned);
        let mail =
            smtp_url.map(|url| MailSettings::new(url, "TRONCH <tronch@example.com>", &public_url).expect("mail"));
        let settings =
            Settings { database_url, connections: 8, lookup_wait, remembered_keys, argon, redis: None, mail };
        let prepared = PreparedDatabase::prepare(&settings).await.expect("a database");
        let engine = prepared.open(&[Master::new([7; 32])], "the test").await.expect("an engine");
        let environment = |name: &str| match name {
            "TRONCH_PUBLIC_URL" => Some(public_url.clone()),
            "TRONCH_CORS_ORIGINS" => cors_origins.map(str::to_owned),
            "TRONCH_DATA_DIR" => Some("/nonexistent".to_owned()),
            _ => None,
        };
        let config = Config::load(&Overrides::default(), &environment).expect("a configuration");
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let phase = Phase::default();
        phase.started();
        let verifier = engine.join(NodeName { name: "test".to_owned(), version: "0" }).await.expect("a node");
        let doors = doors::build(&config, &engine, &verifier, phase, metrics, Open::All).expect("doors");
        let servers = vec![
            tokio::spawn(doors.public.serve(listener, patience, CancellationToken::new())),
            tokio::spawn(doors.ops.serve(ops_listener, patience, CancellationToken::new())),
        ];
        let (url, ops_url) = (format!("http://localhost:{}", address.port()), format!("http://{ops_address}"));
        Self { url, ops_url, engine, verifier, database, servers }
    }

    /// Makes a tenant and its owner.
    pub async fn found(&self, slug: &str) {
        let email = EmailAddress::parse(&owner(slug)).expect("an address");
        let slug = TenantSlug::parse(slug).expect("a slug");
        tenants::found_tenant(&self.engine, &email, &slug, Zeroizing::new(PASSWORD.to_owned()))
            .await
            .expect("a tenant");
    }

    /// Adds somebody to a tenant; returns the address they sign in with.
    pub async fn add_member(&self, tenant: &str, role: Role) -> String {
        let email = format!("{role}@{tenant}.example");
        let slug = TenantSlug::parse(tenant).expect("a slug");
        let tenant = self.engine.tenant(&Caller::operator(), &slug).await.expect("a tenant");
        let address = EmailAddress::parse(&email).expect("an address");
        let name = PersonName::parse(role.as_str()).expect("a name");
        let password = Password::parse(Zeroizing::new(PASSWORD.to_owned()), &[]).expect("a password");
        members::add_member(&tenant, &address, &name, role, password).await.expect("a member");
        email
    }

    /// Somebody without any credential.
    pub fn anonymous(&self) -> Visitor {
        let client =
            Client::builder().redirect(reqwest::redirect::Policy::none()).cookie_store(true).build().expect("a client");
        Visitor { client, url: self.url.clone(), token: None }
    }

    /// Somebody signed in through the form.
    pub async fn member(&self, email: &str) -> Visitor {
        let visitor = self.anonymous();
        let answer = visitor.form("/sign-in", &[("email", email), ("password", PASSWORD)]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        visitor
    }

    /// A service with a token.
    pub fn service(&self, token: &str) -> Visitor {
        Visitor { token: Some(token.to_owned()), ..self.anonymous() }
    }

    /// A service that may do everything in a tenant, made as the operator.
    pub async fn everything_in(&self, tenant: &str) -> Visitor {
        self.service(&self.token(tenant, &json!({ "permissions": tronch_core::Permission::ALL })).await)
    }

    /// A token's secret, made as the operator. `wish` is the body of `POST /service-tokens` without the name.
    pub async fn token(&self, tenant: &str, wish: &Value) -> String {
        use tronch_engine::tokens::{NewToken, create_token};
        let slug = TenantSlug::parse(tenant).expect("a slug");
        let tenant = self.engine.tenant(&Caller::operator(), &slug).await.expect("a tenant");
        let part = |name: &str| wish.get(name).cloned().unwrap_or(Value::Null);
        let new_token = NewToken {
            name: tronch_core::TokenName::parse("a service").expect("a name"),
            permissions: serde_json::from_value(part("permissions")).expect("permissions"),
            project: serde_json::from_value(part("project")).expect("a project"),
            environment: serde_json::from_value(part("environment")).expect("an environment"),
            expires_at: None,
        };
        create_token(&tenant, new_token).await.expect("a token").secret.expect("a new one").expose_once()
    }
}

/// Somebody with a browser or a service, and their credential.
#[derive(Clone)]
pub struct Visitor {
    pub(super) client: Client,
    pub(super) url: String,
    pub(super) token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The problem's code and field.
    pub fn refusal(&self) -> (u16, String, Option<String>) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(problem["request_id"].as_str().is_some_and(|id| id.starts_with("req_")), "{problem}");
        let text = |name: &str| problem[name].as_str().map(ToOwned::to_owned);
        (self.status.as_u16(), text("code").unwrap_or_default(), text("field"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

impl Visitor {
    /// The same, at another node.
    pub fn at(&self, node: &TestApp) -> Self {
        self.at_url(&node.url)
    }

    /// The same, at another listener.
    pub fn at_url(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.expect("a text") }
    }

    pub async fn get(&self, path: &str) -> Answer {
        Self::send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Self::send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Self::send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        Self::send(self.request(Method::PATCH, path).json(body)).await
    }

    /// A form, as a browser on the same page sends it.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let request =
            self.request(Method::POST, path).header("origin", &self.url).header("sec-fetch-site", "same-origin");
        Self::send(request.form(fields)).await
    }

    /// Makes a key: its id and secret.
    pub async fn create_key(&self, body: &Value) -> (String, String) {
        let answer = self.post("/api/v1/keys", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let made = answer.json();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (text(&made["key"]["id"]), text(&made["secret"]))
    }

    /// The verdict on a key.
    pub async fn verify(&self, body: &Value) -> Value {
        let answer = self.post("/api/v1/keys/verify", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }
}
