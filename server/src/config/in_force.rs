//! How a value in force is shown: as it is understood, and without what must not be shown. How it is read is `parse.rs`'s
//! business.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Cidr, LogFormat, MasterKey, PublicUrl, Redacted};

/// A value as `tronch config show` prints it.
pub(super) trait InForce {
    fn shown(&self) -> String;
}

impl InForce for SocketAddr {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl InForce for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl InForce for u32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl InForce for String {
    fn shown(&self) -> String {
        self.clone()
    }
}

impl InForce for PathBuf {
    fn shown(&self) -> String {
        self.display().to_string()
    }
}

impl InForce for PublicUrl {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl InForce for LogFormat {
    fn shown(&self) -> String {
        let word = match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        };
        word.to_owned()
    }
}

impl InForce for Vec<Cidr> {
    fn shown(&self) -> String {
        list(self)
    }
}

impl InForce for Vec<PublicUrl> {
    fn shown(&self) -> String {
        list(self)
    }
}

impl InForce for Vec<MasterKey> {
    fn shown(&self) -> String {
        "[redacted]".to_owned()
    }
}

impl InForce for Redacted {
    fn shown(&self) -> String {
        self.without_secrets()
    }
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
