//! Settings from every source, right and wrong. What `tronch config` prints is tested as a process.

use super::*;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Config::load(&Overrides::default(), &|name| find(name).or_else(|| (name == "HOME").then(|| "/home/ada".into())))
}

fn path_of(name: &str) -> String {
    format!("/tmp/tronch-config-{}-{name}.toml", std::process::id())
}

fn load_file(name: &str, text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let path = path_of(name);
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

/// Every setting with values that are refused, and why: `it …`.
const REFUSED: [(&str, &str, &str); 54] = [
    ("listen", "localhost", "must be an IP address and a port, such as 127.0.0.1:3000 or [::]:3000"),
    ("listen", "3000", "must be an IP address and a port, such as 127.0.0.1:3000 or [::]:3000"),
    ("ops_listen", "127.0.0.1:99999", "must be an IP address and a port, such as 127.0.0.1:3000 or [::]:3000"),
    ("public_url", "keys.example.com", HOW_PUBLIC_URLS_LOOK),
    ("public_url", "ftp://keys.example.com", HOW_PUBLIC_URLS_LOOK),
    ("public_url", "https://example.com/keys", HOW_PUBLIC_URLS_LOOK),
    ("public_url", "https://user@example.com", HOW_PUBLIC_URLS_LOOK),
    ("public_url", "https://example.com:0", HOW_PUBLIC_URLS_LOOK),
    ("public_url", "https://", HOW_PUBLIC_URLS_LOOK),
    (
        "public_url",
        "http://keys.example.com",
        "must be https unless the host is loopback, because passwords and keys would cross the network in clear; \
         set TRONCH_ALLOW_INSECURE_HTTP=true to accept that",
    ),
    ("allow_insecure_http", "yes", "must be true or false"),
    (
        "trusted_proxies",
        "10.0.0.0/33",
        "must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas; \"10.0.0.0/33\" is none",
    ),
    (
        "trusted_proxies",
        "10.1.2.3/8",
        "must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas; \"10.1.2.3/8\" is none",
    ),
    (
        "trusted_proxies",
        "10.0.0.0/8,proxy",
        "must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas; \"proxy\" is none",
    ),
    ("cors_origins", "https://app.example.com, *", HOW_PUBLIC_URLS_LOOK),
    ("connections_max", "99", "must be a whole number from 100 to 1000000"),
    ("connections_max", "1000001", "must be a whole number from 100 to 1000000"),
    ("data_dir", "/srv/\u{fffd}", "must be plain UTF-8 text"),
    ("database_url", "mysql://root:hunter2@db/x", "must look like postgres://user:password@host:5432/database"),
    ("database_connections", "3", "must be a whole number from 4 to 90 (up to 200 with DATABASE_URL)"),
    ("database_connections", "91", "must be a whole number from 4 to 90 (up to 200 with DATABASE_URL)"),
    ("database_connections", "ten", "must be a whole number from 4 to 90 (up to 200 with DATABASE_URL)"),
    (
        "redis_url",
        "cache:6379",
        "must look like redis://host:6379, redis-sentinel://host:26379,host:26379/master or \
         redis-cluster://host:6379,host:6379; over TLS it begins with rediss",
    ),
    (
        "smtp_url",
        "mail.example.com",
        "must look like smtps://user:password@host:465, smtp://user:password@host:587?tls=required or smtp://localhost:25",
    ),
    ("mail_from", "tronch", "must be an e-mail address, such as tronch@example.com or TRONCH <tronch@example.com>"),
    ("pg_bin", "/usr/\u{fffd}", "must be plain UTF-8 text"),
    ("master_key", "hunter2", "must be 64 hex digits, or several such keys separated by commas"),
    ("master_key_file", "/run/\u{fffd}", "must be plain UTF-8 text"),
    (
        "log",
        "info,tronch=loud",
        "must be a level (trace, debug, info, warn, error, off) or a filter such as info,tronch=debug",
    ),
    ("log", "inof", "must be a level (trace, debug, info, warn, error, off) or a filter such as info,tronch=debug"),
    ("log_format", "xml", "must be auto, text or json"),
    ("lookup_wait_ms", "19", "must be a whole number from 20 to 2000"),
    ("lookup_wait_ms", "2001", "must be a whole number from 20 to 2000"),
    ("remembered_keys", "999", "must be a whole number from 1000 to 50000000"),
    ("remembered_keys", "50000001", "must be a whole number from 1000 to 50000000"),
    ("warm_up_keys", "2000001", "must be a whole number from 0 to 2000000"),
    ("usage_minutes_days", "1", "must be a whole number from 2 to 62"),
    ("usage_hours_days", "7", "must be a whole number from 8 to 800"),
    ("usage_days_days", "61", "must be a whole number from 62 to 7300"),
    ("shutdown_seconds", "0", "must be a whole number from 1 to 300"),
    ("shutdown_seconds", "301", "must be a whole number from 1 to 300"),
    ("shutdown_seconds", "1.5", "must be a whole number from 1 to 300"),
    ("shutdown_seconds", "-1", "must be a whole number from 1 to 300"),
    ("shutdown_seconds", "4294967306", "must be a whole number from 1 to 300"),
    ("argon2_memory_kib", "19455", "must be a whole number from 19456 to 65536"),
    ("argon2_memory_kib", "65537", "must be a whole number from 19456 to 65536"),
    ("argon2_memory_kib", "19 MiB", "must be a whole number from 19456 to 65536"),
    ("argon2_iterations", "1", "must be a whole number from 2 to 10"),
    ("argon2_iterations", "11", "must be a whole number from 2 to 10"),
    ("argon2_iterations", "two", "must be a whole number from 2 to 10"),
    ("argon2_parallelism", "0", "must be a whole number from 1 to 4"),
    ("argon2_parallelism", "5", "must be a whole number from 1 to 4"),
    ("argon2_parallelism", "one", "must be a whole number from 1 to 4"),
    ("argon2_parallelism", "0x2", "must be a whole number from 1 to 4"),
];
const HOW_PUBLIC_URLS_LOOK: &str =
    "must be http:// or https://, a host and perhaps a port, and nothing after them, such as https://keys.example.com";

fn lead(name: &str, value: &str, origin: &str) -> String {
    let shown = if SECRET_KEYS.contains(&name) { "the value given".to_owned() } else { format!("{value:?}") };
    format!("{name}: {shown} ({origin})")
}

#[test]
fn every_setting_has_a_value_that_is_refused() {
    let tested: std::collections::BTreeSet<&str> = REFUSED.iter().map(|(name, ..)| *name).collect();
    assert_eq!(tested, KEYS.into_iter().collect());
}

#[test]
fn every_refused_variable_names_itself_and_what_is_allowed() {
    for (name, value, allowed) in REFUSED {
        let variable = variable_of(name);
        let problems = load(&[(&variable, value)]).expect_err(name).problems;
        let lead = lead(name, value, &format!("environment variable {variable}"));
        assert_eq!(problems, [format!("{lead} is refused; it {allowed}.")]);
    }
}

#[test]
fn every_refused_value_in_the_file_names_its_place_and_what_is_allowed() {
    for (name, value, allowed) in REFUSED {
        let path = path_of("refused");
        let problems = load_file("refused", &format!("{name} = {value:?}"), &[]).expect_err(name).problems;
        let expected = match name {
            "master_key" => format!(
                "master_key may not stand in {path}; set TRONCH_MASTER_KEY, or master_key_file to a file with mode 0600."
            ),
            _ => format!("{} is refused; it {allowed}.", lead(name, value, &format!("{path}, key {name}"))),
        };
        assert_eq!(problems, [expected]);
    }
}

#[test]
fn a_value_of_another_type_is_read_as_its_text_or_refused() {
    assert_eq!(load_file("number", "shutdown_seconds = 30", &[]).unwrap().shutdown_grace.as_secs(), 30);
    assert!(load_file("truth", "allow_insecure_http = true", &[]).unwrap().allow_insecure_http);
    let problems = load_file("table", "listen = { port = 3000 }\n", &[]).unwrap_err().problems;
    let path = path_of("table");
    assert_eq!(
        problems,
        [format!("listen: the value given ({path}, key listen) is refused; it must be plain UTF-8 text.")]
    );
}

#[test]
fn bounds_are_inside() {
    let inside = [
        ("TRONCH_DATABASE_CONNECTIONS", ["4", "90"]),
        ("TRONCH_SHUTDOWN_SECONDS", ["1", "300"]),
        ("TRONCH_ARGON2_MEMORY_KIB", ["19456", "65536"]),
        ("TRONCH_ARGON2_ITERATIONS", ["2", "10"]),
        ("TRONCH_ARGON2_PARALLELISM", ["1", "4"]),
    ];
    for (variable, values) in inside {
        for value in values {
            load(&[(variable, value)]).unwrap();
        }
    }
    let with_database =
        |connections| load(&[("DATABASE_URL", "postgres://db/t"), ("TRONCH_DATABASE_CONNECTIONS", connections)]);
    assert_eq!(with_database("200").unwrap().database_connections, 200);
    assert!(with_database("201").unwrap_err().to_string().contains("from 4 to 200"));
    let too_many = |count: usize, item: &str| vec![item; count].join(",");
    for (variable, item, most) in [("TRONCH_TRUSTED_PROXIES", "10.0.0.0/8", 64), ("TRONCH_MASTER_KEY", KEY, 16)] {
        load(&[(variable, &too_many(most, item))]).unwrap();
        let error = load(&[(variable, &too_many(most + 1, item))]).unwrap_err().to_string();
        assert!(error.ends_with(&format!("is refused; it must have at most {most} entries.")), "{error}");
    }
}

#[test]
fn two_listeners_at_one_address_are_refused() {
    for (listen, ops_listen) in [
        ("127.0.0.1:9464", ""),
        ("0.0.0.0:9464", ""),
        ("127.0.0.1:4000", "0.0.0.0:4000"),
        ("[::]:4000", "127.0.0.1:4000"),
    ] {
        let problems = load(&[("TRONCH_LISTEN", listen), ("TRONCH_OPS_LISTEN", ops_listen)]).unwrap_err().problems;
        assert_eq!(
            problems,
            [format!("listen and ops_listen are both {listen}; give TRONCH_OPS_LISTEN another port.")]
        );
    }
    for (listen, ops_listen) in [("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:4000", "127.0.0.2:4000")] {
        load(&[("TRONCH_LISTEN", listen), ("TRONCH_OPS_LISTEN", ops_listen)]).unwrap();
    }
}

#[test]
fn all_problems_are_reported_at_once_with_the_place_in_the_file() {
    let text = "lisen = 1\nlog_format = \"xml\"\nmaster_key = \"x\"\n[argon2]\nmemory = 1";
    let error = load_file("many", text, &[("TRONCH_LISTEN", "x")]).unwrap_err();
    let path = path_of("many");
    assert_eq!(
        error.problems,
        [
            format!("{path} has the unknown key argon2; the keys are {}.", KEYS.join(", ")),
            format!("{path} has the unknown key lisen; did you mean listen?"),
            format!("master_key may not stand in {path}; set TRONCH_MASTER_KEY, or master_key_file to a file with mode 0600."),
            "listen: \"x\" (environment variable TRONCH_LISTEN) is refused; it must be an IP address and a port, such as 127.0.0.1:3000 or [::]:3000.".to_owned(),
            format!("log_format: \"xml\" ({path}, key log_format) is refused; it must be auto, text or json."),
        ]
    );
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let problems = load(&[("TRONCH_CONFIG", "/nonexistent/tronch.toml")]).unwrap_err().problems;
    let expected =
        "The configuration file /nonexistent/tronch.toml cannot be read: No such file or directory (os error 2).";
    assert_eq!(problems, [expected]);
}

#[test]
fn without_a_home_the_data_directory_must_be_named() {
    let environment = Environment { names: Vec::new(), find: &|_| None, is_root: false };
    let problems = Survey::of(&Overrides::default(), &environment).into_config().unwrap_err().problems;
    let expected = "data_dir has no default here, because neither XDG_DATA_HOME nor HOME is set; set TRONCH_DATA_DIR.";
    assert_eq!(problems, [expected]);
}

#[test]
fn a_mistyped_variable_is_refused_and_another_programs_is_ignored() {
    let set = [("TRONCH_LISTN", "127.0.0.1:4000"), ("TRONCH_TOKEN", "t"), ("TRONCH_PORT", ""), ("HOME", "/home/ada")];
    let find = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let names = |count: usize| set[4 - count..].iter().map(|(name, _)| (*name).to_owned()).collect();
    let survey = Survey::of(&Overrides::default(), &Environment { names: names(4), find: &find, is_root: false });
    let mistyped = "The environment variable TRONCH_LISTN is no setting; did you mean TRONCH_LISTEN?";
    assert_eq!(survey.all_problems().collect::<Vec<_>>(), [mistyped]);
    let survey = Survey::of(&Overrides::default(), &Environment { names: names(3), find: &find, is_root: false });
    assert_eq!(survey.warnings, ["these environment variables are no settings and are ignored: TRONCH_TOKEN"]);
    assert_eq!(survey.into_config().unwrap().foreign_variables, ["TRONCH_TOKEN"]);
}

#[test]
fn what_is_shown_is_what_is_in_force_and_no_secret() {
    let text = "trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\ndatabase_url = \"postgres://t:hunter2@db:5432/keys\"";
    let path = path_of("shown");
    std::fs::write(&path, text).unwrap();
    let set = [
        ("TRONCH_CONFIG", path.as_str()),
        ("TRONCH_MASTER_KEY", KEY),
        ("TRONCH_LISTEN", "[::]:80"),
        ("TRONCH_DATA_DIR", "/srv/t"),
    ];
    let find = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let survey = Survey::of(&Overrides::default(), &Environment { names: Vec::new(), find: &find, is_root: false });
    std::fs::remove_file(&path).unwrap();
    insta::assert_snapshot!(survey.table().replace(&path, "/etc/tronch.toml"), @r"
    tronch.toml: /etc/tronch.toml

    setting               environment variable         value                    source
    listen                TRONCH_LISTEN                [::]:80                  environment variable TRONCH_LISTEN
    ops_listen            TRONCH_OPS_LISTEN            127.0.0.1:9464           default
    public_url            TRONCH_PUBLIC_URL            http://localhost         default
    allow_insecure_http   TRONCH_ALLOW_INSECURE_HTTP   false                    default
    trusted_proxies       TRONCH_TRUSTED_PROXIES       10.0.0.0/8, ::1/128      file /etc/tronch.toml
    cors_origins          TRONCH_CORS_ORIGINS                                   default
    connections_max       TRONCH_CONNECTIONS_MAX       10000                    default
    data_dir              TRONCH_DATA_DIR              /srv/t                   environment variable TRONCH_DATA_DIR
    database_url          DATABASE_URL                 postgres://db:5432/keys  file /etc/tronch.toml
    database_connections  TRONCH_DATABASE_CONNECTIONS  10                       default
    redis_url             REDIS_URL                    (not set)                default
    smtp_url              TRONCH_SMTP_URL              (not set)                default
    mail_from             TRONCH_MAIL_FROM             (not set)                default
    lookup_wait_ms        TRONCH_LOOKUP_WAIT_MS        100                      default
    remembered_keys       TRONCH_REMEMBERED_KEYS       2000000                  default
    warm_up_keys          TRONCH_WARM_UP_KEYS          0                        default
    usage_minutes_days    TRONCH_USAGE_MINUTES_DAYS    7                        default
    usage_hours_days      TRONCH_USAGE_HOURS_DAYS      92                       default
    usage_days_days       TRONCH_USAGE_DAYS_DAYS       1096                     default
    pg_bin                TRONCH_PG_BIN                (not set)                default
    master_key            TRONCH_MASTER_KEY            [redacted]               environment variable TRONCH_MASTER_KEY
    master_key_file       TRONCH_MASTER_KEY_FILE       (not set)                default
    log                   TRONCH_LOG                   info                     default
    log_format            TRONCH_LOG_FORMAT            auto                     default
    shutdown_seconds      TRONCH_SHUTDOWN_SECONDS      10                       default
    argon2_memory_kib     TRONCH_ARGON2_MEMORY_KIB     19456                    default
    argon2_iterations     TRONCH_ARGON2_ITERATIONS     2                        default
    argon2_parallelism    TRONCH_ARGON2_PARALLELISM    1                        default
    ");
    assert!(!format!("{survey:?}").contains("hunter2"), "{survey:?}");
}

#[test]
fn a_broken_file_is_refused_without_quoting_its_secrets() {
    let error = load_file("broken", "database_url = \"postgres://t:hunter2@db/t\" oops", &[]).unwrap_err().to_string();
    assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
}

#[test]
fn mail_needs_a_server_and_a_sender() {
    let (url, from) = (("TRONCH_SMTP_URL", "smtp://localhost:25"), ("TRONCH_MAIL_FROM", "tronch@example.com"));
    for (set, missing) in [(url, "TRONCH_MAIL_FROM"), (from, "TRONCH_SMTP_URL")] {
        let error = load(&[set]).unwrap_err().to_string();
        assert!(error.contains(&format!("set {missing}")), "{error}");
    }
    assert!(load(&[url, from]).unwrap().mail.is_some());
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
