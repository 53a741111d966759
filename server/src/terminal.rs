//! What is said to the person or the script that runs the command. Neither ever panics: whoever reads may have gone.

use std::io::Write as _;

use anyhow::Context as _;

/// A command's answer, on standard output.
///
/// # Errors
/// When it cannot be written, as when `head` has read enough.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output cannot be written")
}

/// What a person must know beside the answer, which scripts read: on standard error, where that can be written.
pub(crate) fn tell(text: &str) {
    let told = writeln!(std::io::stderr(), "{text}");
    drop(told);
}
