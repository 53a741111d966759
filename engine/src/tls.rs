//! TLS to Postgres and Redis: whether there is any, and who is believed. The words in addresses are libpq's, `sslmode` and
//! `sslrootcert` (PostgreSQL, "SSL Support"), for both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How strict a connection is with who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strictness {
    /// `require`: whoever it is. It keeps out who only listens.
    Encrypted,
    /// `verify-ca`: whoever has a certificate of an authority that is believed.
    Authority,
    /// `verify-full`: and of that name.
    Name,
}

/// TLS, as an address wishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    strictness: Strictness,
    /// A file of authorities in PEM; without one the web's are believed.
    roots: Option<PathBuf>,
}

/// Why TLS cannot be had as wished.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// An unknown word.
    #[error("sslmode={0} is none; it is disable, require, verify-ca or verify-full")]
    Mode(String),
    /// Any authority of the web for any name is nobody in particular.
    #[error("sslmode=verify-ca needs sslrootcert, the file of an authority; verify-full does without")]
    NoAuthority,
    /// An address without TLS that says how strict TLS is to be.
    #[error("this address is plain, and says something of TLS; begin it with rediss")]
    Plain,
    /// The authorities cannot be read.
    #[error("sslrootcert names {path}, which {why}")]
    Roots {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// What the library says.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

/// Takes what is said of TLS out of an address. `by_scheme` is what its scheme says, where that says something.
///
/// # Errors
/// `Mode` for a word that is none; `NoAuthority`; `Plain`.
pub(crate) fn take_out(url: &str, by_scheme: Option<bool>) -> Result<(String, Option<Tls>), TlsError> {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut authorities, mut rest) = (None, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        // In an address a plus sign is one.
        let decoded = pair.replace('+', "%2B");
        let value = form_urlencoded::parse(decoded.as_bytes()).next().map(|(_, value)| value.into_owned());
        match pair.split('=').next() {
            Some("sslmode") => mode = value,
            Some("sslrootcert") => authorities = value,
            _ => rest.push(pair),
        }
    }
    let roots = authorities.clone().filter(|named| named != "system").map(PathBuf::from);
    let strictness = match (mode.as_deref(), by_scheme) {
        (Some(_), Some(false)) => return Err(TlsError::Plain),
        (None, Some(false)) if authorities.is_some() => return Err(TlsError::Plain),
        (None, Some(false)) => None,
        // What may be plain protects from nobody, so it is not tried.
        (Some("disable" | "allow" | "prefer"), None) => None,
        // As libpq has it: a file of authorities is asked wherever it is named.
        (Some("require"), _) if roots.is_some() => Some(Strictness::Authority),
        (Some("require"), _) => Some(Strictness::Encrypted),
        (Some("verify-ca"), _) if roots.is_none() => return Err(TlsError::NoAuthority),
        (Some("verify-ca"), _) => Some(Strictness::Authority),
        (Some("verify-full"), _) | (None, Some(true)) => Some(Strictness::Name),
        // Whoever names authorities wants them asked.
        (None, None) => authorities.is_some().then_some(Strictness::Name),
        (Some(other), _) => return Err(TlsError::Mode(other.to_owned())),
    };
    let rest = rest.join("&");
    let place = if rest.is_empty() { place.to_owned() } else { format!("{place}?{rest}") };
    Ok((place, strictness.map(|strictness| Tls { strictness, roots })))
}

impl Tls {
    /// For a connection. The file of authorities is read each time, so that it can be exchanged.
    ///
    /// # Errors
    /// `Roots`; `Library` for a file without a usable authority.
    pub(crate) fn client(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let known = match self.strictness {
            Strictness::Encrypted => None,
            Strictness::Authority | Strictness::Name => {
                let roots = Arc::new(self.roots()?);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
                Some(verifier.map_err(|error| rustls::Error::General(error.to_string()))?)
            }
        };
        let judge = Judge { known, names: self.strictness == Strictness::Name, provider: Arc::clone(&provider) };
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge))
            .with_no_client_auth())
    }

    /// The file of authorities, as it is.
    pub(crate) fn roots_pem(&self) -> Result<Option<Vec<u8>>, TlsError> {
        self.roots.as_deref().map(|path| std::fs::read(path).map_err(|error| unusable(path, &error))).transpose()
    }

    /// Whether who answers must have a certificate of that name.
    pub(crate) fn asks_for_the_name(&self) -> bool {
        self.strictness == Strictness::Name
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let Some(path) = &self.roots else {
            return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, &error))? {
            roots.add(certificate.map_err(|error| unusable(path, &error))?)?;
        }
        if roots.is_empty() {
            return Err(unusable(path, &"holds no certificate"));
        }
        Ok(roots)
    }
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::Roots { path: path.display().to_string(), why: format!("cannot be used: {why}") }
}

/// Judges the certificate of whoever answers. That he holds its key is always asked for.
#[derive(Debug)]
struct Judge {
    known: Option<Arc<WebPkiServerVerifier>>,
    names: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(known) = &self.known else { return Ok(ServerCertVerified::assertion()) };
        match known.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.names => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_tls_is_taken_out_and_the_rest_stays() {
        let tls = |strictness, roots: Option<&str>| Some(Tls { strictness, roots: roots.map(PathBuf::from) });
        for (url, rest, wish) in [
            ("postgres://db/t", "postgres://db/t", None),
            ("postgres://db/t?sslmode=disable&a=%20b", "postgres://db/t?a=%20b", None),
            ("postgres://db/t?sslmode=prefer", "postgres://db/t", None),
            ("postgres://db/t?a=1&sslmode=require", "postgres://db/t?a=1", tls(Strictness::Encrypted, None)),
            ("postgres://db/t?sslmode=verify-full", "postgres://db/t", tls(Strictness::Name, None)),
            ("postgres://db/t?sslrootcert=/a%20b.pem", "postgres://db/t", tls(Strictness::Name, Some("/a b.pem"))),
            (
                "postgres://db/t?sslrootcert=/ca.pem&sslmode=verify-ca",
                "postgres://db/t",
                tls(Strictness::Authority, Some("/ca.pem")),
            ),
            ("postgres://db/t?sslrootcert=system&sslmode=verify-full", "postgres://db/t", tls(Strictness::Name, None)),
            ("postgres://db/t?sslrootcert=system", "postgres://db/t", tls(Strictness::Name, None)),
            (
                "postgres://db/t?sslmode=require&sslrootcert=/a+b.pem",
                "postgres://db/t",
                tls(Strictness::Authority, Some("/a+b.pem")),
            ),
        ] {
            assert_eq!(take_out(url, None).expect("a wish"), (rest.to_owned(), wish), "{url}");
        }
        let refused = take_out("postgres://db/t?sslmode=sometimes", None).expect_err("no mode");
        assert!(refused.to_string().contains("sometimes"), "{refused}");
        assert_eq!(take_out("rediss://r", Some(true)).expect("a wish").1, tls(Strictness::Name, None));
        assert_eq!(take_out("redis://r", Some(false)).expect("a wish").1, None);
        // Nothing goes plain that somebody wanted encrypted.
        for url in ["redis://r?sslmode=verify-full", "redis://r?sslrootcert=/ca.pem"] {
            assert!(matches!(take_out(url, Some(false)), Err(TlsError::Plain)), "{url}");
        }
        for url in ["postgres://db/t?sslmode=verify-ca", "postgres://db/t?sslmode=verify-ca&sslrootcert=system"] {
            assert!(matches!(take_out(url, None), Err(TlsError::NoAuthority)), "{url}");
        }
    }

    #[test]
    fn a_file_of_authorities_is_read_and_said_where_it_cannot_be() {
        let wish = |path: &str| Tls { strictness: Strictness::Name, roots: Some(PathBuf::from(path)) };
        let missing = wish("/nowhere/ca.pem").client().expect_err("no file");
        assert!(missing.to_string().contains("sslrootcert names /nowhere/ca.pem"), "{missing}");
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let none = wish(&here.display().to_string()).client().expect_err("no certificate in it");
        assert!(none.to_string().contains("holds no certificate"), "{none}");
    }
}
