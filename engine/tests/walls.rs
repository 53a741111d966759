//! Programs that must not compile, against the library as it was built: what another crate cannot do. What it must not do
//! although it could is held elsewhere.
//!
//! Each program in `walls/` stands on good lines, which compile alone, and lines that end in `//~ E0603 word`: with any one
//! of them it is refused there, with that code, in a message that has the word.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

use tronch_core::{IdempotencyKey, PresentedKey, PresentedToken, SecretOnce};
use tronch_engine::Master;

const MARK: &str = "//~ ";

/// A line that must be refused.
struct Wall<'a> {
    line: usize,
    code: &'a str,
    word: &'a str,
}

fn walls(program: &str) -> Vec<Wall<'_>> {
    let marked = program.lines().enumerate().filter_map(|(index, text)| Some((index + 1, text.split_once(MARK)?.1)));
    marked
        .map(|(line, mark)| {
            let (code, word) = mark.split_once(' ').expect("a mark is a code and a word");
            Wall { line, code, word }
        })
        .collect()
}

/// The program with at most one of its marked lines; the others are empty, so that lines keep their numbers.
fn with_only(program: &str, line: Option<usize>) -> String {
    let kept = |(index, text): (usize, &str)| {
        if text.contains(MARK) && line != Some(index + 1) { "\n".to_owned() } else { format!("{text}\n") }
    };
    program.lines().enumerate().map(kept).collect()
}

/// Why rustc refused: where, with which code, in which words.
#[derive(Debug)]
struct Refusal {
    line: usize,
    code: String,
    message: String,
}

/// `<anon>:7:13: error[E0603]: module `tenancy` is private`
fn refusal(text: &str) -> Option<Refusal> {
    let (place, rest) = text.split_once(": error[")?;
    let (code, message) = rest.split_once("]: ")?;
    let line = place.strip_prefix("<anon>:")?.split(':').next()?.parse().ok()?;
    Some(Refusal { line, code: code.to_owned(), message: message.to_owned() })
}

/// What a program is compiled with.
#[derive(Debug)]
struct Libraries {
    folder: PathBuf,
    engine: PathBuf,
    core: PathBuf,
    serde: PathBuf,
}

impl Libraries {
    /// The ones that stand beside this test. A folder may hold several of a name, from builds of other features or of
    /// older sources: ours are as new as their sources, and of what remains the newest that fit together are taken. All
    /// of those have the same walls.
    fn find() -> Self {
        let test = std::env::current_exe().expect("a test knows where it is");
        let folder = test.parent().expect("a test stands in a folder").to_owned();
        let engines = candidates(&folder, "tronch_engine", is_as_new_as_its_sources);
        let cores = candidates(&folder, "tronch_core", is_as_new_as_its_sources);
        let serdes = candidates(&folder, "serde", |_| true);
        let together = engines.iter().flat_map(|engine| cores.iter().map(move |core| (engine, core)));
        let all = together.flat_map(|(engine, core)| serdes.iter().map(move |serde| (engine, core, serde)));
        let fitting = all
            .map(|(engine, core, serde)| Self {
                folder: folder.clone(),
                engine: engine.clone(),
                core: core.clone(),
                serde: serde.clone(),
            })
            .find(|libraries| libraries.compile(FITTING).is_ok());
        let found = || format!("{engines:?}, {cores:?}, {} of serde", serdes.len());
        fitting.unwrap_or_else(|| panic!("no libraries in {} fit together: {}", folder.display(), found()))
    }

    fn compile(&self, program: &str) -> Result<(), Vec<Refusal>> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // The compiler beside the cargo that built this: another version could not read the libraries.
        let rustc = Path::new(env!("CARGO")).with_file_name("rustc");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wall-{}-{number}", std::process::id()));
        fs::create_dir_all(&out).expect("a folder for what is compiled");
        let mut compiler = Command::new(&rustc)
            .args(["--edition", "2024", "--crate-type", "lib", "--crate-name", "wall", "--emit", "metadata"])
            .args(["--error-format", "short", "--cap-lints", "allow", "-"])
            .arg("--out-dir")
            .arg(&out)
            .arg("-L")
            .arg(format!("dependency={}", self.folder.display()))
            .args(self.externs())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", rustc.display()));
        let mut input = compiler.stdin.take().expect("its input is a pipe");
        std::io::Write::write_all(&mut input, program.as_bytes()).expect("rustc reads");
        drop(input);
        let ended = compiler.wait_with_output().expect("rustc ends");
        fs::remove_dir_all(&out).expect("what was compiled is ours");
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let refusals: Vec<Refusal> = said.lines().filter_map(refusal).collect();
        assert!(!refusals.is_empty(), "rustc refused and named no line: {said}");
        Err(refusals)
    }

    fn externs(&self) -> Vec<String> {
        let library = |name: &str, path: &Path| ["--extern".to_owned(), format!("{name}={}", path.display())];
        [("tronch_engine", &self.engine), ("tronch_core", &self.core), ("serde", &self.serde)]
            .iter()
            .flat_map(|(name, path)| library(name, path))
            .collect()
    }

    /// What is wrong with a program: nothing, when its good lines compile and each marked line is refused as it says.
    fn complaints(&self, program: &str) -> Vec<String> {
        let walls = walls(program);
        if walls.is_empty() {
            return vec!["no line is marked".to_owned()];
        }
        if let Err(refusals) = self.compile(&with_only(program, None)) {
            return vec![format!("the good lines do not compile: {refusals:#?}")];
        }
        let complaint = |wall: &Wall<'_>| match self.compile(&with_only(program, Some(wall.line))) {
            Ok(()) => Some(format!("line {} compiles", wall.line)),
            Err(refusals) => {
                let here = refusals.iter().all(|refusal| refusal.line == wall.line && refusal.code == wall.code);
                let worded = refusals.iter().any(|refusal| refusal.message.contains(wall.word));
                (!here || !worded).then(|| format!("line {} is refused otherwise: {refusals:#?}", wall.line))
            }
        };
        walls.iter().filter_map(complaint).collect()
    }
}

/// Compiles only with an engine, a core and a serde that were built with one another.
const FITTING: &str = "
use tronch_engine::{Caller, Engine};
pub async fn enter(engine: &Engine, caller: &Caller, slug: &tronch_core::TenantSlug) {
    fn serializes<T: serde::Serialize>() {}
    serializes::<tronch_core::TenantSlug>();
    let _tenant = engine.tenant(caller, slug).await;
}
";

/// Libraries of a name that are `fit`, the newest first.
fn candidates(folder: &Path, name: &str, fit: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let is_one = |path: &Path| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        let hash = file.strip_prefix(&format!("lib{name}-")).and_then(|rest| rest.strip_suffix(".rlib"));
        hash.is_some_and(|hash| hash.chars().all(|digit| digit.is_ascii_hexdigit()))
    };
    let entries = fs::read_dir(folder).expect("the folder of the libraries");
    let paths = entries.map(|entry| entry.expect("an entry").path()).filter(|path| is_one(path));
    let mut found: Vec<(SystemTime, PathBuf)> = paths.map(|path| (changed(&path), path)).collect();
    assert!(!found.is_empty(), "there is no lib{name}-….rlib in {}", folder.display());
    found.retain(|(_, path)| fit(path));
    assert!(!found.is_empty(), "each lib{name}-….rlib in {} is older than its sources", folder.display());
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

fn changed(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|facts| facts.modified()).expect("a time of change")
}

/// Its sources are those that the compiler has named beside it; what only tests are made of is not among them.
fn is_as_new_as_its_sources(library: &Path) -> bool {
    let stem = library.file_stem().and_then(|stem| stem.to_str()).expect("a library has a name");
    let info = library.with_file_name(stem.trim_start_matches("lib")).with_extension("d");
    let rules = fs::read_to_string(&info).unwrap_or_else(|error| panic!("{}: {error}", info.display()));
    let rule = rules.lines().find_map(|line| line.split_once(".rlib: ")).expect("the rule of the library").1;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("engine stands in the workspace");
    let built = changed(library);
    rule.split_whitespace().map(|source| root.join(source)).all(|source| source.exists() && changed(&source) <= built)
}

#[test]
fn what_another_crate_must_not_do_does_not_compile() {
    let libraries = Libraries::find();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/walls");
    let programs: Vec<PathBuf> =
        fs::read_dir(folder).expect("the programs").map(|entry| entry.expect("an entry").path()).collect();
    assert!(programs.len() >= 6, "only {programs:?}");
    let judge = |path: &PathBuf| libraries.complaints(&fs::read_to_string(path).expect("a program"));
    let complaints: Vec<String> = thread::scope(|scope| {
        let judged: Vec<_> = programs.iter().map(|path| (path, scope.spawn(|| judge(path)))).collect();
        let ended = judged.into_iter().map(|(path, judged)| (path, judged.join().expect("a verdict")));
        ended.flat_map(|(path, found)| found.into_iter().map(|text| format!("{}: {text}", path.display()))).collect()
    });
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_wall_that_fell_is_noticed() {
    let libraries = Libraries::find();
    let complaint = |program: &str| libraries.complaints(program).join("\n");
    let good = "pub fn email(caller: &tronch_engine::Caller) -> Option<&str> {\n    caller.email()\n}\n";
    let fallen = format!("{good}pub use tronch_engine::Tenant; //~ E0603 private\n");
    assert_eq!(complaint(&fallen), "line 4 compiles");
    let misspelt = format!("{good}pub use tronch_engine::tenanzy::TenantTx; //~ E0603 private\n");
    assert!(complaint(&misspelt).contains("line 4 is refused otherwise"), "{}", complaint(&misspelt));
    let other_word = format!("{good}pub use tronch_engine::tenancy::TenantTx; //~ E0603 mutable\n");
    assert!(complaint(&other_word).contains("line 4 is refused otherwise"), "{}", complaint(&other_word));
    let broken = format!("{good}pub use tronch_engine::Nobody;\npub use tronch_engine::db::Db; //~ E0603 private\n");
    assert!(complaint(&broken).contains("the good lines do not compile"), "{}", complaint(&broken));
    assert_eq!(complaint(good), "no line is marked");
    let standing = format!("{good}pub use tronch_engine::tenancy::TenantTx; //~ E0603 private\n");
    assert_eq!(complaint(&standing), "");
}

/// What has a `Debug` may stand in any log line.
#[test]
fn what_is_secret_prints_nothing_of_itself() {
    // The handle is public, what follows it is not.
    let body = "0abcdefghijZYXWVUTSRQPONMLKJIHGFEDCBA";
    let key = PresentedKey::parse(&format!("tronch_sk_live_{body}")).expect("a key");
    let token = PresentedToken::parse(&format!("tronch_st_{body}")).expect("a token");
    let word = IdempotencyKey::parse("order-4711").expect("a word");
    let printed = format!(
        "{key:?} {key} {token:?} {token} {word:?} {:?} {:?}",
        Master::new([0xAB; 32]),
        SecretOnce::new("a secret".to_owned())
    );
    assert_eq!(printed.matches("0abcdefghij").count(), 4, "{printed}");
    for secret in ["ZYX", "PON", "CBA", "4711", "171", "abab", "a secret"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}
