//! Every bound of the program: its name, unit, default and reason. A number that limits something
//! and does not stand here is a bug.

use std::time::Duration;

// ---- what a service may leave out -------------------------------------------------------------

/// `timeouts.connect`. A SYN lost twice is resent after 1 s and 3 s: 5 s lets both through.
pub const CONNECT_DEFAULT: Duration = Duration::from_secs(5);
/// `timeouts.hello`. A hello is the first thing a TLS client sends; see the SYN above.
pub const HELLO_DEFAULT: Duration = Duration::from_secs(3);
/// `timeouts.handshake`. A few round trips, also from a phone.
pub const HANDSHAKE_DEFAULT: Duration = Duration::from_secs(10);
/// `timeouts.idle`. Long enough for pooled database connections, short enough that a peer which
/// vanished without a word does not hold descriptors for ever.
pub const IDLE_DEFAULT: Duration = Duration::from_secs(3600);
/// `timeouts.halfClosed`. One side has said all it has to say; the other answers or is gone.
pub const HALF_CLOSED_DEFAULT: Duration = Duration::from_secs(60);
/// `retries`. One further target hides a target that just died, without multiplying load.
pub const RETRIES_DEFAULT: u32 = 1;
/// Most `retries` a service may ask for: each may cost a whole connect deadline.
pub const RETRIES_MAX: u32 = 16;
/// Longest duration a configuration may name; longer is a typing error, and fits every clock here.
pub const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

// ---- the configuration file -------------------------------------------------------------------

/// Largest configuration file read, in bytes. 10,000 services of 1 KiB are 10 MiB.
pub const CONFIG_BYTES_MAX: u64 = 256 << 20;
/// Most faults of shape reported in one run; beyond it the rest is noise of the first.
pub const FAULTS_MAX: usize = 200;
/// Deepest nesting of a configuration file; `serde_json` reads no deeper either. The deepest place
/// of the contract is below 16.
pub const NESTING_MAX: usize = 127;
/// Longest host name, without the trailing dot (RFC 1035 §2.3.4).
pub const HOST_BYTES_MAX: usize = 253;
/// Longest path of a Unix socket: `sun_path` with its closing NUL.
pub const UNIX_PATH_BYTES_MAX: usize = 107;
