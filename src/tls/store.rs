#![allow(missing_docs)]
//! stub
#[derive(Debug, Default)]
pub struct Store;
#[derive(Debug)]
pub enum Coverage { Exact, Wildcard, Default, Nothing }
impl Store { pub fn covers(&self, _: &str) -> Coverage { Coverage::Nothing } }
