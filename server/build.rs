//! Rebuilds the server when the browser part that it embeds has changed. It builds nothing itself.

fn main() {
    println!("cargo:rerun-if-changed=../target/site");
}
