//! Limits as Redis or Valkey keeps them: by one script that takes its steps all together, by the server's own clock
//! (`reserve.lua`). It works on one server, on whichever Sentinels say is the master, and on a Cluster, with nothing newer than
//! Redis 7.0. What was sent is never sent again: it may have counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, ServerErrorKind, TlsCertificates, TlsMode};
use tokio::sync::watch;
use tokio::time::timeout;
use tronch_core::{TenantId, Window, WindowKind, WindowState};
use uuid::Uuid;

use super::rate::RateShare;
use super::store::{Answer, Ask, NoAnswer, Of, RateAsk, TotalAsk};
use super::totals::{fill, stretches};
use crate::clock;
use crate::error::Error;
use crate::tls::{self, Tls, TlsError};

/// How long making a connection may take, with servers that are away among those that are named.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long one server of a Cluster may take over it, or over an answer.
const SERVER_MAX: Duration = Duration::from_millis(500);

/// Of a Cluster, and how many of them are looked at together.
const SLOTS: usize = 16_384;
const SLOTS_OF_PART: usize = 16;

const SOURCE: &str = include_str!("reserve.lua");

static SCRIPT: LazyLock<redis::Script> = LazyLock::new(|| redis::Script::new(SOURCE));

/// Where Redis is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    kind: Kind,
    /// Of servers or of Sentinels, each as a URL.
    servers: Vec<String>,
    /// Of a Sentinel: the name of the master, and its database.
    master: Option<(String, i64)>,
    tls: Option<Tls>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Sentinel,
    Cluster,
}

/// Why a text is no address of Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must look like redis://host:6379, redis-sentinel://host:26379,host:26379/master or redis-cluster://host:6379,host:6379; \
     over TLS it begins with rediss"
)]
pub struct ParseRedisUrlError;

impl RedisUrl {
    /// `redis://[user:password@]host[:port][/database]`, `redis-cluster://[user:password@]host:port,…` or
    /// `redis-sentinel://[user:password@]host:port,…/master[/database]`, where user and password are the servers'. With `rediss` in the
    /// place of `redis` all of it goes over TLS, and `?sslrootcert=/path` names who is believed in the place of the web's authorities.
    ///
    /// # Errors
    /// `ParseRedisUrlError` for anything else.
    pub fn parse(text: &str) -> Result<Self, ParseRedisUrlError> {
        let scheme = text.split("://").next().ok_or(ParseRedisUrlError)?;
        let (scheme_of_one, is_tls, kind) = match scheme {
            "redis" => ("redis", false, Kind::Single),
            "redis-sentinel" => ("redis", false, Kind::Sentinel),
            "redis-cluster" => ("redis", false, Kind::Cluster),
            "rediss" => ("rediss", true, Kind::Single),
            "rediss-sentinel" => ("rediss", true, Kind::Sentinel),
            "rediss-cluster" => ("rediss", true, Kind::Cluster),
            _ => return Err(ParseRedisUrlError),
        };
        let (text, tls) = tls::take_out(text, Some(is_tls)).map_err(|_| ParseRedisUrlError)?;
        // Its client knows no other way that protects from anybody.
        if tls.as_ref().is_some_and(|tls| !tls.asks_for_the_name()) {
            return Err(ParseRedisUrlError);
        }
        if kind == Kind::Single {
            Client::open(text.as_str()).map_err(|_| ParseRedisUrlError)?;
            return Ok(Self { kind, servers: vec![text], master: None, tls });
        }
        let (_, rest) = text.split_once("://").ok_or(ParseRedisUrlError)?;
        let (places, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, places) = places.rsplit_once('@').map_or((None, places), |(login, rest)| (Some(login), rest));
        let prefix = login.map(|login| format!("{login}@")).unwrap_or_default();
        let servers: Vec<String> =
            places.split(',').map(|place| format!("{scheme_of_one}://{prefix}{place}")).collect();
        if servers.iter().any(|server| Client::open(server.as_str()).is_err()) {
            return Err(ParseRedisUrlError);
        }
        let master = match (kind, path.split_once('/').unwrap_or((path, "0"))) {
            (Kind::Sentinel, (name, database)) if !name.is_empty() => {
                Some((name.to_owned(), database.parse().map_err(|_| ParseRedisUrlError)?))
            }
            (Kind::Cluster, ("", _)) => None,
            _ => return Err(ParseRedisUrlError),
        };
        Ok(Self { kind, servers, master, tls })
    }
}

/// A connection, shared by all who ask.
#[derive(Clone)]
enum Line {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Line {
    async fn send(&mut self, command: &Cmd) -> Result<Vec<i64>, RedisError> {
        match self {
            Self::One(line) => command.query_async(line).await,
            Self::Cluster(line) => command.query_async(line).await,
        }
    }
}

/// Redis, as limits are kept there.
pub(crate) struct Redis {
    url: RedisUrl,
    /// The connection there is, and how many there were tries to make one.
    line: Arc<watch::Sender<(Option<Line>, u64)>>,
    is_connecting: Arc<AtomicBool>,
}

impl Redis {
    pub(crate) fn new(url: RedisUrl) -> Self {
        Self { url, line: Arc::new(watch::Sender::new((None, 0))), is_connecting: Arc::default() }
    }

    /// In how many parts it falls that may fail by themselves: a Cluster by its slots, which a master has many of in a row.
    pub(super) fn parts(&self) -> usize {
        if self.url.kind == Kind::Cluster { SLOTS / SLOTS_OF_PART } else { 1 }
    }

    /// In which of them a limit lies.
    pub(super) fn part_of(&self, tenant_id: TenantId, whose: Uuid) -> usize {
        if self.url.kind == Kind::Cluster { slot(&hash_tag(tenant_id, whose)) / SLOTS_OF_PART } else { 0 }
    }

    /// The answers, in their order.
    pub(super) async fn ask(&self, asks: &[Ask], asker: &str, max: Duration) -> Vec<Result<Answer, NoAnswer>> {
        join_all(asks.iter().map(|ask| self.ask_one(ask, asker, max))).await
    }

    async fn ask_one(&self, ask: &Ask, asker: &str, max: Duration) -> Result<Answer, NoAnswer> {
        let answered = timeout(max, self.try_one(ask, asker)).await.unwrap_or_else(|late| {
            // Nobody may be at the other end any more.
            self.forget_line();
            Err((NoAnswer::Silence, Error::Unavailable { what: "Redis", source: Some(late.into()) }))
        });
        answered.map_err(|(why, error)| {
            tracing::debug!(error.causes = ?error.causes(), "a limit could not be reserved in Redis: {error}");
            why
        })
    }

    async fn try_one(&self, ask: &Ask, asker: &str) -> Result<Answer, (NoAnswer, Error)> {
        let unavailable = |error: RedisError| {
            // It says so itself, of what lies there: a word of the server's that is none about the server.
            let is_of_the_key = matches!(
                error.kind(),
                ErrorKind::Server(ServerErrorKind::ResponseError)
                    | ErrorKind::Extension
                    | ErrorKind::UnexpectedReturnType
            );
            let why = if is_of_the_key { NoAnswer::Nonsense } else { NoAnswer::Silence };
            (why, Error::Unavailable { what: "Redis", source: Some(error.into()) })
        };
        let mut line = self.line().await.map_err(unavailable)?;
        let question = Question::of(ask, asker);
        let by_name = question.command("EVALSHA", SCRIPT.get_hash());
        let mut answered = line.send(&by_name).await;
        // What was refused unseen may be said again.
        match answered.as_ref().map_err(RedisError::kind) {
            Err(ErrorKind::Server(ServerErrorKind::NoScript)) => {
                answered = line.send(&question.command("EVAL", SOURCE)).await;
            }
            // The client has heard by now where it belongs.
            Err(ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain)) => {
                answered = line.send(&by_name).await;
            }
            _ => {}
        }
        match answered {
            Ok(numbers) => question.answer(&numbers).map_err(|error| (NoAnswer::Nonsense, error)),
            Err(error) => {
                if is_broken(&error) {
                    self.forget_line();
                }
                Err(unavailable(error))
            }
        }
    }

    /// The connection there is, or a new one, which is made once for all who want it and beside them: it may take longer than any of
    /// them waits.
    async fn line(&self) -> Result<Line, RedisError> {
        let mut lines = self.line.subscribe();
        let (held, tries) = lines.borrow().clone();
        if let Some(line) = held {
            return Ok(line);
        }
        if !self.is_connecting.swap(true, Ordering::AcqRel) {
            let (url, line, is_connecting) =
                (self.url.clone(), Arc::clone(&self.line), Arc::clone(&self.is_connecting));
            tokio::spawn(async move {
                let made = timeout(CONNECT_MAX, connect(&url)).await;
                is_connecting.store(false, Ordering::Release);
                line.send_modify(|(held, tries)| {
                    *held = made.ok().and_then(Result::ok);
                    *tries += 1;
                });
            });
        }
        let failed = || RedisError::from(std::io::Error::from(std::io::ErrorKind::NotConnected));
        let tried = lines.wait_for(|(held, now)| held.is_some() || *now > tries).await.map_err(|_| failed())?;
        tried.0.clone().ok_or_else(failed)
    }

    /// Another connection is needed; the client of a Cluster mends its own.
    fn forget_line(&self) {
        self.line.send_if_modified(|(held, _)| {
            let is_one = matches!(held, Some(Line::One(_)));
            if is_one {
                *held = None;
            }
            is_one
        });
    }
}

async fn connect(url: &RedisUrl) -> Result<Line, RedisError> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_MAX / 2)).set_response_timeout(None);
    let servers = url.servers.clone();
    let certificates = certificates(url)?;
    match url.kind {
        Kind::Single => {
            let server = servers.into_iter().next().unwrap_or_default();
            let client = match certificates {
                Some(certificates) => Client::build_with_tls(server, certificates)?,
                None => Client::open(server)?,
            };
            Ok(Line::One(client.get_multiplexed_async_connection_with_config(&config).await?))
        }
        Kind::Sentinel => {
            let (master, database) = url.master.clone().unwrap_or_default();
            // Who logs in logs in to the servers; Sentinels are asked without.
            let login = Client::open(servers.first().cloned().unwrap_or_default())?;
            let login = login.get_connection_info().redis_settings().clone();
            let places: Vec<_> = servers
                .iter()
                .map(|server| Ok(Client::open(server.as_str())?.get_connection_info().addr().clone()))
                .collect::<Result<_, RedisError>>()?;
            let mut sentinel = SentinelClientBuilder::new(places, master, SentinelServerType::Master)?
                .set_client_to_redis_db(database);
            if let Some(username) = login.username() {
                sentinel = sentinel.set_client_to_redis_username(username);
            }
            if let Some(password) = login.password() {
                sentinel = sentinel.set_client_to_redis_password(password);
            }
            if let Some(certificates) = certificates {
                sentinel = sentinel
                    .set_client_to_redis_tls_mode(TlsMode::Secure)
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                    .set_client_to_sentinel_certificates(certificates);
            }
            let mut client = sentinel.build()?;
            Ok(Line::One(client.get_async_connection_with_config(&config).await?))
        }
        Kind::Cluster => {
            let mut cluster = ClusterClient::builder(servers);
            if let Some(certificates) = certificates {
                cluster = cluster.certs(certificates);
            }
            let client = cluster.retries(0).connection_timeout(SERVER_MAX).response_timeout(SERVER_MAX).build()?;
            Ok(Line::Cluster(client.get_async_connection().await?))
        }
    }
}

/// Who is believed, where that is not the web's authorities. The file is read for each connection, so that it can be exchanged.
fn certificates(url: &RedisUrl) -> Result<Option<TlsCertificates>, RedisError> {
    let Some(tls) = &url.tls else { return Ok(None) };
    let unusable =
        |error: TlsError| RedisError::from((ErrorKind::InvalidClientConfig, "no authorities", error.to_string()));
    Ok(Some(TlsCertificates { client_tls: None, root_cert: tls.roots_pem().map_err(unusable)? }))
}

/// Whether another connection is needed: this one is gone, or leads to a server that is the master no more.
fn is_broken(error: &RedisError) -> bool {
    let is_no_master = matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) | ErrorKind::AuthenticationFailed
    );
    error.is_unrecoverable_error() || error.is_io_error() || is_no_master
}

/// A question as the script takes it.
enum Question<'a> {
    Total(String, Vec<String>, &'a TotalAsk),
    Rate(String, Vec<String>, &'a RateAsk),
}

impl<'a> Question<'a> {
    fn of(ask: &'a Ask, asker: &str) -> Self {
        // What is charged together lies together.
        let tag = hash_tag(ask.tenant_id, ask.whose);
        let key = |cut: String| format!("tronch:{{{tag}}}:{}:{cut}", ask.limit_id.uuid());
        match &ask.of {
            Of::Total(total) => {
                let kind = if matches!(total.window.kind(), WindowKind::Sliding { .. }) { "sliding" } else { "fixed" };
                let mut arguments = vec!["total".to_owned(), asker.to_owned(), kind.to_owned()];
                arguments.extend(numbers_of_total(total).map(|number| number.to_string()));
                Self::Total(key(stretches(total.window.kind())), arguments, total)
            }
            Of::Rate(rate) => {
                let mut arguments = vec!["rate".to_owned(), asker.to_owned(), "bucket".to_owned()];
                arguments.extend(numbers_of_rate(rate).map(|number| number.to_string()));
                Self::Rate(key(fill(&rate.bucket)), arguments, rate)
            }
        }
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let (Self::Total(key, arguments, _) | Self::Rate(key, arguments, _)) = self;
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(key).arg(arguments);
        command
    }

    /// # Errors
    /// `Unavailable` for an answer that cannot be: whoever gave it is no Redis, or keeps something else there.
    fn answer(&self, numbers: &[i64]) -> Result<Answer, Error> {
        let nonsense = || Error::Unavailable { what: "Redis", source: Some(format!("it answered {numbers:?}").into()) };
        let count = |number: i64| u64::try_from(number).map_err(|_| nonsense());
        match (self, numbers) {
            (Self::Total(_, _, total), [start, used, before, granted]) => {
                let state = WindowState {
                    start_seconds: start.div_euclid(1_000),
                    used: count(*used)?,
                    used_before: count(*before)?,
                    added: 0,
                };
                let (granted, most) = (count(*granted)?, total.wish.map_or(0, |wish| wish.most.max(wish.need)));
                if granted > most { Err(nonsense()) } else { Ok(Answer::Total { state, granted }) }
            }
            (Self::Rate(_, _, rate), [debt_ticks, granted]) => {
                let (debt_ticks, granted) = (count(*debt_ticks)?, count(*granted)?);
                let most = rate.at_once.max(rate.need) + rate.more;
                if granted > most { Err(nonsense()) } else { Ok(Answer::Rate { debt_ticks, granted }) }
            }
            _ => Err(nonsense()),
        }
    }
}

/// What decides where a limit lies.
fn hash_tag(tenant_id: TenantId, whose: Uuid) -> String {
    format!("{}:{whose}", tenant_id.uuid())
}

/// As the Cluster specification has it: CRC16/XMODEM of what stands in braces.
fn slot(tag: &str) -> usize {
    usize::from(crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes())) % SLOTS
}

fn numbers_of_rate(rate: &RateAsk) -> impl Iterator<Item = u64> + use<> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (token, milli) = rate.bucket.units();
    let RateAsk { bucket, held, left_over, owed, need, at_once, more } = *rate;
    let held_for = millis(RateShare::held_for(&bucket, false));
    let fill = millis(bucket.fill_time());
    [bucket.capacity(), token, milli, held, left_over, owed, need, at_once, more, held_for, fill].into_iter()
}

/// With the stretch of now and the next: which of them it is, the server's clock says.
fn numbers_of_total(total: &TotalAsk) -> impl Iterator<Item = i64> + use<> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let window: Window = total.window;
    let span = window.span(clock::now());
    let next = window.span(span.end());
    let wish = total.wish.map_or((0, 0), |wish| (wish.need, wish.most));
    let rest =
        |rest: Option<super::share::Rest>| rest.map_or((0, 0), |rest| (rest.start_seconds * 1_000, number(rest.units)));
    let (left_over, owed) = (rest(total.left_over), rest(total.owed));
    [
        number(window.total()),
        span.start_seconds * 1_000,
        span.end_seconds * 1_000,
        next.end_seconds * 1_000,
        number(wish.0),
        number(wish.1),
        left_over.0,
        left_over.1,
        owed.0,
        owed.1,
    ]
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let servers = |text: &str| RedisUrl::parse(text).map(|url| (url.kind, url.servers, url.master));
        let single = servers("redis://:secret@cache:6380/2");
        assert_eq!(single, Ok((Kind::Single, vec!["redis://:secret@cache:6380/2".to_owned()], None)));
        let cluster = servers("redis-cluster://me:secret@a:7000,b:7001");
        let both = vec!["redis://me:secret@a:7000".to_owned(), "redis://me:secret@b:7001".to_owned()];
        assert_eq!(cluster, Ok((Kind::Cluster, both.clone(), None)));
        let sentinel = servers("redis-sentinel://me:secret@a:7000,b:7001/main/3");
        assert_eq!(sentinel, Ok((Kind::Sentinel, both, Some(("main".to_owned(), 3)))));
        for text in ["", "cache:6379", "http://cache", "redis-sentinel://a:1", "redis-cluster://a:1/0x", "redis://"] {
            assert_eq!(RedisUrl::parse(text), Err(ParseRedisUrlError), "{text}");
        }
        // From the specification.
        assert_eq!(slot("123456789"), 0x31C3);
    }
}
