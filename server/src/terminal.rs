//! What is said to the person or the script that runs the command, and what they are asked. Neither ever panics: whoever
//! reads may have gone.

use std::io::{IsTerminal as _, Read as _, Write as _};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

/// More than any password has.
const STDIN_BYTES_MAX: u64 = 4096;

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

/// Somebody's password: from standard input where the command was told so, else asked for twice on the terminal, which
/// shows nothing of it.
///
/// # Errors
/// When there is no terminal to ask on, or something else was typed the second time.
pub(crate) fn password(of: &str, from_stdin: bool) -> anyhow::Result<Zeroizing<String>> {
    if from_stdin {
        return password_from_stdin();
    }
    if !std::io::stdin().is_terminal() {
        bail!(
            "a password is needed, and standard input is no terminal to ask for it on; send the password on standard \
             input and say so with --password-stdin"
        );
    }
    let first = asked(&format!("Password of {of}: "))?;
    let second = asked("The same again: ")?;
    if first != second {
        bail!("the second time it was another password; nothing was changed");
    }
    Ok(first)
}

fn asked(question: &str) -> anyhow::Result<Zeroizing<String>> {
    rpassword::prompt_password(question).map(Zeroizing::new).context("no password can be read from the terminal")
}

/// One line; its line break is not part of the password.
fn password_from_stdin() -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let mut stdin = std::io::stdin().take(STDIN_BYTES_MAX);
    stdin.read_to_string(&mut text).context("the password on standard input is no text")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}
