//! TLS that trusts anybody: the lab's API server makes a certificate of its own. A proxy before it uses that one, too.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
};

/// A connection on which TLS is spoken.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Speaks TLS on a fresh connection. The handshake happens with the first octets.
///
/// # Errors
/// None but those of the library for a name that is none, which an address is not.
pub fn secure(connection: TcpStream) -> io::Result<TlsStream> {
    let address = connection.peer_addr()?.ip();
    let client = ClientConnection::new(Arc::clone(&CONFIG), ServerName::IpAddress(address.into()))
        .map_err(io::Error::other)?;
    Ok(StreamOwned::new(client, connection))
}

/// The other end of such a connection.
pub type TlsServerStream = StreamOwned<ServerConnection, TcpStream>;

/// Who we are, from a certificate with its issuers and its key.
///
/// # Panics
/// When the files hold no such thing.
#[track_caller]
pub fn identity(certificates: &Path, key: &Path) -> Arc<ServerConfig> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificates)
        .expect("certificates")
        .collect();
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows the default versions")
        .with_no_client_auth()
        .with_single_cert(chain.expect("certificates"), key)
        .expect("the key is the certificate's");
    Arc::new(config)
}

/// Speaks TLS on a connection that came in. The handshake happens with the first octets.
///
/// # Errors
/// The library's.
pub fn receive(connection: TcpStream, identity: &Arc<ServerConfig>) -> io::Result<TlsServerStream> {
    let server = ServerConnection::new(Arc::clone(identity)).map_err(io::Error::other)?;
    Ok(StreamOwned::new(server, connection))
}

static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring knows the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Arc::new(config)
});

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
