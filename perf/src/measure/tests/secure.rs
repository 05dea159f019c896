//! The tool against a relay that ends TLS, right and wrong.

use std::io::ErrorKind::WouldBlock;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::*;
use crate::secure::Identity;

/// What a relay that ends TLS does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    Nothing,
    /// Never lets a client resume.
    ForgetsSessions,
    /// Ends its stream with a bare FIN.
    EndsUnannounced,
    /// Changes the first byte of what the backend says.
    Misdirects,
}

fn config(wrong: Wrong) -> Arc<ServerConfig> {
    let identity = Identity::make().unwrap();
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
    if wrong != Wrong::ForgetsSessions {
        config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
    } else {
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    }
    Arc::new(config)
}

/// One connection, both ways in turn, until both sides have ended.
fn carry(mut client: TcpStream, config: Arc<ServerConfig>, backend: SocketAddr, wrong: Wrong) {
    let mut tls = ServerConnection::new(config).unwrap();
    while tls.is_handshaking() {
        if tls.complete_io(&mut client).is_err() {
            return;
        }
    }
    let Ok(mut upstream) = TcpStream::connect(backend) else { return };
    let _ = client.set_nodelay(true);
    client.set_nonblocking(true).unwrap();
    upstream.set_nonblocking(true).unwrap();
    let (mut up, mut down) = (true, true);
    let mut buffer = vec![0; 16 << 10];
    while up || down {
        let mut moved = false;
        match up.then(|| rustls::Stream::new(&mut tls, &mut client).read(&mut buffer)) {
            Some(Ok(0)) => {
                up = false;
                let _ = upstream.shutdown(Shutdown::Write);
            }
            Some(Ok(count)) => {
                moved = true;
                upstream.set_nonblocking(false).unwrap();
                if upstream.write_all(&buffer[..count]).is_err() {
                    return;
                }
                upstream.set_nonblocking(true).unwrap();
            }
            Some(Err(error)) if error.kind() != WouldBlock => return,
            _ => {}
        }
        match down.then(|| upstream.read(&mut buffer)) {
            Some(Ok(count)) => {
                moved = true;
                client.set_nonblocking(false).unwrap();
                if count == 0 {
                    down = false;
                    if wrong != Wrong::EndsUnannounced {
                        tls.send_close_notify();
                    }
                    let _ = tls.complete_io_out(&mut client);
                    let _ = client.shutdown(Shutdown::Write);
                } else {
                    if wrong == Wrong::Misdirects {
                        buffer[0] ^= 0xff;
                    }
                    if rustls::Stream::new(&mut tls, &mut client)
                        .write_all(&buffer[..count])
                        .is_err()
                    {
                        return;
                    }
                }
                client.set_nonblocking(true).unwrap();
            }
            Some(Err(error)) if error.kind() != WouldBlock => return,
            _ => {}
        }
        if !moved {
            thread::sleep(Duration::from_micros(100));
        }
    }
}

/// Writes what TLS has to say, and waits for nothing.
trait Out {
    fn complete_io_out(&mut self, to: &mut TcpStream) -> std::io::Result<()>;
}

impl Out for ServerConnection {
    fn complete_io_out(&mut self, to: &mut TcpStream) -> std::io::Result<()> {
        while self.wants_write() {
            self.write_tls(to)?;
        }
        Ok(())
    }
}

fn run(name: &str, version: Version, wrong: Wrong) -> Result<Map<String, Value>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = listener.local_addr().unwrap();
    let config = config(wrong);
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            thread::spawn(move || carry(client, config, backend, wrong));
        }
    });
    let mut work = Work { conns: 4, ..Work::named(name).unwrap() };
    if let Layer::Tls { version: of, .. } = &mut work.layer {
        *of = version;
    }
    measure(&Setup { seconds: 0.5, warmup: 0.3, ..setup(work, proxy, backend) })
}

#[test]
fn a_right_relay_passes_in_every_mode_and_version() {
    for version in [Version::Tls12, Version::Tls13] {
        for name in ["tls-full", "tls-resumed", "tls-bulk-up", "tls-bulk-down", "tls-rr"] {
            let line = run(name, version, Wrong::Nothing);
            let line = line.unwrap_or_else(|error| panic!("{name} {version}: {error}"));
            assert_eq!(line["tls"], version.to_string());
            assert!(line["bytes"].as_u64().unwrap() > 0, "{line:?}");
            match name {
                "tls-full" => assert_eq!(line["resumedShare"], 0.0),
                "tls-resumed" => assert!(line["resumedShare"].as_f64().unwrap() >= RESUMED_MIN),
                _ => assert_eq!(line.get("resumedShare"), None),
            }
        }
    }
}

#[test]
fn every_wrong_is_an_error() {
    for version in [Version::Tls12, Version::Tls13] {
        for (name, wrong) in [
            ("tls-resumed", Wrong::ForgetsSessions),
            ("tls-full", Wrong::EndsUnannounced),
            ("tls-full", Wrong::Misdirects),
            ("tls-rr", Wrong::Misdirects),
            ("tls-bulk-down", Wrong::EndsUnannounced),
        ] {
            let line = run(name, version, wrong);
            let error = line.expect_err("a fault must be an error");
            let expected = match wrong {
                Wrong::Nothing => unreachable!("nothing is wrong"),
                Wrong::ForgetsSessions => "handshakes were resumed",
                Wrong::EndsUnannounced => "without close_notify",
                Wrong::Misdirects => "belongs to another request",
            };
            assert!(error.contains(expected), "{name} {version} {wrong:?}: {error}");
        }
    }
}

#[test]
fn the_handshakes_must_be_those_that_were_asked_for() {
    let totals = |full, resumed| Totals { full, resumed, ..Totals::default() };
    let before = totals(64, 0);
    let said = |name: &str, full: u64, resumed: u64| {
        handshakes_as_asked(Work::named(name).unwrap(), &before, &totals(64 + full, resumed))
    };
    assert_eq!(said("tls-resumed", 1, 99), Ok(()));
    assert!(said("tls-resumed", 2, 98).unwrap_err().contains("98 of 100"));
    assert_eq!(said("tls-full", 100, 0), Ok(()));
    assert!(said("tls-full", 99, 1).is_err());
    assert!(said("tls-full", 0, 0).is_err());
    assert_eq!(said("tls-rr", 0, 0), Ok(()));
}
