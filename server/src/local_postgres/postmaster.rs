//! The running Postgres as its pid file and the system show it. It is only looked at here, never started or stopped.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::Path;

/// What the running Postgres writes about itself, in its own words: pid in line 1, port in line 4.
#[derive(Debug)]
pub(super) struct Postmaster {
    pub(super) pid: u32,
    pub(super) port: u16,
}

impl Postmaster {
    pub(super) fn read(folder: &Path) -> Option<Postmaster> {
        let text = fs::read_to_string(folder.join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        Some(Postmaster { pid: lines.next()?.trim().parse().ok()?, port: lines.nth(2)?.trim().parse().ok()? })
    }

    /// A pid alone proves nothing, because numbers are used again; but a postmaster works in its data folder.
    pub(super) fn is_alive_in(&self, folder: &Path) -> bool {
        let process = Path::new("/proc").join(self.pid.to_string());
        match fs::read_link(process.join("cwd")) {
            Ok(working_folder) => fs::canonicalize(folder).is_ok_and(|folder| folder == working_folder),
            // A container may forbid root to look there; the name is the next best sign.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "postgres")
            }
            // Without /proc (macOS) an open port has to do; the look at `data_directory` follows.
            Err(_) if !Path::new("/proc/self").exists() => {
                std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            }
            Err(_) => false,
        }
    }
}
