#![allow(missing_docs)]

