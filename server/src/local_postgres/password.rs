//! The two passwords of the private Postgres, kept in files of the data directory. They are not read anywhere else.

use std::fs::File;
use std::io::Read;

use super::{CLUSTER_FOLDER, LocalPostgresError, PASSWORD_FILE, Result, SUPERUSER_PASSWORD_FILE};
use crate::config::Redacted;
use crate::data_dir::DataDir;

/// Reads a password, or makes it: 48 hex digits, which need no quoting in SQL and in URLs.
pub(super) fn password(data_dir: &DataDir, name: &str) -> Result<Redacted> {
    let path = data_dir.join(name);
    if let Some(bytes) = data_dir.read_secret_file(name)? {
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        let is_ours = text.len() == 48 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        return is_ours.then(|| Redacted::new(text)).ok_or(LocalPostgresError::PasswordMissing(path));
    }
    // The cluster knows the superuser only by the old password; a new one would lock us out.
    if name == SUPERUSER_PASSWORD_FILE && data_dir.join(CLUSTER_FOLDER).exists() {
        return Err(LocalPostgresError::PasswordMissing(path));
    }
    let mut bytes = [0_u8; 24];
    let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.map_err(|source| LocalPostgresError::File { path: "/dev/urandom".into(), source })?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    data_dir.write_secret_file(name, text.as_bytes())?;
    Ok(Redacted::new(text))
}

pub(super) fn url_of(data_dir: &DataDir, port: u16) -> Result<Redacted> {
    let missing = || LocalPostgresError::PasswordMissing(data_dir.join(PASSWORD_FILE));
    let bytes = data_dir.read_secret_file(PASSWORD_FILE)?.ok_or_else(missing)?;
    let password = String::from_utf8_lossy(&bytes).trim().to_owned();
    Ok(Redacted::new(format!("postgres://tronch:{password}@127.0.0.1:{port}/tronch?sslmode=disable")))
}
