//! The data directory: made, checked and locked, and the secret files inside it.
//! It does not know what the files mean, nor where the directory is: the configuration says that.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::runs_as_root;

const LOCK_FILE: &str = "tronch.lock";
/// Secrets are short; anything longer is a mistaken path.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
}

/// Proof that no other `tronch` process owns the directory; the lock goes when this is dropped or the process dies.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("The data directory {} cannot be used; make it a folder this user can write, or point TRONCH_DATA_DIR elsewhere.", .path.display())]
    NotUsable { path: PathBuf, source: io::Error },
    #[error("Everybody can write to the data directory {0}; run: chmod o-w {0}", .path.display())]
    WorldWritable { path: PathBuf },
    #[error("The data directory {} is in use by {}; stop that process, or point TRONCH_DATA_DIR elsewhere.", .path.display(), process_name(.pid))]
    InUse { path: PathBuf, pid: Option<u32> },
    #[error("The secret file {0} can be read by other users; run: chmod 600 {0}", .path.display())]
    ReadableByOthers { path: PathBuf },
    #[error("The secret file {} is larger than {SECRET_BYTES_MAX} bytes, so it is not what it should be.", .path.display())]
    TooLarge { path: PathBuf },
    #[error("The secret file {} exists already and is not overwritten.", .path.display())]
    Exists { path: PathBuf },
    #[error("The file {} cannot be read or written.", .path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Makes the directory if need be and proves that it can be written.
pub fn prepare(path: &Path) -> Result<DataDir, DataDirError> {
    let not_usable = |source| DataDirError::NotUsable { path: path.to_owned(), source };
    // As root the private Postgres runs under another user, who has to pass through to its own folder but may not list this one.
    let mode = if runs_as_root() { 0o711 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(not_usable)?;
    let path = path.canonicalize().map_err(not_usable)?;
    if fs::metadata(&path).map_err(not_usable)?.mode() & 0o002 != 0 {
        return Err(DataDirError::WorldWritable { path });
    }
    let probe = path.join(temporary_name("probe"));
    File::create_new(&probe).and_then(|_| fs::remove_file(&probe)).map_err(not_usable)?;
    Ok(DataDir { path })
}

impl DataDir {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Takes the directory for this process. `serve` holds it all its life; a command that gets `InUse` works beside the server.
    pub fn lock(&self) -> Result<DataDirLock, DataDirError> {
        let path = self.join(LOCK_FILE);
        let failed = |source| DataDirError::File { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(DataDirError::InUse { path: self.path.clone(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(DataDirLock { _file: file })
    }

    /// Writes a new file with mode 0600 that survives a power cut; an existing file is never touched.
    pub fn write_secret_file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, DataDirError> {
        let path = self.join(name);
        let temporary = self.join(&temporary_name(name));
        // The final name appears only once the bytes are on disk, so a crash cannot leave an empty secret behind.
        let written = write_synced(&temporary, bytes).and_then(|()| fs::hard_link(&temporary, &path));
        let removed = fs::remove_file(&temporary);
        match written.and(removed).and_then(|()| File::open(&self.path)?.sync_all()) {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(DataDirError::Exists { path }),
            Err(source) => Err(DataDirError::File { path, source }),
        }
    }

    /// The bytes of a secret file, or `None` if there is no such file.
    pub fn read_secret_file(&self, name: &str) -> Result<Option<Vec<u8>>, DataDirError> {
        read_secret(&self.join(name))
    }
}

/// As [`DataDir::read_secret_file`], for a secret that the operator keeps elsewhere.
pub fn read_secret(path: &Path) -> Result<Option<Vec<u8>>, DataDirError> {
    let failed = |source| DataDirError::File { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Asked of the open file, so that nobody can swap it between the check and the reading.
    if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(DataDirError::ReadableByOthers { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(DataDirError::TooLarge { path: path.to_owned() });
    }
    Ok(Some(bytes))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // The umask may have taken bits from the mode, and then even we could not read the file again.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Different in every call, so that two processes or threads never meet in one file.
fn temporary_name(name: &str) -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    format!(".{name}.{}-{}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed))
}

fn process_name(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> DataDir {
        prepare(Path::new(&format!("/tmp/tronch-data-dir-{}-{name}", std::process::id()))).unwrap()
    }

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_new_directory_is_closed_to_others() {
        let data_dir = scratch("new");
        assert_eq!(mode_of(data_dir.path()) & 0o066, 0);
        assert_eq!(fs::read_dir(data_dir.path()).unwrap().count(), 0, "the probe is gone");
        fs::remove_dir_all(data_dir.path()).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_a_folder_is_refused_with_the_setting_to_change() {
        let error = prepare(Path::new("/dev/null/tronch")).unwrap_err();
        assert!(
            error.to_string().contains("/dev/null/tronch") && error.to_string().contains("TRONCH_DATA_DIR"),
            "{error}"
        );
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn a_directory_everybody_can_write_is_refused() {
        let data_dir = scratch("open");
        fs::set_permissions(data_dir.path(), Permissions::from_mode(0o777)).unwrap();
        let error = prepare(data_dir.path()).unwrap_err();
        assert!(error.to_string().contains("chmod o-w"), "{error}");
        fs::remove_dir_all(data_dir.path()).unwrap();
    }

    #[test]
    fn a_second_lock_names_the_process_that_holds_the_first() {
        let data_dir = scratch("lock");
        let lock = data_dir.lock().unwrap();
        let error = data_dir.lock().unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(lock);
        data_dir.lock().unwrap();
        fs::remove_dir_all(data_dir.path()).unwrap();
    }

    #[test]
    fn a_secret_file_is_private_and_never_overwritten() {
        let data_dir = scratch("secret");
        assert!(data_dir.read_secret_file("master-key").unwrap().is_none());
        let path = data_dir.write_secret_file("master-key", b"one").unwrap();
        assert_eq!(mode_of(&path), 0o600);
        assert!(matches!(data_dir.write_secret_file("master-key", b"two"), Err(DataDirError::Exists { .. })));
        assert_eq!(data_dir.read_secret_file("master-key").unwrap().unwrap(), b"one");
        assert_eq!(fs::read_dir(data_dir.path()).unwrap().count(), 1, "no temporary file stays");
        fs::remove_dir_all(data_dir.path()).unwrap();
    }

    #[test]
    fn a_secret_file_that_others_can_read_is_refused_with_the_chmod_to_run() {
        let data_dir = scratch("leaky");
        let path = data_dir.write_secret_file("master-key", b"one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = data_dir.read_secret_file("master-key").unwrap_err();
        assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
        fs::remove_dir_all(data_dir.path()).unwrap();
    }
}
