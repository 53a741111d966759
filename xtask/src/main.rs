//! Builds the browser part: wasm, script and CSS, in a folder named after a hash of its content. It knows nothing of the
//! server.

#![expect(clippy::print_stdout, reason = "a build step says what it does")]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use wasm_bindgen_cli_support::Bindgen;

const WASM: &str = "wasm32-unknown-unknown/wasm-release/tronch_frontend.wasm";

/// What a page may make a browser fetch before it is awake: wasm and script together, with brotli. The CSS is apart.
const LOADED_BYTES_MAX: usize = 60_000;

/// The script of the API reference: large, and loaded by that page alone.
const REFERENCE: &str = "reference.js";

/// How hard brotli tries: 0 to 11. The result goes into the binary once, so it may take its second.
const BROTLI_QUALITY: i32 = 11;

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("browser") => browser(),
        _ => bail!("usage: cargo run -p xtask -- browser"),
    }
}

/// `target/site/pkg/<hash>/`: tronch.js, tronch_bg.wasm, tronch.css, icon.svg and the API reference's script, each with
/// its brotli twin. This is where the server embeds from, so it stays there when Cargo's own target folder is elsewhere.
fn browser() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the workspace")?;
    let cargo_target = environment("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |path| root.join(path));
    compile(root)?;
    let staging = root.join("target/site-staging");
    recreate(&staging)?;
    Bindgen::new()
        .input_path(cargo_target.join(WASM))
        .out_name("tronch")
        .web(true)
        .context("wasm-bindgen")?
        .typescript(false)
        // Names of functions are most of the module, and speak to nobody but a debugger.
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(&staging)
        .context("wasm-bindgen")?;
    fs::write(staging.join("tronch.css"), stylesheet(&root.join("style"))?)?;
    fs::copy(root.join("style/icon.svg"), staging.join("icon.svg"))?;
    // script/fetch-reference brings it, where npm is at hand.
    let reference = root.join("target/reference/reference.js");
    if reference.exists() {
        fs::copy(reference, staging.join(REFERENCE))?;
        fs::copy(root.join("frontend/reference-start.js"), staging.join("reference-start.js"))?;
    }
    publish(&staging, &root.join("target/site"))
}

#[expect(clippy::disallowed_methods, reason = "Cargo speaks to build steps through the environment")]
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn compile(root: &Path) -> Result<()> {
    let status = Command::new(environment("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(["build", "--package", "tronch-frontend", "--lib", "--target", "wasm32-unknown-unknown"])
        .args(["--profile", "wasm-release", "--locked"])
        .status()
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!("the browser part does not compile");
    }
    Ok(())
}

/// The style files one after the other, in the order of their names.
fn stylesheet(folder: &Path) -> Result<String> {
    let mut files = entries(folder)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "css"));
    let parts: Vec<String> = files.iter().map(fs::read_to_string).collect::<std::io::Result<_>>()?;
    Ok(parts.join("\n"))
}

/// Names the folder after what is in it, so that it may be cached for ever. It appears whole or not at all, because the
/// next run trusts its name.
fn publish(staging: &Path, site: &Path) -> Result<()> {
    let files = files_below(staging)?;
    let mut hasher = Sha256::new();
    for (name, path) in &files {
        let content = fs::read(path)?;
        hasher.update(format!("{}:{name}:{}:", name.len(), content.len()));
        hasher.update(content);
    }
    let hash: String = hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let packages = site.join("pkg");
    if packages.join(&hash).exists() && entries(&packages)?.len() == 1 {
        println!("    the browser part is unchanged ({hash})");
        return Ok(());
    }
    let compressed = staging.with_extension("compressed");
    recreate(&compressed)?;
    let mut sizes = Vec::new();
    for (name, path) in &files {
        sizes.push((name.as_str(), compress(name, &fs::read(path)?, &compressed.join(&hash))?));
    }
    let loaded_bytes = loaded_bytes(&sizes)?;
    println!("    wasm and script: {loaded_bytes} bytes with brotli, of {LOADED_BYTES_MAX}");
    recreate(site)?;
    fs::rename(&compressed, &packages).context("the browser part cannot be put in its place")
}

/// The sum of what wakes a page, from each file's name and compressed size in bytes.
fn loaded_bytes(sizes: &[(&str, usize)]) -> Result<usize> {
    let wakes = |name: &str| (name.ends_with(".wasm") || name.ends_with(".js")) && !name.starts_with("reference");
    let loaded = sizes.iter().filter(|(name, _)| wakes(name));
    let bytes = loaded.map(|(_, bytes)| bytes).sum();
    if bytes > LOADED_BYTES_MAX {
        bail!("wasm and script are {bytes} bytes with brotli, {LOADED_BYTES_MAX} are allowed: see docs/decisions/0014");
    }
    Ok(bytes)
}

/// Writes a file and its brotli twin, and says how large they are. Returns the twin's size in bytes.
fn compress(name: &str, content: &[u8], folder: &Path) -> Result<usize> {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap_or(folder))?;
    let mut compressed = Vec::new();
    // The last percent of four megabytes would take minutes.
    let quality = if name == REFERENCE { 9 } else { BROTLI_QUALITY };
    let parameters = brotli::enc::BrotliEncoderParams { quality, ..Default::default() };
    brotli::BrotliCompress(&mut &*content, &mut compressed, &parameters)?;
    println!("    {name}: {} bytes, {} with brotli", content.len(), compressed.len());
    fs::write(&path, content)?;
    fs::write(folder.join(format!("{name}.br")), &compressed)?;
    Ok(compressed.len())
}

/// Every file below a folder, by its path within it: wasm-bindgen may put snippets into folders of their own.
fn files_below(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        let name = path.file_name().context("an entry has a name")?.to_string_lossy().into_owned();
        if path.is_dir() {
            let below = files_below(&path)?;
            found.extend(below.into_iter().map(|(inner, path)| (format!("{name}/{inner}"), path)));
        } else {
            found.push((name, path));
        }
    }
    Ok(found)
}

/// What is in a folder, in the order of names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

fn recreate(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok(fs::create_dir_all(folder)?)
}

#[cfg(test)]
mod tests {
    use super::{LOADED_BYTES_MAX, loaded_bytes};

    #[test]
    fn wasm_and_every_script_count_and_styles_do_not() {
        let sizes = [
            ("snippets/a/inline0.js", 7),
            ("tronch.css", LOADED_BYTES_MAX),
            ("tronch.js", 20),
            ("tronch_bg.wasm", 300),
        ];
        assert_eq!(loaded_bytes(&sizes).expect("it is within the limit"), 327);
    }

    #[test]
    fn one_byte_too_many_is_refused() {
        assert!(loaded_bytes(&[("tronch.js", 1), ("tronch_bg.wasm", LOADED_BYTES_MAX - 1)]).is_ok());
        let refused =
            loaded_bytes(&[("tronch.js", 1), ("tronch_bg.wasm", LOADED_BYTES_MAX)]).expect_err("it is too large");
        assert!(refused.to_string().contains("60001 bytes"), "{refused}");
    }
}
