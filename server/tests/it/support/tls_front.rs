//! A server of TLS in front of another, with a certificate for `localhost` by an authority of its own: what comes out goes on
//! in clear. Who does not speak TLS is sent away.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::DataDir;

/// What a client of Postgres asks first: whether there is TLS (PostgreSQL, "SSL Session Encryption").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

pub struct TlsFront {
    pub port: u16,
    folder: DataDir,
    connections: Arc<AtomicUsize>,
    listening: tokio::task::JoinHandle<()>,
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl TlsFront {
    pub async fn before(server: String, is_postgres: bool) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().expect("a key");
        let authority_pem = authority.self_signed(&authority_key).expect("a certificate").pem();
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let issuer = Issuer::new(authority, authority_key);
        let certificate = certificate.signed_by(&key, &issuer).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], key).expect("a certificate and its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let folder = DataDir::create();
        std::fs::write(folder.path().join("ca.pem"), authority_pem).expect("a file");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, server, counted) = (acceptor.clone(), server.clone(), Arc::clone(&counted));
                tokio::spawn(async move { answer(client, acceptor, &server, is_postgres, &counted).await });
            }
        });
        Self { port, folder, connections, listening }
    }

    /// The file of its authority.
    pub fn roots(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Connections over TLS so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn answer(
    mut client: TcpStream,
    acceptor: TlsAcceptor,
    server: &str,
    is_postgres: bool,
    counted: &AtomicUsize,
) -> Option<()> {
    if is_postgres {
        let mut asked = [0; 8];
        client.read_exact(&mut asked).await.ok()?;
        if asked != SSL_REQUEST {
            return None;
        }
        client.write_all(b"S").await.ok()?;
    }
    let mut client = acceptor.accept(client).await.ok()?;
    counted.fetch_add(1, Ordering::Relaxed);
    let mut server = TcpStream::connect(server).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}
