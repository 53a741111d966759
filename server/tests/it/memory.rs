//! Whoever reads the memory of a running process finds no key that it was asked about.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use aho_corasick::AhoCorasick;
use serde_json::json;

use crate::support::{DataDir, Server, TestApp, eventually};

/// That of [`TestApp`], for a process beside it.
const MASTER: &str = "0707070707070707070707070707070707070707070707070707070707070707";

const KEYS: usize = 1_000;

/// Where in a key its handle is, and after that its secret.
const HANDLE: std::ops::Range<usize> = 15..26;
const SECRET: std::ops::Range<usize> = 26..48;

/// Bytes that are read at once, and how many of them again with the next.
const CHUNK: usize = 1024 * 1024;
const OVERLAP: usize = 64;

/// How many of the texts stand anywhere in what a process may write to: heap and stacks.
fn found(process: u32, texts: &[String]) -> usize {
    let searched = AhoCorasick::new(texts).expect("texts");
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).expect("a map");
    let memory = File::open(format!("/proc/{process}/mem")).expect("its memory");
    let mut seen = std::collections::BTreeSet::new();
    let mut chunk = vec![0; CHUNK];
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').expect("a range");
        let (from, until) = range.split_once('-').expect("two ends");
        let address = |text: &str| u64::from_str_radix(text, 16).expect("an address");
        let (mut at, until) = (address(from), address(until));
        while at < until {
            let wanted = usize::try_from(until - at).unwrap_or(CHUNK).min(CHUNK);
            // What has gone meanwhile, and what no process may read.
            let Ok(read @ 1..) = memory.read_at(&mut chunk[..wanted], at) else { break };
            seen.extend(searched.find_iter(&chunk[..read]).map(|hit| hit.pattern()));
            let step = if at + read as u64 >= until { read } else { read.saturating_sub(OVERLAP).max(1) };
            at += step as u64;
        }
    }
    seen.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_a_process_holds_no_key_that_it_remembers() {
    let app = TestApp::start().await;
    let token = app.token("acme", &json!({ "permissions": tronch_core::Permission::ALL })).await;
    let service = app.service(&token);
    let made: Vec<_> = (0..16)
        .map(|maker| {
            let service = service.clone();
            tokio::spawn(async move {
                let mut keys = Vec::new();
                for number in (maker..KEYS).step_by(16) {
                    let wish = json!({ "name": format!("key {number}"), "environment": "live" });
                    keys.push(service.create_key(&wish).await.1);
                }
                keys
            })
        })
        .collect();
    let mut keys = Vec::new();
    for some in made {
        keys.extend(some.await.expect("no panic"));
    }

    let (data_dir, url) = (DataDir::create(), app.database.url());
    let server = Server::start(&data_dir, &[("DATABASE_URL", &url), ("TRONCH_MASTER_KEY", MASTER)]).await;
    let service = server.service(&token);
    for _ in 0..2 {
        for key in &keys {
            assert_eq!(service.verify(&json!({ "key": key })).await["code"], "VALID");
        }
    }
    let part = |range: std::ops::Range<usize>| keys.iter().map(|key| key[range.clone()].to_owned()).collect::<Vec<_>>();
    let (handles, secrets) = (part(HANDLE), part(SECRET));
    // The search sees what is there: every key is remembered by its handle.
    assert_eq!(found(server.id(), &handles), KEYS);
    drop(service);
    // Buffers of a connection go with it.
    eventually("no key is in memory", async || found(server.id(), &secrets) == 0).await;
    assert_eq!(found(server.id(), &handles), KEYS);
    server.stop();
}
