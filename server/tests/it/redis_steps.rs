//! The script that Redis runs takes the same steps as the plain rules: the same random questions, put to both, at times of the test's
//! own.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta};
use tronch_core::{Bucket, BucketState, Timestamp, TokenWish, Window, WindowKind, WindowState, Wish};

use crate::support::{Lots, RedisServer};

const SCRIPT: &str = include_str!("../../../engine/src/limits/reserve.lua");

/// The script by a clock that is told.
struct Script {
    connection: redis::aio::MultiplexedConnection,
    text: String,
}

impl Script {
    async fn on(redis: &RedisServer) -> Self {
        let client = redis::Client::open(redis.url()).expect("an address");
        let connection = client.get_multiplexed_async_connection().await.expect("a connection");
        let clock = "redis.call('TIME')";
        assert_eq!(SCRIPT.matches(clock).count(), 1);
        let told = "{ math.floor(tonumber(KEYS[2]) / 1000), (tonumber(KEYS[2]) % 1000) * 1000 }";
        Self { connection, text: SCRIPT.replace(clock, told) }
    }

    async fn ask(&mut self, key: &str, now: Timestamp, words: [&str; 3], numbers: &[i64]) -> Vec<i64> {
        let mut command = redis::cmd("EVAL");
        command.arg(&self.text).arg(2).arg(key).arg(now.timestamp_millis()).arg(&words).arg(numbers);
        command.query_async(&mut self.connection).await.expect("an answer")
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).expect("small")
}

fn count(number: i64) -> u64 {
    u64::try_from(number).expect("no less than nothing")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_in_redis_is_the_bucket_of_the_rules() {
    let redis = RedisServer::start().await;
    let mut script = Script::on(&redis).await;
    let mut lots = Lots(0x9E37_79B9_7F4A_7C15);
    for round in 0..40 {
        let bucket = loop {
            let (capacity, refill) = (lots.one_of(&[1, 7, 100, 4_096, 1_000_000]), lots.one_of(&[1, 3, 7, 999_983]));
            if let Ok(bucket) = Bucket::new(capacity, refill, lots.one_of(&[1, 3, 60, 86_400])) {
                break bucket;
            }
        };
        let (token, milli) = bucket.units();
        let fill = u64::try_from(bucket.fill_time().as_millis()).expect("small");
        let mut state = BucketState::default();
        // By whom, how many, until when.
        let mut held: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut now_ms = 1_800_000_000_000 + lots.draw(1_000_000);
        for _ in 0..50 {
            let pause = lots.one_of(&[0, 1, 900, 33_333, 70_000_000]);
            now_ms += lots.draw(pause + 1);
            let now = DateTime::from_timestamp_millis(number(now_ms)).expect("a time");
            let asker = format!("node-{}", lots.draw(3));
            held.retain(|_, (_, until)| *until > now_ms);
            let own = held.remove(&asker).map_or(0, |(units, _)| lots.draw(units + 1));
            let (left_over, owed) = (lots.one_of(&[0, 0, 2]), lots.one_of(&[0, 0, 1, 5_000]));
            let (need, more) = (lots.draw(4), lots.draw(300));
            let (at_once, held_for) = (need + lots.draw(5), 1_000 + lots.draw(40_000));
            state = bucket.give_back(state, left_over);
            if owed > 0 {
                state = bucket.make_up(state, now_ms, owed);
            }
            let outstanding = own + held.values().map(|(units, _)| units).sum::<u64>();
            let (after, granted) = bucket.reserve(state, now_ms, TokenWish { need, at_once, more, outstanding });
            state = after;
            let holds = own + granted.saturating_sub(at_once);
            if holds > 0 {
                held.insert(asker.clone(), (holds, now_ms + held_for));
            }
            let numbers = [bucket.capacity(), token, milli, own, left_over, owed, need, at_once, more, held_for, fill]
                .map(number);
            let told = script.ask(&format!("bucket:{round}"), now, ["rate", &asker, "bucket"], &numbers).await;
            assert_eq!(told, [number(bucket.debt_ticks(state, now_ms)), number(granted)], "{bucket} at {now_ms}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_in_redis_is_the_total_of_the_rules() {
    let redis = RedisServer::start().await;
    let mut script = Script::on(&redis).await;
    let mut lots = Lots(0x2545_F491_4F6C_DD1D);
    for round in 0..60 {
        let seconds = lots.one_of(&[1, 7, 60, 3_600, 100_000]);
        let kind = if round % 2 == 0 { WindowKind::Fixed { seconds } } else { WindowKind::Sliding { seconds } };
        let window = Window::new(lots.one_of(&[1, 5, 100, 1_003, 50_000]), kind).expect("a window");
        let slides = matches!(kind, WindowKind::Sliding { .. });
        let mut state = WindowState::default();
        let mut now =
            DateTime::from_timestamp_millis(1_800_000_000_000 + number(lots.draw(1_000_000))).expect("a time");
        for _ in 0..50 {
            let pause = lots.one_of(&[0, 1, 900, 33_333, 70_000_000]);
            now += TimeDelta::milliseconds(number(lots.draw(pause + 1)));
            let (span, now_ms) = (window.span(now), now.timestamp_millis());
            let rest = |lots: &mut Lots| {
                let back = lots.draw(3);
                (span.start_seconds - number(back) * i64::from(seconds), lots.one_of(&[0, 0, 1, 7]))
            };
            let (left_over, owed) = (rest(&mut lots), rest(&mut lots));
            let need = lots.draw(5);
            let most = need + lots.draw(60);
            // As it is asked: the stretch of now is begun first.
            state = window.reserve(state, span, now_ms, Wish { need: u64::MAX, most: 0, sharers: 1 }).0;
            state = window.give_back(state, left_over.0, left_over.1);
            state = window.make_up(state, owed.0, owed.1);
            let (after, granted) = window.reserve(state, span, now_ms, Wish { need, most, sharers: 1 });
            state = after;
            // Whoever asks may be behind, or know it already.
            let asked = if lots.draw(2) == 0 { span } else { window.span(span.start() - TimeDelta::milliseconds(1)) };
            let next = window.span(asked.end());
            let numbers = [
                number(window.total()),
                asked.start_seconds * 1_000,
                asked.end_seconds * 1_000,
                next.end_seconds * 1_000,
                number(need),
                number(most),
                left_over.0 * 1_000,
                number(left_over.1),
                owed.0 * 1_000,
                number(owed.1),
            ];
            let word = if slides { "sliding" } else { "fixed" };
            let told = script.ask(&format!("total:{round}"), now, ["total", "node", word], &numbers).await;
            let [start, used, before, told_granted] = told[..] else { panic!("{told:?}") };
            let told_state =
                WindowState { start_seconds: start / 1_000, used: count(used), used_before: count(before), added: 0 };
            assert_eq!((told_state, count(told_granted)), (state, granted), "{window} at {now}");
        }
    }
}
