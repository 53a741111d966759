//! Limits that several processes share, through Redis and through Postgres: what all of them let pass together, and what each lets
//! pass while the store is away.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::limit_totals::House;
use crate::limits::{key, set};
use crate::support::{
    Proxy, RedisCluster, RedisSentinel, RedisServer, Server, Visitor, Weather, eventually, times_from_environment,
};

/// Three processes of one installation.
struct Three {
    house: House,
    servers: Vec<(Server, Visitor)>,
    /// How long each call took since it was looked at last.
    took: Mutex<Vec<Duration>>,
}

impl Three {
    /// Each with its own address of Redis, or none.
    async fn start(redis: [Option<String>; 3]) -> Self {
        let house = House::build().await;
        let mut servers = Vec::new();
        for (place, redis) in redis.into_iter().enumerate() {
            let redis = redis.unwrap_or_default();
            let settings = [("REDIS_URL", redis.as_str())];
            let settings = if redis.is_empty() { &[][..] } else { &settings };
            servers.push(house.start_with(place, &house.database.url(), settings).await);
        }
        Self { house, servers, took: Mutex::default() }
    }

    /// Of a hundred calls since it was looked at last, 99 took no longer.
    fn p99(&self) -> Duration {
        let mut took = std::mem::take(&mut *self.took.lock().expect("no panic"));
        took.sort_unstable();
        took[took.len() * 99 / 100]
    }

    fn service(&self, place: usize) -> &Visitor {
        &self.servers[place].1
    }

    /// A key with a limit of that mode, which each process has looked up.
    async fn limited(&self, rule: Value, mode: &str) -> Value {
        let (id, ask) = key(self.service(0), json!({})).await;
        let mut limit = json!({ "name": "default", "key_id": id, "mode": mode });
        limit.as_object_mut().expect("an object").extend(rule.as_object().expect("an object").clone());
        assert_eq!(set(self.service(0), &limit).await["mode"], mode);
        for (_, service) in &self.servers {
            let mut read = ask.clone();
            read["cost"] = json!(0);
            eventually("it goes by the limit", async || {
                let told = service.verify(&read).await;
                told["limits"].as_array().is_some_and(|limits| limits.len() == 1)
            })
            .await;
        }
        ask
    }

    /// How many of so many calls, spread over all of them and many at once, passed at each.
    async fn passed(&self, ask: &Value, calls: u64) -> [u64; 3] {
        let mut running = JoinSet::new();
        for client in 0..24 {
            let place = client % 3;
            let (service, ask) = (self.service(place).clone(), ask.clone());
            running.spawn(async move {
                let (mut passed, mut took) = (0, Vec::new());
                for _ in 0..calls / 24 {
                    let asked = Instant::now();
                    passed += u64::from(service.verify(&ask).await["code"] == "VALID");
                    took.push(asked.elapsed());
                }
                (place, passed, took)
            });
        }
        let mut sums = [0; 3];
        for (place, passed, took) in running.join_all().await {
            sums[place] += passed;
            self.took.lock().expect("no panic").extend(took);
        }
        sums
    }
}

fn hourly(total: u64) -> Value {
    json!({ "window": { "total": total, "seconds": 3600 } })
}

/// Of which in the time of a test next to nothing comes back.
fn burst(capacity: u64) -> Value {
    json!({ "burst": { "capacity": capacity, "refill": 1, "period_seconds": 1800 } })
}

/// What is exact lets pass exactly what it says; what is fast no more than a total, and of a burst a twentieth more.
async fn three_let_pass_together_what_there_is(three: &Three) {
    let calls = times_from_environment("TRONCH_TEST_CALLS", 3_600);
    for (rule, mode, least, most) in [
        (hourly(1_000), "exact", 1_000, 1_000),
        (burst(1_000), "exact", 1_000, 1_000),
        (hourly(1_000), "fast", 950, 1_000),
        (burst(1_000), "fast", 950, 1_050),
        (burst(10), "fast", 10, 10),
    ] {
        let ask = three.limited(rule.clone(), mode).await;
        let passed = three.passed(&ask, calls).await;
        let all: u64 = passed.iter().sum();
        eprintln!("{mode} {rule}: {all} of {calls} passed, {passed:?}");
        assert!((least..=most).contains(&all), "{mode} {rule}: {passed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_let_pass_together_what_there_is_through_redis() {
    let redis = RedisServer::start().await;
    let three = Three::start([(); 3].map(|()| Some(redis.url()))).await;
    three_let_pass_together_what_there_is(&three).await;
    assert!(redis.cli(&["keys", "tronch:{*"]).lines().count() >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_let_pass_together_what_there_is_through_postgres() {
    let three = Three::start([None, None, None]).await;
    three_let_pass_together_what_there_is(&three).await;
}

/// Killed, hung, and cut off from one of the three: at most twice the limit and three in the window of the loss, and no call waits
/// long. When it is back, what was let pass meanwhile is made up for.
#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_each_process_goes_by_its_part() {
    const LIMIT: u64 = 300;
    let mut redis = RedisServer::start().await;
    let proxy = Proxy::before(&redis.url()).await;
    let three = Three::start([Some(redis.url()), Some(redis.url()), Some(proxy.url.clone())]).await;
    for (what, rule) in ["killed", "hung", "cut off"].into_iter().zip([hourly(LIMIT), burst(LIMIT), hourly(LIMIT)]) {
        let ask = three.limited(rule, "exact").await;
        // What is refused is not charged: it takes as long, and shows how long calls take.
        let other = three.limited(hourly(1_000_000), "exact").await;
        let calls = times_from_environment("TRONCH_TEST_CALLS", 1_200);
        three.passed(&other, calls).await;
        let usual = three.p99();
        let before: u64 = three.passed(&ask, 120).await.iter().sum();
        assert_eq!(before, 120, "{what}");
        three.p99();
        // What the one that is cut off in each case sees left.
        let mut read = ask.clone();
        read["cost"] = json!(0);
        let seen = three.service(2).verify(&read).await["limits"][0]["remaining"].as_u64().expect("a number");
        match what {
            "killed" => redis.kill(),
            "hung" => redis.pause(),
            _ => proxy.set(Weather::Cut),
        }
        let away = three.passed(&ask, calls).await;
        let all: u64 = before + away.iter().sum::<u64>();
        let (p99, of) = (three.p99(), usual);
        eprintln!("{what}: {before} before, {away:?} while it was away, p99 {p99:?} (before {of:?})");
        assert!(all <= 2 * LIMIT + 3, "{what}: {before} and {away:?}");
        // Whoever is cut off has a third of what he saw left, and nobody nothing.
        assert!(away.iter().all(|passed| *passed > 0), "{what}: {away:?}");
        assert!(away[2] <= seen.div_ceil(3), "{what}: {away:?} of {seen}");
        let mut slowest = Duration::ZERO;
        for place in [0, 1, 2].repeat(20) {
            let asked = Instant::now();
            three.service(place).verify(&ask).await;
            slowest = slowest.max(asked.elapsed());
        }
        eprintln!("{what}: at most {slowest:?} a call");
        match what {
            "killed" => redis.start_again().await,
            "hung" => redis.resume(),
            _ => proxy.set(Weather::Fair),
        }
        // Another limit shows when it is heard again.
        eventually("they share again", async || {
            let other = three.limited(hourly(6), "exact").await;
            let passed = three.passed(&other, 48).await;
            passed.iter().sum::<u64>() == 6
        })
        .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after: u64 = three.passed(&ask, 240).await.iter().sum();
        eprintln!("{what}: {after} after it was back");
        assert!(all + after <= 2 * LIMIT + 3, "{what}: {all} and {after}");
    }
}

/// The first who waits in vain waits for as long as anybody may; whoever came after him goes on with him.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_hung_redis_longer_than_the_first_who_did() {
    let redis = RedisServer::start().await;
    let house = House::build().await;
    // Half of it is how long a call waits for Redis.
    let settings = [("REDIS_URL", redis.url()), ("TRONCH_LOOKUP_WAIT_MS", "2000".to_owned())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (_server, service) = house.start_with(0, &house.database.url(), &settings).await;
    let mut asks = Vec::new();
    for _ in 0..2 {
        let (id, ask) = key(&service, json!({})).await;
        let mut limit = hourly(1_000);
        limit["name"] = json!("default");
        limit["key_id"] = json!(id);
        limit["mode"] = json!("exact");
        set(&service, &limit).await;
        eventually("it goes by the limit", async || {
            service.verify(&ask).await["limits"].as_array().is_some_and(|limits| limits.len() == 1)
        })
        .await;
        asks.push(ask);
    }
    redis.pause();
    let took = async |ask: &Value, later: Duration| {
        tokio::time::sleep(later).await;
        let asked = Instant::now();
        assert_eq!(service.verify(ask).await["code"], "VALID");
        asked.elapsed()
    };
    let half = Duration::from_millis(500);
    let (first, second) = tokio::join!(took(&asks[0], Duration::ZERO), took(&asks[1], half));
    redis.resume();
    assert!(first >= half * 2, "{first:?} and {second:?}");
    assert!((half / 2..half * 17 / 10).contains(&second), "{first:?} and {second:?}");
}

/// Sentinel names another master, and limits are shared again; what the old one had told its replica, that one knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_says_who_is_the_master() {
    let mut redis = RedisSentinel::start().await;
    let three = Three::start([(); 3].map(|()| Some(redis.url()))).await;
    let ask = three.limited(hourly(60), "exact").await;
    assert_eq!(three.passed(&ask, 24).await.iter().sum::<u64>(), 24);
    redis.master.kill();
    let away: u64 = three.passed(&ask, 48).await.iter().sum();
    assert!((1..=96).contains(&away), "{away}");
    eventually("they share again", async || {
        let other = three.limited(hourly(6), "exact").await;
        three.passed(&other, 48).await.iter().sum::<u64>() == 6
    })
    .await;
    let after: u64 = three.passed(&ask, 240).await.iter().sum();
    assert!(24 + away + after <= 2 * 60 + 3, "{away} and {after}");
}

/// Keys of the masters that live are shared as before.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_cluster_one_master_may_be_killed() {
    let mut cluster = RedisCluster::start().await;
    let three = Three::start([(); 3].map(|()| Some(cluster.url()))).await;
    let mut asks = Vec::new();
    for _ in 0..9 {
        let ask = three.limited(hourly(60), "exact").await;
        assert_eq!(three.passed(&ask, 24).await.iter().sum::<u64>(), 24);
        asks.push(ask);
    }
    cluster.servers[1].kill();
    let mut shared = 0;
    for ask in &asks {
        let passed: u64 = three.passed(ask, 240).await.iter().sum();
        eprintln!("{passed} after one master was killed");
        assert!(passed >= 24 && passed + 24 <= 2 * 60 + 3, "{passed}");
        shared += u64::from(passed == 36);
    }
    assert!(shared >= 1, "of nine keys none lies with the masters that live");
    drop(three.house);
}

/// What is no Redis, or one that keeps something else there, is told from an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_answers_nonsense_is_none() {
    let redis = RedisServer::start().await;
    let three = Three::start([Some(redis.url()), None, None]).await;
    let ask = three.limited(burst(5), "exact").await;
    assert_eq!(three.service(0).verify(&ask).await["code"], "VALID");
    for found in redis.cli(&["keys", "tronch:{*"]).lines() {
        redis.cli(&["del", found]);
        redis.cli(&["set", found, "nonsense"]);
    }
    let passed: u64 = three.passed(&ask, 48).await.iter().take(1).sum();
    assert!((1..=2).contains(&passed), "a third of what was left is {passed}");
    // About others it is heard: by its part of six this process would let two pass.
    let other = three.limited(burst(6), "exact").await;
    let mut passed = 0;
    for _ in 0..10 {
        passed += u64::from(three.service(0).verify(&other).await["code"] == "VALID");
    }
    assert_eq!(passed, 6);
}
