//! The control plane: one ordinary thread that owns the listeners, the configuration and the cores'
//! lives. It may block for a moment and may fail; traffic goes on without it.

pub mod admin;
pub mod cores;
pub mod discover;
pub mod events;
pub mod health;
pub mod http;
pub mod listeners;
pub mod notify;
pub mod plan;
pub mod providers;
pub mod reload;
pub mod resolve;
pub mod run;
pub mod services;
pub mod state;
pub mod watch;
