//! Settings from every source, right and wrong. What `tronch config` prints is tested as a process.

use super::*;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Config::load(&Overrides::default(), &|name| find(name).or_else(|| (name == "HOME").then(|| "/home/ada".into())))
}

fn load_file(name: &str, text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let path = format!("/tmp/tronch-config-{}-{name}.toml", std::process::id());
    std::fs::write(&path, text).unwrap();
    let loaded = load(&[variables, &[("TRONCH_CONFIG", path.as_str())]].concat());
    std::fs::remove_file(&path).unwrap();
    loaded
}

#[test]
fn nothing_set_gives_the_documented_defaults() {
    let config = load(&[("TRONCH_LISTEN", "")]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(config.ops_listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.public_url.origin(), "http://localhost:3000");
    assert_eq!(config.argon2, Argon2Cost { memory_kib: 19456, iterations: 2, parallelism: 1 });
    assert_eq!((config.database_connections, config.shutdown_grace), (10, Duration::from_secs(10)));
    assert_eq!(config.master_key, MasterKeySource::InDataDir(config.data_dir.join("master-key")));
}

#[test]
fn the_public_url_follows_the_listen_port() {
    assert_eq!(load(&[("TRONCH_LISTEN", "0.0.0.0:8080")]).unwrap().public_url.origin(), "http://localhost:8080");
}

#[test]
fn the_environment_goes_before_the_file_and_the_file_before_the_default() {
    let text = "listen = \"127.0.0.1:4000\"\nshutdown_seconds = 30\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]";
    let config = load_file("order", text, &[("TRONCH_SHUTDOWN_SECONDS", "40")]).unwrap();
    assert_eq!((config.listen.port(), config.shutdown_grace.as_secs(), config.trusted_proxies.len()), (4000, 40, 2));
}

#[test]
fn every_refused_value_names_itself_its_source_and_what_is_allowed() {
    let table = [
        ("TRONCH_LISTEN", "localhost", "IP address and a port"),
        ("TRONCH_LISTEN", "3000", "IP address and a port"),
        ("TRONCH_OPS_LISTEN", "127.0.0.1:99999", "IP address and a port"),
        ("TRONCH_OPS_LISTEN", "0.0.0.0:3000", "another port"),
        ("TRONCH_PUBLIC_URL", "keys.example.com", "http:// or https://"),
        ("TRONCH_PUBLIC_URL", "ftp://keys.example.com", "http:// or https://"),
        ("TRONCH_PUBLIC_URL", "https://example.com/keys", "nothing after them"),
        ("TRONCH_PUBLIC_URL", "https://user@example.com", "nothing after them"),
        ("TRONCH_PUBLIC_URL", "https://example.com:0", "nothing after them"),
        ("TRONCH_PUBLIC_URL", "https://", "a host"),
        ("TRONCH_PUBLIC_URL", "http://keys.example.com", "TRONCH_ALLOW_INSECURE_HTTP"),
        ("TRONCH_ALLOW_INSECURE_HTTP", "yes", "true or false"),
        ("TRONCH_TRUSTED_PROXIES", "10.0.0.0/33", "networks such as"),
        ("TRONCH_TRUSTED_PROXIES", "10.1.2.3/8", "networks such as"),
        ("TRONCH_TRUSTED_PROXIES", "10.0.0.0/8,proxy", "networks such as"),
        ("DATABASE_URL", "mysql://root:hunter2@db/x", "postgres://"),
        ("TRONCH_DATABASE_CONNECTIONS", "3", "from 4 to 90"),
        ("TRONCH_DATABASE_CONNECTIONS", "91", "up to 200 with DATABASE_URL"),
        ("TRONCH_MASTER_KEY", "hunter2", "64 hex digits"),
        ("TRONCH_LOG", "info,tronch=loud", "filter such as"),
        ("TRONCH_LOG_FORMAT", "xml", "auto, text or json"),
        ("TRONCH_SHUTDOWN_SECONDS", "0", "from 1 to 300"),
        ("TRONCH_SHUTDOWN_SECONDS", "301", "from 1 to 300"),
        ("TRONCH_ARGON2_MEMORY_KIB", "1024", "from 19456 to 65536"),
        ("TRONCH_ARGON2_ITERATIONS", "1", "from 2 to 10"),
        ("TRONCH_ARGON2_PARALLELISM", "5", "from 1 to 4"),
        ("TRONCH_DATA_DIR", "/srv/\u{fffd}", "UTF-8"),
        ("TRONCH_CONFIG", "/nonexistent/tronch.toml", "cannot be read"),
    ];
    for (variable, value, allowed) in table {
        let problems = load(&[(variable, value)]).expect_err(variable).problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(allowed) && !problems[0].contains("hunter2"), "{}", problems[0]);
        let has_a_source = variable != "TRONCH_CONFIG" && allowed != "another port";
        assert!(!has_a_source || problems[0].contains(&format!("environment variable {variable}")), "{}", problems[0]);
    }
}

#[test]
fn all_problems_are_reported_at_once_with_the_place_in_the_file() {
    let text = "lisen = 1\nlog_format = \"xml\"\nmaster_key = \"x\"\n[argon2]\nmemory = 1";
    let error = load_file("many", text, &[("TRONCH_LISTEN", "x")]).unwrap_err();
    assert_eq!(error.problems.len(), 5, "{error}");
    for part in [
        "unknown key lisen",
        "many.toml, key log_format",
        "master_key may not stand",
        "unknown key argon2",
        "TRONCH_LISTEN",
    ] {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
}

#[test]
fn a_broken_file_is_refused_without_quoting_its_secrets() {
    let error = load_file("broken", "database_url = \"postgres://t:hunter2@db/t\" oops", &[]).unwrap_err().to_string();
    assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
}

#[test]
fn two_sources_of_the_master_key_are_refused() {
    let error = load(&[("TRONCH_MASTER_KEY", KEY), ("TRONCH_MASTER_KEY_FILE", "/k")]).unwrap_err();
    assert!(error.to_string().contains("unset one"), "{error}");
    let config = load(&[("TRONCH_MASTER_KEY", &format!("{KEY}, {KEY}"))]).unwrap();
    let MasterKeySource::Given(keys) = config.master_key else { panic!("keys were given") };
    assert_eq!((keys.len(), keys[1].expose()[1], keys[1].expose()[31]), (2, 0x11, 0xff));
}

#[test]
fn debug_output_holds_no_secret() {
    let config = load(&[("DATABASE_URL", "postgres://t:hunter2@db/t"), ("TRONCH_MASTER_KEY", KEY)]).unwrap();
    let debug = format!("{config:?}");
    assert!(!debug.contains("hunter2") && !debug.contains("0x11") && !debug.contains("17, 34"), "{debug}");
}

#[test]
fn public_urls_know_their_origin_and_loopback() {
    let table = [
        ("https://Keys.Example.com:443/", "https://keys.example.com", false),
        ("https://keys.example.com:8443", "https://keys.example.com:8443", false),
        ("http://app.localhost:80", "http://app.localhost", true),
        ("http://127.0.0.2:3000", "http://127.0.0.2:3000", true),
        ("http://[::1]:3000", "http://[::1]:3000", true),
    ];
    for (text, origin, is_loopback) in table {
        let url: PublicUrl = text.parse().unwrap();
        assert_eq!((url.origin().as_str(), url.is_loopback()), (origin, is_loopback));
    }
    let insecure = [("TRONCH_PUBLIC_URL", "http://keys.lan"), ("TRONCH_ALLOW_INSECURE_HTTP", "true")];
    assert!(!load(&insecure).unwrap().public_url.is_https());
}

#[test]
fn a_network_contains_its_addresses_and_no_others() {
    let table = [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "::ffff:10.1.1.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("192.0.2.7", "192.0.2.8", false),
        ("fd00::/8", "fdff::1", true),
        ("::/0", "2001:db8::1", true),
        ("::1", "::1", true),
    ];
    for (network, address, is_inside) in table {
        assert_eq!(
            network.parse::<Cidr>().unwrap().contains(address.parse().unwrap()),
            is_inside,
            "{network} {address}"
        );
    }
}

#[test]
fn the_data_directory_depends_on_the_user() {
    let xdg = |name: &str| (name == "XDG_DATA_HOME").then(|| "/xdg".to_owned());
    let home = |name: &str| (name == "HOME").then(|| "/home/ada".to_owned());
    assert_eq!(default_data_dir(true, &xdg), Some("/var/lib/tronch".into()));
    assert_eq!(default_data_dir(false, &xdg), Some("/xdg/tronch".into()));
    assert_eq!(default_data_dir(false, &home), Some("/home/ada/.local/share/tronch".into()));
    assert_eq!(default_data_dir(false, &|_| None), None);
}
