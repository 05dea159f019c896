#![allow(missing_docs)]
//! stub
use std::sync::Arc;
use rustls::{ClientConfig, ServerConfig, server::ProducesTickets, pki_types::ServerName};
use crate::config::checked::{Termination, UpstreamTls};
#[derive(Debug, Default)]
pub struct Material { pub store: Arc<super::store::Store> }
#[derive(Debug)]
pub struct Problem;
impl Problem { pub fn is_fatal(&self) -> bool { true } }
impl std::fmt::Display for Problem { fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
pub fn ticketer() -> Result<Arc<dyn ProducesTickets>, Problem> { Err(Problem) }
impl Material { pub fn load<A,B>(_: &[crate::config::checked::CertificateSource], _: A, _: B, _: Option<&Material>) -> (Material, Vec<Problem>) { (Material::default(), vec![]) }
  pub fn digest(&self) -> [u8; 32] { [0; 32] }
  pub fn trust_digest(&self, _: &Termination) -> [u8; 32] { [0; 32] }
  pub fn upstream_digest(&self, _: &UpstreamTls) -> [u8; 32] { [0; 32] }
  pub fn server_config(&self, _: &Termination, _: Arc<dyn ProducesTickets>) -> Result<Arc<ServerConfig>, Problem> { Err(Problem) }
  pub fn client_config(&self, _: &UpstreamTls) -> Result<(Arc<ClientConfig>, ServerName<'static>), Problem> { Err(Problem) }
}
