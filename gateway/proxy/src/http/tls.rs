//! TLS: what to present to clients, whom to trust as a server.
//!
//! Enter: PEM files. Leave: configurations of rustls. Never: a private key in a message or a log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be read.
    #[error("cannot read `{path}`: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PemError,
    },
    /// A PEM file holds no certificate.
    #[error("`{0}` holds no certificate")]
    Empty(PathBuf),
    /// Certificate and key do not fit, or cannot be used.
    #[error("cannot use certificate and key: {0}")]
    Use(#[from] rustls::Error),
    /// The system's certificates cannot be read.
    #[error("the system has no certificates to trust; name some with `http.upstream_ca`")]
    NoRoots,
    /// Others may read the key.
    #[error("`{0}` can be read by others: run chmod 600 on it")]
    Open(PathBuf),
    /// The key's file cannot be looked at.
    #[error("cannot look at `{path}`: {error}")]
    Look {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Presents the chain in `certificate` with the private key in `key`, both PEM. HTTP/2 and HTTP/1.1
/// are offered, TLS 1.2 and 1.3.
///
/// # Errors
///
/// When a file cannot be read or used, or others may read the key.
pub fn server_tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(certificate)?;
    guarded(key)?;
    let read = |error| TlsError::Read {
        path: key.to_owned(),
        error,
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(read)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Trusts servers that the system's certificates vouch for or, if given, those in `authority` only.
///
/// # Errors
///
/// When there is no certificate to trust.
pub fn client_tls(authority: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |error| TlsError::Read {
        path: path.to_owned(),
        error,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(read)?
        .collect::<Result<_, _>>()
        .map_err(read)?;
    if chain.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    Ok(chain)
}

/// A private key is for its owner, and perhaps for the owner's group.
fn guarded(key: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = key.metadata().map_err(|error| TlsError::Look {
        path: key.to_owned(),
        error,
    })?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(TlsError::Open(key.to_owned()));
    }
    Ok(())
}
